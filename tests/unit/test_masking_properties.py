"""Masking of anything: against a plain rewriting of the rules in Python, and with itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.event import MAX_EVENT_BYTES
from core.masking import DEFAULT, DEFAULT_RULES, mask, mask_all
from core.masking.rules import Verdict, judge

VERDICT = judge(DEFAULT_RULES)
PLAIN_NAMES = ["id", "user", "tokenType", "nextToken", "secretName", "n"]
SECRET_NAMES = ["password", "API-Key", "session_token", "Cookie", "credentials", "tokens", "authorization", "accessKey"]
KEPT_NAMES = ["accessKeyId", "expiration", "type"]

words = st.text(st.characters(codec="utf-8", exclude_characters="=:>-/{}[]0123456789"), max_size=8)
numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | words
names = st.sampled_from(PLAIN_NAMES + SECRET_NAMES + KEPT_NAMES) | st.text('abé"\\\n', max_size=3)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=25
)


def by_names(value: Any, verdict: Verdict = Verdict.PLAIN, sealed: bool = False) -> Any:
    """The rules for names, over a decoded document."""
    if isinstance(value, dict):
        below = sealed or verdict in (Verdict.SEALED, Verdict.COUNT)
        return {name: by_names(item, VERDICT(name.encode()), below) for name, item in value.items()}
    if isinstance(value, list):
        below = sealed or verdict in (Verdict.SEALED, Verdict.COUNT)
        own = Verdict.SEALED if below else Verdict.OPEN if verdict == Verdict.OPEN else Verdict.PLAIN
        return [by_names(item, own, below) for item in value]
    if isinstance(value, bool) or value is None or value == "":
        return value
    spared = Verdict.COUNT if isinstance(value, int | float) else Verdict.PLAIN
    return "[masked]" if verdict > spared or (sealed and verdict >= Verdict.PLAIN) else value


def written(document: Any, ascii_only: bool, indent: int | None) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()


@given(documents, st.booleans(), st.sampled_from([None, 0, 2]))
def test_agrees_with_the_rules_written_plainly(document: Any, ascii_only: bool, indent: int | None) -> None:
    assert json.loads(mask(written(document, ascii_only, indent))) == by_names(document)


@given(documents)
def test_json_in_a_string_is_masked_as_json_is(document: Any) -> None:
    sent = json.dumps({"metadata": {"body": json.dumps([document])}}).encode()
    body = json.loads(mask(sent))["metadata"]["body"]
    assert json.loads(body) == by_names([document])


fragments = st.sampled_from([
    "password", "PassWord", "pass-word", "token", ":secret:", "nextToken", "Authorization", "api key", "Cookie",
    "tokens", "-", "--", "=", ":", ": ", " = ", "=>", ":=", '"', "'", "\\", '\\"', " ", "\t", "\n", "/", "://", "@",
    "&", ";", ",", "<", ">", "</", "{", "}", "[", "]", "(", ")", "true", "false", "null", "no", "abc", "hunter2",
    "é", "😀", "\x00", "4111111111111111", "4111 1111 1111 1111", "3714 496353 98431", "12/31", "1", "Bearer ",
    "abcdefgh1", "Basic ", "dXNlcjpwYXNz", 'Digest a="b", c', "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----", "PWD=/", "%%1842", "[masked]", "[masked", "arn:aws:x:1:secret:foo", "https://h",
    "u:p@h", "name", "value", "$x", ".", "*",
])  # fmt: skip
texts = st.lists(fragments, max_size=10).map("".join)
members = st.sampled_from(["name", "value", "key", "k", "tokens", "credentials"]) | texts
pieces = st.recursive(
    texts | st.sampled_from([4111111111111111, 5, None, True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "value", "key", "k", "tokens", "credentials"]) | texts, inner, max_size=3
        )
        | inner.map(json.dumps)
    ),
    max_leaves=8,
)


def escaped(item: bytes, at: list[int]) -> bytes:
    """The same document with some of its letters and digits escaped."""
    text = item.decode()
    for index in sorted({i % max(1, len(text)) for i in at}, reverse=True):
        outside = text[:index].replace("\\\\", "").replace('\\"', "").count('"') % 2 == 0
        if not outside and text[index].isalnum() and "\\" not in text[max(0, index - 5) : index]:
            text = f"{text[:index]}\\u{ord(text[index]):04x}{text[index + 1 :]}" if text[index] < "\uffff" else text
    return text.encode()


@given(pieces, st.booleans(), st.lists(st.integers(0, 400), max_size=6))
@example({"m": "private-key==value,6011111111111117:=4111 1111 1111 1111jwt "}, False, [])
@example({"m": ":secret:api_key: false$x"}, False, [])
@example(["[4111111111111111]"], False, [])
def test_text_made_of_traps(document: Any, ascii_only: bool, escapes: list[int]) -> None:
    sent = escaped(written({"action": "a", "metadata": document}, ascii_only, None), escapes)
    json.loads(sent)
    kept = DEFAULT.mask_slowly(sent)
    if kept is not sent:
        assert DEFAULT.may_hold(sent), "the fast way lets through what the slow way masks"
        assert DEFAULT.is_likely(sent), "the finer screen lets through what the slow way masks"
        json.loads(kept)
    assert mask(sent) == kept
    assert mask(kept) == kept


junk = st.binary(max_size=20) | st.sampled_from([b"", b'{"token', b'":"x"', b"4111111111111111", b'secret":"x"'])
events = st.builds(written, pieces, st.booleans(), st.none())
dull = st.sampled_from(
    [b'{"nextToken":"x"}', b'{"name":"secret"}', b'{"a":"arn:aws:secretsmanager:us-east-1:1:secret:x"}']
)


@given(st.lists(events | junk | dull, max_size=12))
@example([b"4000000000000000", b"4111111111111111"])
@example([b'{"nextToken":"x"}', b"4111111111111111", b'{"token', b'":"x"', b'{"pwd":"x"}', b'{"pwd":"y"}'])
def test_many_are_masked_as_each_alone(items: list[bytes]) -> None:
    alone = [mask(item) for item in items]
    assert mask_all(items) == alone


@given(st.binary(max_size=60) | st.text('{}[]":,\\ tokenpwd123', max_size=40).map(str.encode))
def test_any_bytes(item: bytes) -> None:
    assert isinstance(mask(item), bytes)
    assert DEFAULT.mask_slowly(DEFAULT.mask_slowly(item)) == DEFAULT.mask_slowly(item)


N = MAX_EVENT_BYTES
HOSTILE = {
    "quotes": b'"' * N,
    "backslashes": b"\\" * N,
    "unterminated": b'{"password":"' + b'\\"' * (N // 2),
    "arrays": b'{"password":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects": b'{"token":' * 20_000 + b"1" + b"}" * 20_000,
    "names": b'{"m":"' + b"password=" * (N // 9) + b'"}',
    "names and quotes": b'{"m":"' + b"password='" * (N // 10) + b'"}',
    "names and spaces": b'{"m":"' + b"token: " * (N // 7) + b'"}',
    "flags": b'{"m":"' + b" --password" * (N // 11) + b'"}',
    "long flags": b'{"m":"' + (b" -" + b"a" * 68) * (N // 70) + b' password=x"}',
    "escaped quotes": b'{"m":"password=\\"' + b'\\\\\\"' * (N // 4) + b'"}',
    "commas": b'{"m":"password=' + b"a," * (N // 2) + b'"}',
    "brackets": b'{"m":"password=' + b")" * N + b'"}',
    "key headers": b'{"m":"' + b"-----BEGIN PRIVATE KEY-----" * (N // 27) + b'"}',
    "user info": b'{"m":"' + b"://a:" * (N // 5) + b'@ password=x"}',
    "groups of digits": b'{"m":"4111111111111111 ' + b"4444 " * (N // 5) + b'"}',
    "digits": b'{"m":"4111111111111111 ' + b"4" * N + b'"}',
    "escapes": b'{"m":"' + b"\\u0061" * (N // 6) + b' password=x"}',
    "growing backslashes": b'{"m":"' + b"".join(b"password=" + b"\\\\" * i + b"'" for i in range(500)) + b'"}',
    "secrets around a long string": (
        b'{"a":' * 20 + b'{"m":"4111111111111111 ' + b"4444 " * (N // 5) + b'"}' + b',"token":"x"}' * 20
    ),
    "numbers": b'{"token":[' + b"1," * (N // 2) + b"1]}",
    "objects beside each other": b'{"a":[' + b'{"token":"x"},' * (N // 14) + b"{}]}",
    "harmless names": b"{" + b'"nextToken":"x",' * (N // 16) + b'"token":"x"}',
    "names without a value": b'{"a":[' + b'{"name":"token"},' * (N // 17) + b"{}]}",
    "separators": b'{"m":"' + b"p-a_s.s w:o*r[d]" * (N // 16) + b'=x"}',
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("item", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_take_linear_time(item: bytes) -> None:
    """Two seconds for all on a slow machine; what is quadratic takes minutes for one."""
    kept = mask(item)
    assert DEFAULT.mask_slowly(item) == kept
    assert mask(kept) == kept


def test_json_in_strings_that_grows_slowly_with_each_level() -> None:
    text = '{"token":1}'
    while len(text) < N // 4:
        inner = text.replace("\\", "\\u005c").replace('"', "\\u0022")
        text = f'{{"a":"{inner}"}}'
    kept = mask(text.encode())
    json.loads(kept)
    assert len(kept) <= len(text) + 64
