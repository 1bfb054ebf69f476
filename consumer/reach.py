"""Which placements of the index take events now, so that one tenant's trouble holds up no other tenant."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core import telemetry
from core.errors import Blocked, Unavailable

log = logging.getLogger(__name__)
# Seconds between two tries of what is given up: the outbox takes the events meanwhile.
RETRY_AFTER: Final = 5.0


@dataclass(slots=True)
class _Trouble:
    since: float
    tried_at: float
    given_up: bool = False


class Reach:
    """What is known of the index from the calls made to it; `clock` is monotonic seconds.

    A placement that is blocked answers, and will not take the next event either: its events go to the outbox at once.
    One that does not answer is waited for through `patience` seconds, since that is mostly a moment's matter; so is
    the index as a whole. What is given up is tried again every `RETRY_AFTER` seconds by one batch.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._index: _Trouble | None = None
        self._placements: dict[tuple[str, str], _Trouble] = {}

    def gives_up(self, tenant_id: str, placement: str) -> bool:
        """Whether events of the placement go to the outbox untried; False lets the caller's batch try."""
        now = self._clock()
        for trouble in (self._index, self._placements.get((tenant_id, placement))):
            if trouble is not None and trouble.given_up:
                if now - trouble.tried_at < RETRY_AFTER:
                    return True
                trouble.tried_at = now
        return False

    def failed(self, tenant_id: str, placement: str, error: Unavailable) -> bool:
        """Note a failed call; whether its events go to the outbox, else they wait in the queue."""
        telemetry.ERRORS.labels(error.dependency).inc()
        now = self._clock()
        blocked = isinstance(error, Blocked)
        known = self._placements.get((tenant_id, placement))
        if known is None:
            log.warning("index, tenant %s, placement %s: %s", tenant_id, placement, error.message)
            known = self._placements[tenant_id, placement] = _Trouble(now, now)
        known.tried_at = now
        known.given_up = known.given_up or blocked or now - known.since >= self._patience
        if not blocked:
            if self._index is None:
                self._index = _Trouble(now, now)
            self._index.tried_at = now
            self._index.given_up = now - self._index.since >= self._patience
        return known.given_up or (self._index is not None and self._index.given_up)

    def answers(self, tenant_id: str, placement: str) -> None:
        """The placement took events."""
        self._index = None
        self._placements.pop((tenant_id, placement), None)
