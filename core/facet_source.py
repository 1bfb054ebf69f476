"""The facets that are declared now, as whoever indexes needs them: a moment old, and without a read for each event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from core.errors import Conflict, NotFound, Unavailable
from core.facets import Declared, Facet, Facets, declare
from core.ports import Control

REFRESH_SECONDS: Final = 2.0
_TRIES: Final = 5


class FacetSource:
    """All tenants' facets, read together at most once in `REFRESH_SECONDS`, and only when somebody asks."""

    def __init__(self, control: Control, clock: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._clock = clock
        self._known: dict[str, Facets] | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def of(self, tenant_id: str) -> Sequence[Facet]:
        """A tenant's facets, at most `REFRESH_SECONDS` old, or the last ones known while the store does not answer.

        Raises `Unavailable` when none were ever read: an event indexed without its facets would need a rebuild.
        """
        known = self._known
        if known is None or self._clock() - self._read_at >= REFRESH_SECONDS:
            known = await self._read()
        facets = known.get(tenant_id)
        return () if facets is None else facets.all

    async def _read(self) -> dict[str, Facets]:
        async with self._lock:
            if self._known is None or self._clock() - self._read_at >= REFRESH_SECONDS:
                began = self._clock()
                try:
                    self._known = await self._control.facets()
                except Unavailable:
                    if self._known is None:
                        raise
                self._read_at = began
            return self._known


async def redeclare(control: Control, tenant_id: str, asked: Sequence[Declared]) -> Facets:
    """Replace a tenant's facets; the later of two at the same moment wins. Raises `Invalid` for a bad declaration."""
    for _ in range(_TRIES):
        tenant = await control.tenant(tenant_id)
        if tenant is None:
            raise NotFound("no such tenant")
        new = declare(tenant.facets, asked)
        if new == tenant.facets or await control.replace_facets(tenant_id, tenant.facets, new):
            return new
    raise Conflict("the facets are being changed by others; try again")
