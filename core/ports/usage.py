"""What Ocelot asks of the account of what tenants use, which is also what processes tell each other of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from core.tenant import TenantScope
from core.tenant_settings import Quotas

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()


def day_text(day: int) -> str:
    """A day counted since 1970 as `2026-11-21`."""
    return date.fromordinal(_FIRST_DAY + day).isoformat()


def day_of(text: str) -> int:
    """The opposite; raises `ValueError`."""
    if not _DAY.fullmatch(text):
        raise ValueError("not a day")
    return date.fromisoformat(text).toordinal() - _FIRST_DAY


@dataclass(frozen=True, slots=True)
class Amounts:
    """`requests` let in, `events` accepted and the `bytes` of their bodies, `reads` answered."""

    requests: int = 0
    events: int = 0
    bytes: int = 0
    reads: int = 0


def total(amounts: Iterable[Amounts]) -> Amounts:
    """The sum of them all."""
    requests = events = size = reads = 0
    for each in amounts:
        requests, events, size, reads = (
            requests + each.requests, events + each.events, size + each.bytes, reads + each.reads,
        )  # fmt: skip
    return Amounts(requests, events, size, reads)


@dataclass(frozen=True, slots=True)
class Part:
    """All that one process has counted of one tenant (of one of its keys, if `key` is not "") in one day.

    `name` is the part's own among those of the day and never used again; `day` counts days since 1970 in UTC.
    """

    tenant_id: str
    key: str
    day: int
    name: str
    amounts: Amounts
    at: int
    """When it was counted so far, in microseconds."""


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What a tenant used in a day (since 1970, UTC)."""

    day: int
    amounts: Amounts


class Usage(Protocol):
    """Usage by tenant and day, made of the parts that processes count. With its tenant it is removed by `Purge`."""

    async def record(self, parts: Sequence[Part], *, shared: bool) -> None:
        """Keep each part in the place of what was kept under its name: recording again changes nothing.

        What is `shared` is told by `recent` from now on. Raises when one of them may not be durable.
        """

    async def recent(self, since: int) -> list[Part]:
        """Every part of the accounts that were recorded as shared since then (microseconds, by their writers' clocks).

        Of each such account all the parts of its day are there, also old ones.
        """

    async def days(self, scope: TenantScope, first: int, end: int) -> list[DayUsage]:
        """What the tenant used in the days from `first` up to `end`, not included; days without use are left out."""

    async def beat(self, process: str, beat: int) -> dict[str, int]:
        """Say that the process is alive, and the last `beat` (which must grow) of every process that ever said so."""

    async def ended(self, process: str, beat: int | None = None) -> None:
        """The process says no more; with `beat`, only if that was its last."""

    async def key_quotas(self) -> dict[str, Quotas]:
        """The quotas of each key that has some, by its id."""

    async def set_key_quotas(self, scope: TenantScope, key_id: str, quotas: Quotas) -> None:
        """Replace the quotas of a key of the tenant; `UNLIMITED` removes them."""
