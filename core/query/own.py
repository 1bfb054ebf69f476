"""The service's own events (`ocelot.*`) in a query: passed over unless the query names them.

They are in a tenant's log like any other. Most who search it ask what their own applications did, though, and a page of
the log that shows each reading of the log would show little else.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.query.model import Condition, EventQuery, Leaf, Match, Value, leaves

OWN: Final = "ocelot."
"""What the actions of the service's own events begin with, and no client's."""
NOT_OWN: Final = Condition("action", (Value(OWN, Match.PREFIX),), negated=True)
_NAMED: Final = OWN[:-1]


def without_own(query: EventQuery) -> EventQuery:
    """The query without the service's own events, unless one of its conditions on `action` names some; idempotent."""
    if any(map(_names_own, leaves(query.filters))):
        return query
    return msgspec.structs.replace(query, conditions=(*query.conditions, NOT_OWN))


def is_filtered(query: EventQuery) -> bool:
    """Whether more than a time is asked for, by whoever asks."""
    return query.where is not None or any(condition is not NOT_OWN for condition in query.conditions)


def _names_own(leaf: Leaf) -> bool:
    return (
        isinstance(leaf, Condition)
        and leaf.field == "action"
        and any(value.text.startswith(_NAMED) for value in leaf.values)
    )
