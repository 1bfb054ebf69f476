"""What a change stream says, as `EventFeed` tells it: its event, and its resume token as a mark of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import bson

from core.adapters.store.client import BsonMap
from core.event import KEYWORD_FIELDS
from core.ports import FeedEvent

_NAMED: Final = frozenset((*KEYWORD_FIELDS, "ip_address", "ip_key"))
_UPPER, _LOWER, _OTHER = b"\1", b"\2", b"\0"


def event_of(change: Mapping[str, Any]) -> FeedEvent:
    """The event of an insert."""
    document = change["fullDocument"]
    stored = change["clusterTime"]
    return FeedEvent(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        timestamp=int(document["timestamp"]),
        received_at=int(document["received_at"]),
        named={name: value for name, value in document.items() if name in _NAMED},
        body=document["body"].encode(),
        order=stored.time << 32 | stored.inc,
        mark=mark_of(change["_id"]),
    )


def mark_of(token: Mapping[str, Any]) -> bytes:
    """A resume token as bytes, half as long as its usual form of hexadecimal digits."""
    data = token.get("_data")
    if len(token) == 1 and isinstance(data, str):
        for kind, cased in ((_UPPER, data.upper()), (_LOWER, data.lower())):
            if data == cased and len(data) % 2 == 0:
                try:
                    return kind + bytes.fromhex(data)
                except ValueError:
                    break
    return _OTHER + bson.encode(token)


def token_of(mark: bytes) -> BsonMap:
    """The inverse of `mark_of`."""
    kind, rest = mark[:1], mark[1:]
    if kind == _OTHER:
        return dict(bson.decode(rest))
    return {"_data": rest.hex().upper() if kind == _UPPER else rest.hex()}
