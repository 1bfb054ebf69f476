"""`Masker`: rules compiled once, the fast way and the slow way behind one function."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Final

import msgspec

from core.masking import cards
from core.masking.escapes import Unescaped, escape, unescape
from core.masking.rules import DEFAULT_RULES, MASKED, Rules, judge
from core.masking.screen import Finder, Span, screen
from core.masking.text import TextRules
from core.masking.walk import Edit, Judges, Name, applied, edits

MAX_NESTING: Final = 8
"""JSON in strings is followed this deep. A string that may hold a secret in JSON below is masked whole."""
_NESTINGS: Final = range(MAX_NESTING + 1)
_TOGETHER: Final = 64 * 1024
_SHORTEST_CARD: Final = 13
_INTEGER: Final = re.compile(rb"[0-9]{13,19}")
_JSON: Final = re.compile(rb"[ \t\r\n]*[{\[]")
_SHORTEST: Final = len(b"jwt=1")
_LONGEST_CACHED: Final = 128
_decode: Final = msgspec.json.Decoder(msgspec.Raw).decode

Found = list[tuple[int, list[Span]]]
"""Items by their index, and where each may hold a secret."""


class Masker:
    """Masks by `rules`. Holds no state but caches; safe to share."""

    def __init__(self, rules: Rules = DEFAULT_RULES) -> None:
        self.may_hold = screen(rules)
        """Truthy where JSON bytes may hold a secret: the fast way."""
        self._finder = Finder(rules)
        self._verdict = judge(rules)
        self._cached_name = lru_cache(maxsize=8192)(self._judged)
        self._text = TextRules(rules)
        self._cards = rules.cards
        self._judges = [Judges(self._name, partial(self._string, nesting), self._number) for nesting in _NESTINGS]

    def mask(self, item: bytes) -> bytes:
        """`item` with its secrets masked, or `item` itself when it holds none or is not JSON."""
        hits = self._finder.spans(item) if self.may_hold(item) else None
        return self.mask_found(item, hits) if hits else item

    def mask_all(self, items: Sequence[bytes]) -> list[bytes]:
        """`mask` of each item."""
        masked = list(items)
        for index, hits in self.find_all(items):
            masked[index] = self.mask_found(items[index], hits)
        return masked

    def find_all(self, items: Sequence[bytes]) -> Found:
        """The items that may hold a secret, by their index, and where: for `mask_found`, which takes its time.

        One search goes through many of them. All are searched before the first is masked: in turns, each would find
        the processor's caches full of the other's.
        """
        sizes = [0, *accumulate(map(len, items))]
        found: Found = []
        start = 0
        while start < len(items):
            end = max(start + 1, bisect_left(sizes, sizes[start] + _TOGETHER, hi=len(items)))
            found += [(start + n, hits) for n, hits in self._finder.find(items[start:end]).items()]
            start = end
        return found

    def is_likely(self, item: bytes) -> bool:
        """Whether the fast way, where it finds something, sends an item the slow way."""
        return bool(self._finder.spans(item))

    def mask_slowly(self, item: bytes) -> bytes:
        """What `mask` does, from a walk over the whole item."""
        return self.mask_found(item, [(0, len(item))])

    def mask_found(self, item: bytes, hits: list[Span]) -> bytes:
        """`item` with what the hits are part of masked."""
        if not _is_json(item):
            return item
        found = edits(item, self._judges[0], hits, event=True)
        return applied(item, found) if found else item

    def _name(self, raw: bytes) -> Name:
        # A hostile event may bring names of 256 KiB; the cache must not keep them.
        return self._cached_name(raw) if len(raw) <= _LONGEST_CACHED else self._judged(raw)

    def _judged(self, raw: bytes) -> Name:
        name = unescape(raw)
        return Name(name.lower(), self._verdict(name), self._string(MAX_NESTING, raw, label=True))

    def _string(self, nesting: int, raw: bytes, label: bool) -> list[Edit]:
        if len(raw) < _SHORTEST or not self.may_hold(raw):
            return []
        if b"\\" not in raw:
            return [Edit(start, end, escape(new)) for start, end, new in self._inside(nesting, raw, label)]
        string = Unescaped(raw)
        if len(string.text) < _SHORTEST:
            return []
        found = self._inside(nesting, string.text, label)
        return [Edit(string.raw(start), string.raw(end), escape(new)) for start, end, new in found]

    def _inside(self, nesting: int, text: bytes, label: bool) -> list[Edit]:
        if _JSON.match(text) and _is_json(text):
            if nesting >= MAX_NESTING:
                return [] if text == MASKED else [Edit(0, len(text), MASKED)]
            return edits(text, self._judges[nesting + 1], self._finder.spans(text), event=False)
        return [Edit(start, end, MASKED) for start, end in self._text.spans(text, labels=label)]

    def _number(self, number: bytes) -> bool:
        if len(number) < _SHORTEST_CARD or not self._cards:
            return False
        return _INTEGER.fullmatch(number) is not None and cards.is_card(number)


def _is_json(document: bytes) -> bool:
    """By the parser that decodes events. Nesting too deep for it is refused by the event's decoder as well."""
    try:
        _decode(document)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


DEFAULT: Final = Masker()
mask: Final = DEFAULT.mask
mask_all: Final = DEFAULT.mask_all
