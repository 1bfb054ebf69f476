"""Where a walk is in the rules by path, and which rule a member's name alone calls for.

Both answers are remembered: the same names come in each event.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from core.masking.escapes import unescape
from core.masking.own.names import plain_name
from core.masking.own.paths import Segment
from core.masking.own.program import Program

NO_RULE: Final = 1 << 30
"""Greater than any rule's number: the smaller of two goes first."""
_OTHER: Final = b""
"""For a name that no path has; none has an empty one."""
_NO_INDEX: Final = -1
_REMEMBERED: Final = 8192
_LONGEST: Final = 128

States = frozenset[tuple[int, int]]
"""For each path that may still lead somewhere from here: its rule, and how many of its segments led here."""
NOWHERE: Final[States] = frozenset()


class Steps:
    """Of one program."""

    def __init__(self, program: Program) -> None:
        self._paths = program.paths
        self._keys = program.keys
        self.named: dict[bytes, int] = {}
        """What `of_name` has answered."""
        self.taken: dict[tuple[States, bytes | None, int], tuple[States, int]] = {}
        """What `into` has answered."""
        segments = [segment for path in self._paths.values() for segment in path]
        self.names = {segment.name for segment in segments}
        """Those that the paths have."""
        self._indexes = {segment.index for segment in segments}

    def begin(self, rules: Collection[int]) -> States:
        """At an event, with these rules alone."""
        return frozenset((rule, 0) for rule in self._paths if rule in rules)

    def of_name(self, raw: bytes) -> int:
        """The first rule by key for a name as written between its quotes, or `NO_RULE`."""
        rule = self.named.get(raw)
        if rule is None:
            name = plain_name(unescape(raw))
            rule = next((rule for rule, takes in self._keys if takes(name)), NO_RULE)
            if len(raw) <= _LONGEST:  # a hostile event may bring any number of names of any length
                _make_room(self.named)
                self.named[raw] = rule
        return rule

    def into(self, states: States, raw: bytes | None, index: int = 0) -> tuple[States, int]:
        """The states at a member by its name as written, or at an item (None) by its index, and the first rule by path
        that ends there, or `NO_RULE`."""
        # Names that no path has are all alike, and so are such indexes: what a hostile event can bring is bounded.
        name = raw if raw is None or b"\\" not in raw else unescape(raw)
        if name is not None and name not in self.names:
            name = _OTHER
        key = (states, name, index if index in self._indexes else _NO_INDEX)
        found = self.taken.get(key)
        if found is None:
            _make_room(self.taken)
            found = self.taken[key] = self._into(*key)
        return found

    def need_a_name(self, states: States) -> bool:
        """Whether the paths go on from here by the names of members alone, and end otherwise."""
        return self.into(states, _OTHER) == (NOWHERE, NO_RULE)

    def _into(self, states: States, name: bytes | None, index: int) -> tuple[States, int]:
        onward: set[tuple[int, int]] = set()
        first = NO_RULE
        for rule, at in states:
            path = self._paths[rule]
            segment: Segment = path[at]
            if segment.anywhere:
                onward.add((rule, at))
            if not segment.takes(name, index):
                continue
            if at + 1 == len(path):
                first = min(first, rule)
            else:
                onward.add((rule, at + 1))
        return frozenset(onward) or NOWHERE, first


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= _REMEMBERED:
        cache.clear()
