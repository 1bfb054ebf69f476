"""Completeness, as clients see it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["open", "agrees", "unproven", "differs"]
_COUNT: Final[dict[str, Any]] = {
    "start": "2026-11-21T10:00:00.000000Z",
    "end": "2026-11-21T11:00:00.000000Z",
    "state": "differs",
    "accepted": 1204,
    "duplicates": 3,
    "parked": 0,
    "quarantined": 1,
    "archived": 0,
    "erased": 0,
    "due": 1200,
    "stored": 1200,
    "indexed": 1199,
    "waiting": 0,
    "unindexable": 0,
}
_EXAMPLE: Final[dict[str, Any]] = {
    "state": "differs",
    "interval": "1h",
    "complete_through": "2026-11-21T11:40:02.101933Z",
    "intervals": [_COUNT],
    "gaps": [
        {
            "start": _COUNT["start"],
            "end": _COUNT["end"],
            "not_indexed": ["01a1fdf2-d2cc-7e1f-94f5-0939230d076e"],
            "not_stored": [],
            "envelopes": [],
            "cut": False,
        }
    ],
    "holes": [],
    "next_from": None,
}


class IntervalOut(BaseModel):
    """`due` is `accepted` less the five after it, and what `stored` must be; `indexed`, `waiting` and `unindexable`
    together must be `stored`."""

    start: str
    end: str
    state: State = Field(
        description="`open`: not settled yet; `unproven`: the counts agree, and an envelope that may belong here never "
        "arrived."
    )
    accepted: int = Field(description="Events whose senders were told that they are durable.")
    duplicates: int = Field(description="Retries of an event that is stored already.")
    parked: int = Field(description="Set aside unstored.")
    quarantined: int
    archived: int
    erased: int
    due: int
    stored: int
    indexed: int
    waiting: int = Field(description="Stored, and waiting for the index.")
    unindexable: int = Field(description="Stored, and refused by the index.")


class EnvelopeOut(BaseModel):
    """An envelope of which the store has other than what came with it."""

    id: str
    due: int
    stored: int


class GapOut(BaseModel):
    start: str
    end: str
    not_indexed: list[str] = Field(description="Ids that the store has and the index lacks.")
    not_stored: list[str] = Field(description="Ids that the index has and the store lacks.")
    envelopes: list[EnvelopeOut]
    cut: bool = Field(description="More could be named: ask for this range alone.")


class HoleOut(BaseModel):
    """Envelopes `first` to `last` of a producer, which were sealed and never arrived: of whichever tenant."""

    producer: str
    first: int
    last: int
    after: str = Field(description="What they hold was accepted from here on,")
    before: str = Field(description="and before this.")


class CompletenessOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    state: State = Field(description="The gravest of the intervals'.")
    interval: str
    complete_through: str | None = Field(description="What ends after this is `open`.")
    intervals: list[IntervalOut]
    gaps: list[GapOut] = Field(description="Of each interval that differs, what is missing, as far as it is known.")
    holes: list[HoleOut]
    next_from: str | None = Field(description="Ask again from here: counting took too long for all of it.")
