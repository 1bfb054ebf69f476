"""Secrets in text: `key=value`, `key: value`, flags, header values, URLs, PEM blocks, card numbers.

Works on the bytes of an unescaped string and answers with spans; what stands between them is never touched.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final

from core.masking import cards
from core.masking.rules import MASKED, Rules, Verdict, judge, normal, spaced

Span = tuple[int, int]

_NAME_BEFORE: Final = re.compile(rb"[A-Za-z0-9_.-]{0,64}\Z")
_DOUBLE: Final = re.compile(rb'(\\*+)"')
_SINGLE: Final = re.compile(rb"(\\*+)'")
_QUOTE: Final = re.compile(rb"(\\*)([\"'])")
# A sign that separates ends a value only before another `name=` or white space, a closing bracket only at the end.
_JOINED: Final = rb"(?:[^\s\"'&;,]|[&;,](?=[^\s\"'&;,])(?![\w.%-]{1,64}[=:]))"
_BARE: Final = re.compile(_JOINED + rb"*+(?<![)}>\\])|" + _JOINED + rb"*[^\s\"'&;,)}>\\]")
_COOKIES: Final = re.compile(rb"[^\s\"';,]+(?:;[ \t]*[^\s\"';,]+)*")
_ONE_WORD_SCHEME: Final = re.compile(rb"(?:bearer|basic|token|negotiate|ntlm|apikey|key)[ \t]+(?=\S)", re.IGNORECASE)
_LISTED_SCHEME: Final = re.compile(rb"(?:digest|signature|hawk|oauth|aws4-[\w-]+)[ \t]+(?=\S)", re.IGNORECASE)
_HEADERS: Final = (b"authorization", b"token")
_LINE: Final = re.compile(rb"[^\r\n]*[^\r\n\s]")
_XML: Final = re.compile(rb"[^<]+")
_NO_SECRET: Final = re.compile(
    rb"true|false|null|none|nil|undefined|yes|no|-|[{}\[\]()<>]+|%%[0-9]+|\[masked\]", re.IGNORECASE
)
_BEARER: Final = re.compile(rb"\bbearer[ \t]+([A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_BASIC: Final = re.compile(rb"\bbasic[ \t]+([A-Za-z0-9+/_-]{8,}={0,2})", re.IGNORECASE)
_USER_INFO: Final = re.compile(rb"://[^\s\"'/@?#<>:]*:([^\s\"'/@?#<>]+)@")
_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(rb"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_DIGIT: Final = re.compile(rb"[0-9]")
MAX_NAMES: Final = 1000
"""A string with more `name=` than this is masked whole: a hostile one cost a second."""
_WORD_TOKEN: Final = 16
"""A bearer token without a digit is a word of prose below this length."""


class TextRules:
    """The rules for text, compiled. `spans` says what to replace in a string, `labels` sparing `name:value`."""

    def __init__(self, rules: Rules) -> None:
        names = "|".join(spaced(name) for name in rules.all_names())
        self._named = re.compile(
            rf"({names})[0-9]{{0,3}}".encode()
            + rb"(?:(\]?\\*[\"']?\]?)[ \t]*(:=|=>|={1,3}|:)(?:\s*(?=\\*[\"'])|[ \t]*)|(>))",
        )
        self._flag = re.compile(rf"(?<![\w-])(--?[a-z0-9_.-]{{0,64}}?(?:{names})[0-9]{{0,3}})\s+(?=[^\s-])".encode())
        self._assigned = tuple(normal(name.encode()) for name in rules.assigned)
        self._judge: Callable[[bytes], Verdict] = judge(rules)
        self._cards = rules.cards

    def spans(self, text: bytes, *, labels: bool = False) -> list[Span]:
        """Spans to replace, in order, apart from each other."""
        shapes = [*_by_shape(text), *(cards.spans(text) if self._cards else ())]
        text = _as_words(text, merged(shapes))
        lower = text.lower()  # `re` skips to the names' first letters only where the case counts: 5 times as fast
        names, flags = list(self._named.finditer(lower)), list(self._flag.finditer(lower))
        if len(names) + len(flags) > MAX_NAMES:
            return [(0, len(text))]
        return merged([*shapes, *self._by_name(text, names, labels), *self._by_flag(text, flags)])

    def _by_name(self, text: bytes, names: list[re.Match[bytes]], labels: bool) -> Iterator[Span]:
        end = 0
        for match in names:
            # A value is read once: a name inside it begins none of its own. That keeps hostile text linear.
            if match.end() < end or not self._is_name(text, match, labels):
                continue
            span = _tagged(text, match) if match[4] else self._value(text, match)
            if span is not None:
                end = span[1]
                if not _NO_SECRET.fullmatch(text, *span):
                    yield span

    def _is_name(self, text: bytes, match: re.Match[bytes], labels: bool) -> bool:
        start = match.start()
        before = _NAME_BEFORE.search(text, max(0, start - 64), start)
        prefix = before[0] if before else b""
        if self._judge(prefix + match[1]) <= Verdict.PLAIN:
            return False
        if match[3] == b":" and not match[2] and match[1] == b"secret" and text[start - 1 : start] == b":":
            return False
        if match[3] != b":" or text[match.end() - 1 : match.end()].isspace():
            return True
        # `name:value`, unquoted: mostly a label such as `token:create` or a part of an ARN.
        quoted = match[2] or text[match.end() : match.end() + 1] in (b'"', b"'", b"\\")
        return bool(quoted) or (not labels and normal(match[1]).endswith(self._assigned))

    def _value(self, text: bytes, match: re.Match[bytes]) -> Span | None:
        start, name = match.end(), normal(match[1])
        # Every shell's environment has PWD=/home/..., and each sudo line.
        if text[match.start() : start + 1].startswith(b"PWD=/"):
            return None
        return _value_at(text, start, name)

    def _by_flag(self, text: bytes, flags: list[re.Match[bytes]]) -> Iterator[Span]:
        end = 0
        for match in flags:
            if match.end() < end or self._judge(match[1]) <= Verdict.PLAIN:
                continue
            span = _value_at(text, match.end(), b"")
            if span is not None:
                end = span[1]
                if not _NO_SECRET.fullmatch(text, *span):
                    yield span


def _as_words(text: bytes, spans: list[Span]) -> bytes:
    """`text` with each span one bracketed word as long, so that a value ends where it will end once they are masked:
    masking what is masked changes nothing."""
    if not spans:
        return text
    words = bytearray(text)
    for start, end in spans:
        words[start:end] = b"]" if end == start + 1 else b"[" + b"M" * (end - start - 2) + b"]"
    return bytes(words)


def merged(found: list[Span]) -> list[Span]:
    """The spans in order, those that touch made one."""
    spans: list[Span] = []
    for start, end in sorted(found):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _value_at(text: bytes, start: int, name: bytes) -> Span | None:
    quote = _QUOTE.match(text, start)
    if quote is not None:
        return _quoted(text, quote)
    if name.endswith((b"cookie", b"cookies")):
        found = _COOKIES.match(text, start)
    elif name.endswith(_HEADERS) and (scheme := _LISTED_SCHEME.match(text, start)):
        found = _LINE.match(text, scheme.end())
    elif name.endswith(_HEADERS) and (scheme := _ONE_WORD_SCHEME.match(text, start)):
        return _value_at(text, scheme.end(), b"")
    else:
        found = _BARE.match(text, start)
    return found.span() if found and found[0] else None


def _quoted(text: bytes, quote: re.Match[bytes]) -> Span | None:
    """What stands in quotes, to the end of the text where they are never closed.

    A quote inside the value is escaped by more backslashes than the one that opened it.
    """
    start, end = quote.end(), len(text)
    for found in (_DOUBLE if quote[2] == b'"' else _SINGLE).finditer(text, start):
        escapes = len(found[1])
        if escapes <= len(quote[1]) or (not quote[1] and escapes % 2 == 0):
            end = found.start()
            break
    return (start, end) if start < end else None


def _tagged(text: bytes, match: re.Match[bytes]) -> Span | None:
    """The text of an XML element whose opening tag ends with the name."""
    start = match.start()
    before = _NAME_BEFORE.search(text, max(0, start - 64), start)
    first = start - len(before[0]) if before else start
    if text[first - 1 : first] not in (b"<", b":"):
        return None
    found = _XML.match(text, match.end())
    return found.span() if found else None


def _by_shape(text: bytes) -> Iterator[Span]:
    for match in _BEARER.finditer(text):
        if len(match[1]) >= _WORD_TOKEN or _DIGIT.search(match[1]):
            yield match.span(1)
    for match in _BASIC.finditer(text):
        if _is_user_and_password(match[1]):
            yield match.span(1)
    for match in _USER_INFO.finditer(text):
        if match[1] != MASKED:
            yield match.span(1)
    start = 0
    while begin := _PEM.search(text, start):
        end = _PEM_END.search(text, begin.end())
        start = end.end() if end else len(text)
        yield begin.start(), start


def _is_user_and_password(word: bytes) -> bool:
    bare = word.rstrip(b"=").translate(_URL_SAFE)
    try:
        return b":" in base64.b64decode(bare + b"=" * (-len(bare) % 4))
    except binascii.Error:
        return False
