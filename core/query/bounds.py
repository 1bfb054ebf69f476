"""How large a query may be, so that it costs every store a bounded effort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.errors import InvalidQuery
from core.event import FREE_FIELDS
from core.query.model import EXACT_FIELDS, Condition, EventQuery, Match, Text, Value, depth, leaves
from core.query.own import NOT_OWN
from core.query.words import words_of

MAX_DEPTH: Final = 8
"""Operators (`and`, `or`, `not`) nested in each other."""
MAX_CONDITIONS: Final = 64
"""Conditions, times and texts together."""
MAX_VALUES: Final = 256
MAX_TEXT: Final = 1024
MAX_WORDS: Final = 32
MAX_CLAUSES: Final = 1000
"""What the index makes of all leaves; it refuses more than 1,024 clauses, and the tenant's own is one."""
_EXACT_CLAUSES: Final = len(EXACT_FIELDS) + len(FREE_FIELDS) + 1


def check(query: EventQuery) -> None:
    """Raise `InvalidQuery`, saying what to change, for a query that is larger than any store should be asked."""
    conditions = values = words = clauses = 0
    for leaf in leaves(query.filters):
        if isinstance(leaf, Condition):
            if leaf == NOT_OWN:
                continue  # passed over unasked: nobody's condition, and the bounds are far from what the index takes
            values += len(leaf.values)
            clauses += len(leaf.values) + (_existences(leaf.values) if leaf.is_free else 0)
        elif isinstance(leaf, Text):
            found, whole = words_of(leaf.text)
            words += len(found)
            clauses += len(found) * (1 + _EXACT_CLAUSES) + (_EXACT_CLAUSES if whole is not None else 0)
        else:
            clauses += 1
        conditions += 1
    if conditions > MAX_CONDITIONS or values > MAX_VALUES:
        raise InvalidQuery(
            f"a query may have {MAX_CONDITIONS} conditions and {MAX_VALUES} values: ask in several queries"
        )
    if query.where is not None and depth(query.where) > MAX_DEPTH:
        raise InvalidQuery(f"and, or and not may be nested {MAX_DEPTH} deep: join nested ones of the same kind")
    if words > MAX_WORDS:
        raise InvalidQuery(f"full text may have {MAX_WORDS} words: leave some out")
    if clauses > MAX_CLAUSES:  # what the index makes of them, rounded up
        raise InvalidQuery("too many words and conditions together: leave some out")


def _existences(values: Sequence[Value]) -> int:
    return sum(value.match is Match.EXISTS for value in values)
