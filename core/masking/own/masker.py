"""`OwnMasker`: one tenant's rules compiled, the fast way and the slow way behind one function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from core.masking.own.program import compiled
from core.masking.own.pseudonyms import Pseudonyms
from core.masking.own.sieve import Sieve, places
from core.masking.own.steps import NO_RULE, Steps
from core.masking.own.text import Change, Replacements
from core.masking.own.walk import Rules, Walk, is_json
from core.tenant_settings import MaskingRule


class Masked(NamedTuple):
    """An event and how often each rule, by its place among them, changed something in it."""

    item: bytes
    changes: dict[int, int]


class OwnMasker:
    """Masks by a tenant's own rules. Holds no state but caches; safe to share.

    Raises `Invalid` for rules that `check_rules` refuses. An event's own hash is under `secret`, the tenant's.
    """

    def __init__(self, rules: Sequence[MaskingRule], secret: bytes) -> None:
        program = compiled(rules)
        self.rules = tuple(rules)
        self.is_slow = False
        """Whether its patterns once held the loop up: from then on it works in a thread."""
        self._sieve = Sieve(program.screens, program.needed)
        self._steps = Steps(program)
        self._keys = frozenset(number for number, _ in program.keys)
        self._patterns = program.patterns
        self._places = places([program.screens[pattern.rule] for pattern in program.patterns])
        self._replacements = Replacements(program.actions, Pseudonyms(secret))

    def mask(self, item: bytes) -> bytes:
        """An event's JSON, masked by the default rules, with what these rules find masked as well.

        `item` itself when they find nothing or it is no JSON; every other byte stays.
        """
        rules = self._sieve.rules(item)
        if not rules:
            return item
        changes = self._changes(item, rules)
        return _changed(item, changes) if changes else item

    def mask_slowly(self, item: bytes) -> bytes:
        """What `mask` does, from a walk over the whole item with all rules."""
        return _changed(item, self._changes(item, range(len(self.rules))))

    def masked(self, item: bytes) -> Masked:
        """What `mask` does, with what did it."""
        changes = self._changes(item, range(len(self.rules)))
        counts = Counter(change.rule for change in changes if change.rule != NO_RULE)
        return Masked(_changed(item, changes), dict(sorted(counts.items())))

    def _changes(self, item: bytes, rules: Iterable[int]) -> list[Change]:
        if not is_json(item):
            return []
        asked = frozenset(rules)
        patterns = [pattern for pattern in self._patterns if pattern.rule in asked]
        by = Rules(self._steps, not self._keys.isdisjoint(asked), patterns, self._places, self._replacements)
        return Walk(item, by).changes(self._steps.begin(asked), event=True)


def _changed(document: bytes, changes: list[Change]) -> bytes:
    pieces: list[bytes] = []
    last = 0
    for start, end, new, _ in changes:
        pieces += (document[last:start], new)
        last = end
    pieces.append(document[last:])
    return b"".join(pieces)
