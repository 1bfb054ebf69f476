"""What a catalogue is, and what is asked of the place that keeps its versions."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from core.tenant import TenantScope


class Mode(StrEnum):
    OFF = "off"
    """Kept and shown, nothing is checked."""
    WARN = "warn"
    """Every event is taken; the answer says what `enforce` would have refused."""
    ENFORCE = "enforce"


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """One action, or all that begin alike (`aws.*`), and the JSON Schema of its events; no schema: any event."""

    name: str
    schema: dict[str, Any] | None = None
    description: str = ""


class Catalogue(msgspec.Struct, frozen=True):
    """One version, which never changes. `changed_at` is in microseconds, `changed_by` a token's subject."""

    version: int
    mode: Mode
    actions: tuple[Action, ...]
    changed_at: int
    changed_by: str


EMPTY: Final = Catalogue(0, Mode.OFF, (), 0, "")
"""What a tenant has that never made one."""


class Catalogues(Protocol):
    """Every version of every tenant's catalogue."""

    async def newest(self) -> dict[str, int]:
        """The newest version of each tenant that has one. Small: every process asks every other second."""

    async def get(self, scope: TenantScope, version: int | None = None) -> Catalogue | None:
        """A version, or the newest."""

    async def put(self, scope: TenantScope, catalogue: Catalogue) -> None:
        """Durable on return. Raises `Conflict` (code `catalogue_changed`) when the version is there already."""

    async def versions(self, scope: TenantScope, *, before: int | None, limit: int) -> list[Catalogue]:
        """Newest first, those below `before`; without their actions."""
