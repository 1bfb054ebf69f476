"""What became of each event of an envelope, for the books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from core.envelope import Header
from core.ports import StoreRow
from core.ports.accounts import SECOND, Account, Tally


class Aside(StrEnum):
    """Why an event of an envelope is not stored by it; the names are those of `Tally`."""

    DUPLICATES = "duplicates"
    PARKED = "parked"
    QUARANTINED = "quarantined"


Loose = tuple[str, int, Aside]
"""A record that made no row: its tenant, when it was accepted, and what it is counted as."""


def accounts_of(
    header: Header, rows: Sequence[StoreRow], aside: Mapping[int, Aside], loose: Iterable[Loose]
) -> list[Account]:
    """The accounts of one envelope. `aside` tells by their place which of `rows` were not stored.

    Mostly all rows are of one second and every one is stored: that is found out by their least and greatest time, for
    to count each by tenant and second takes three times as long.
    """
    figures: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: {"accepted": 0})
    times = [row.received_at for row in rows]
    second = min(times) // SECOND if times else 0
    loose = list(loose)
    if times and not (aside or loose) and max(times) // SECOND == second:
        tallies = ((tenant_id, Tally(count)) for tenant_id, count in header.events.items())
        return [Account(header.id, tenant_id, second * SECOND, tally) for tenant_id, tally in tallies]
    placed = [(row.tenant_id, row.received_at, aside.get(n)) for n, row in enumerate(rows)]
    for tenant_id, at, why in (*placed, *loose):
        found = figures[tenant_id, at // SECOND * SECOND]
        found["accepted"] += 1
        if why is not None:
            found[why.value] = found.get(why.value, 0) + 1
    return [Account(header.id, tenant_id, at, Tally(**found)) for (tenant_id, at), found in figures.items()]
