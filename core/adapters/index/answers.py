"""What the index answers to a search, decoded; part of an answer is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from core.errors import Unavailable

_Answer = TypeVar("_Answer")


class Total(msgspec.Struct, frozen=True):
    value: int
    relation: str


class Hit(msgspec.Struct, frozen=True):
    sort: tuple[int, str]


class Hits(msgspec.Struct, frozen=True):
    hits: list[Hit] = []
    total: Total | None = None


class Shards(msgspec.Struct, frozen=True):
    failed: int = 0


class Found(msgspec.Struct, frozen=True):
    timed_out: bool
    shards: Shards = msgspec.field(name="_shards")
    hits: Hits = Hits()
    aggregations: dict[str, Any] = {}


_found: Final = msgspec.json.Decoder(Found).decode


def decoded(decode: Callable[[str], _Answer], text: str) -> _Answer:
    try:
        return decode(text)
    except ValueError as error:
        raise Unavailable("index", f"not an answer of an index: {error}") from None


def whole(text: str) -> Found:
    """An answer of every shard: part of one would skip events without a sign."""
    found = decoded(_found, text)
    if found.timed_out or found.shards.failed:
        raise Unavailable("index", "the index answered in part")
    return found
