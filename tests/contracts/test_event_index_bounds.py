"""Queries as large as they may be: the index answers each, as the bytes do, and refuses what is larger by itself."""

from __future__ import annotations

import pytest

from core.errors import InvalidQuery
from core.ports import IndexDocument
from core.query import (
    MAX_CLAUSES,
    MAX_DEPTH,
    MAX_VALUES,
    MAX_WORDS,
    And,
    Condition,
    EventQuery,
    Match,
    Node,
    Not,
    Or,
    Text,
    Value,
    check,
)
from tests.contracts.index_servers import Bench, any_index, index_url, shared_bench
from tests.contracts.test_event_index_search import USERS, events

__all__ = ["any_index", "events", "index_url", "shared_bench"]


def _largest() -> dict[str, EventQuery]:
    """Queries of several shapes, each as large as `core.query.check` lets it be."""
    words = [f"w{n}" for n in range(MAX_WORDS)]
    there, anything = Value("", Match.EXISTS), [Value(f"{n}", Match.PREFIX) for n in range(MAX_VALUES)]
    many = tuple(anything[:176])
    pairs = [Condition(f"metadata.p{n}", (there, Value("x")), True) for n in range(40)]
    texts = tuple(Text(f'"{word}"') for word in words[: MAX_CLAUSES // 36])
    shapes = {
        "words": EventQuery(
            text=" ".join(["login", *words[1:]]), conditions=(*pairs, Condition("metadata.k", many, True))
        ),
        "existence": EventQuery(conditions=(Condition("metadata.k", (there,) * MAX_VALUES),)),
        "prefixes": EventQuery(conditions=(Condition("metadata.k", tuple(anything), True),)),
        "values": EventQuery(where=Not(Condition("after_state.k", tuple(Value(f"{n}") for n in range(MAX_VALUES))))),
        "texts": EventQuery(where=Or((*texts, Condition("user_id", (there,))))),
        "phrases": EventQuery(where=Or((Condition("message", tuple(Value(f"login {n}") for n in range(MAX_VALUES))),))),
    }
    tree: Node = Or(tuple(Condition("user_id", (Value(user or "x"),)) for user in USERS[:6]))
    for level in range(MAX_DEPTH - 1):
        more = tuple(Condition(f"metadata.d{level}.{n}", (there,), bool(n % 2)) for n in range(7))
        tree = Not(tree) if level % 3 == 2 else (And if level % 3 else Or)((tree, *more))
    shapes["depth"] = EventQuery(where=tree)
    return shapes


@pytest.mark.parametrize("shape", _largest())
async def test_the_largest_queries_are_answered(shared_bench: Bench, events: list[IndexDocument], shape: str) -> None:
    query = _largest()[shape]
    check(query)
    await shared_bench.agrees(query, events)


async def test_too_many_words_are_the_readers_fault(shared_bench: Bench) -> None:
    with pytest.raises(InvalidQuery, match="32 words"):
        await shared_bench.page(EventQuery(text=" ".join(f"w{n}" for n in range(33))))
