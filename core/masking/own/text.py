"""What a tenant's patterns find in one text, and what stands there instead."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from core.masking.own.limits import MAX_HITS
from core.masking.own.program import Pattern
from core.masking.own.pseudonyms import STANDING, Pseudonyms
from core.masking.rules import MASKED
from core.tenant_settings import MaskAction

_REMOVE, _HASH = MaskAction.REMOVE, MaskAction.HASH
_NOTHING: Final = b""


class Change(NamedTuple):
    """`new` takes the place of the bytes from `start` to `end`, as `rule` wants."""

    start: int
    end: int
    new: bytes
    rule: int


class Replacements:
    """What a rule puts in a value's place, by the rule's number."""

    def __init__(self, actions: Sequence[MaskAction], pseudonyms: Pseudonyms) -> None:
        self.actions = actions
        self.pseudonyms = pseudonyms

    def of(self, rule: int, value: bytes) -> bytes:
        """For a value's unescaped text; the answer needs no escapes in JSON."""
        action = self.actions[rule]
        if action is _HASH:
            return self.pseudonyms.of(value)
        return _NOTHING if action is _REMOVE else MASKED

    def of_address(self, rule: int, value: bytes) -> bytes | None:
        """An address for an address; None where it has to go, since a placeholder would be none."""
        if self.actions[rule] is not _HASH:
            return None
        try:
            return self.pseudonyms.of_address(value.decode()).encode()
        except ValueError:
            return None

    def removes(self, rule: int) -> bool:
        return self.actions[rule] is _REMOVE


def found_in(text: bytes, patterns: Sequence[Pattern], replacements: Replacements) -> list[Change]:
    """What to change in a text, in order and apart from each other.

    What touches is one piece, changed by the first of the rules that found some of it, so that nothing found stays.
    """
    hits: list[tuple[int, int, int]] = []
    for pattern in patterns:
        spans = (match.span() for match in islice(pattern.finditer(text), MAX_HITS + 1))
        hits += [(start, end, pattern.rule) for start, end in spans if start < end]
        if len(hits) > MAX_HITS:
            return [Change(0, len(text), replacements.of(pattern.rule, text), pattern.rule)]
    if not hits:
        return []
    hits.sort()
    pieces = _joined(hits, [match.span() for match in STANDING.finditer(text)] if b"[" in text else [])
    return [Change(start, end, replacements.of(rule, text[start:end]), rule) for start, end, rule in pieces]


def _joined(hits: list[tuple[int, int, int]], standing: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The hits with those that overlap made one, without those inside of what is masked already; one that goes over
    the edge of that takes it along whole."""
    begins = [first for first, _ in standing]
    pieces: list[tuple[int, int, int]] = []
    for start, end, rule in hits:
        at = bisect_right(begins, start) - 1
        if at >= 0 and end <= standing[at][1]:
            continue
        if at >= 0 and start < standing[at][1]:
            start = begins[at]
        if standing and (at := bisect_left(begins, end) - 1) >= 0:
            end = max(end, standing[at][1])
        if pieces and start < pieces[-1][1]:
            old = pieces.pop()
            start, end, rule = min(old[0], start), max(old[1], end), min(old[2], rule)
        pieces.append((start, end, rule))
    return pieces
