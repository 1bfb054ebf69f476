"""What Ocelot asks of the quarantine: events that are at fault, kept until a person has put them right or away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from core.tenant import TenantScope

PLACEMENT: Final = "quarantine"
"""Of a record that is no event and goes into the quarantine; no index has such a name."""
CONFLICT: Final = "conflict"
"""The code of an event whose key a stored event of other content has."""


class Form(StrEnum):
    """What is kept of an event. All of it is masked."""

    EVENT = "event"
    """The whole of it, a JSON object."""
    HEAD = "head"
    """Of one that is too large or too deep: its small members, as a JSON object."""
    OUTLINE = "outline"
    """Of what is no JSON object: its punctuation and the names of events' fields; nothing else of it is kept."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An event at fault, on its way through the queue."""

    id: str
    at: int
    """When it was accepted, microseconds."""
    code: str
    """Of the error that it would have been refused with."""
    fields: list[str]
    """Those that are at fault, as paths with dots."""
    form: Form
    body: bytes
    cut: list[str] = []
    """The members that a head leaves out."""
    size: int
    """Bytes, as it was sent."""
    sha256: str
    """Of these bytes."""
    event_id: str | None = None
    """Under which it is stored when it is replayed, if it was sent with a key."""
    conflicts_with: str | None = None
    """The id of the stored event that has its key."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An item of a tenant's quarantine. `fixed` is its body after the mappings, if there were any."""

    tenant_id: str
    kept: Kept
    fixed: bytes | None = field(default=None, repr=False)
    revision: int = 0

    @property
    def body(self) -> bytes:
        """What would be replayed."""
        return self.kept.body if self.fixed is None else self.fixed


@dataclass(frozen=True, slots=True)
class Match:
    """Items with this code, and with a fault of this field; None: whatever it is."""

    code: str | None = None
    field: str | None = None


class Quarantine(Protocol):
    """Items of each tenant, by id; another's is not there."""

    async def keep(self, items: Sequence[Quarantined]) -> None:
        """Durable on return. Of one id the first stays: keeping again is harmless."""

    async def get(self, scope: TenantScope, ids: Sequence[str]) -> dict[str, Quarantined]:
        """Those of the ids that are there."""

    async def listing(
        self, scope: TenantScope, match: Match, *, before: tuple[int, str] | None, limit: int
    ) -> list[Quarantined]:
        """The newest first, by (at, id), those before this place."""

    async def count(self, scope: TenantScope, match: Match) -> int: ...

    async def fix(self, scope: TenantScope, item: Quarantined, fixed: bytes) -> bool:
        """Give the item this body; False when it is gone or of another revision by now."""

    async def remove(self, scope: TenantScope, ids: Sequence[str]) -> int:
        """How many were there and are gone."""
