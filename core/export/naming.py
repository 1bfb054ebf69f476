"""What an exported file is called: its tenant and its range, in characters that every system takes."""

from __future__ import annotations

import re
from typing import Final

from core import instant
from core.query import EventQuery
from core.tenant import Tenant

_OTHERS: Final = re.compile(r"[^a-z0-9]+")
_MAX_NAME: Final = 40
_END_OF_TEXT: Final = 253_402_300_800_000_000
"""The first microsecond of the year 10000."""


def file_name(tenant: Tenant, query: EventQuery, extension: str) -> str:
    """`acme-k3v9x2m4q8w1z7t5_20261101T000000Z_20261121T114000Z.csv`, the range that of `received_at`."""
    name = _OTHERS.sub("-", tenant.name.lower()[: 4 * _MAX_NAME])[:_MAX_NAME].strip("-")
    bounds = query.received_at
    who = f"{name}-{tenant.id}" if name else tenant.id
    return f"{who}_{_moment(bounds.start, 'begin')}_{_moment(bounds.end, 'now')}.{extension}"


def _moment(us: int | None, otherwise: str) -> str:
    if us is None or not 0 <= us < _END_OF_TEXT:
        return otherwise
    return re.sub(r"[-:]|\.\d+", "", instant.to_text(us))
