"""What one request uses of its tenant's quotas, and of its key's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from core.access import Permission
from core.errors import QuotaExceeded
from core.limits.meter import READS, Meter, Tally, Triple

if TYPE_CHECKING:
    from core.limits.limiter import Limiter

Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields."""
_ONE: Final = (1, 0, 0)
_NOTHING: Final = (0, 0)
# Compared one by one: looking an enumeration's member up in a set takes longer than all else here.
_MANAGE: Final = Permission.MANAGE
_PLATFORM: Final = Permission.PLATFORM
_READ: Final = Permission.READ
_VIEW: Final = Permission.VIEW


class Use:
    """What one request uses."""

    __slots__ = ("_entered", "_is_limited", "_limiter", "_meters", "_permission", "_taken", "_tallies")

    def __init__(
        self, limiter: Limiter, meters: tuple[Meter, ...], permission: Permission, *, is_limited: bool
    ) -> None:
        self._limiter = limiter
        self._meters = meters
        self._permission = permission
        self._is_limited = is_limited
        self._taken = _NOTHING
        self._entered: tuple[Tally, ...] = ()
        self._tallies: tuple[Tally, ...] = ()

    def enter(self) -> None:
        """Let the request in, or raise `QuotaExceeded`.

        Whoever manages a tenant is let in with its quotas used up: to revoke the key that does it, say.
        """
        permission = self._permission
        if permission is _MANAGE or permission is _PLATFORM:
            return
        if self._is_limited:
            self._entered = self._take(_ONE)
        else:
            self._meters[0].counts[0] += 1

    def check(self) -> None:
        """Raise `QuotaExceeded` when there is no room for any event."""
        if self._is_limited:
            self._check((0, 1, 1))

    def take(self, events: int, size: int) -> None:
        """Use so much for what is about to be sent, once a request, or raise `QuotaExceeded` and use nothing."""
        if self._is_limited:
            self._tallies = self._take((0, events, size))
        else:
            tally = self._meters[0].tally
            tally.counts[1] += events
            tally.counts[2] += size
            self._tallies = (tally,)
        self._taken = events, size

    def give_back(self, events: int | None = None, size: int | None = None) -> None:
        """Of what was taken, so much was not accepted after all; by default nothing was."""
        all_events, all_bytes = self._taken
        amounts = 0, all_events if events is None else events, all_bytes if size is None else size
        self._give_back(self._tallies, amounts)

    def answered(self, status: int) -> None:
        """Count a read that was answered."""
        permission = self._permission
        if (permission is _READ or permission is _VIEW) and status < 400:
            for meter in self._meters:
                meter.counts[READS] += 1

    def fields(self) -> Fields:
        """The header fields of the answer; [] where there are no quotas."""
        return self._limiter.fields(self._meters) if self._is_limited else []

    def _take(self, amounts: Triple) -> tuple[Tally, ...]:
        """Take from each meter; the tallies in which that is counted."""
        self._check(amounts)
        meters = self._meters
        if len(meters) == 1:
            meters[0].take(amounts)
            return (meters[0].tally,)
        for meter in meters:
            meter.take(amounts)
        return tuple(meter.tally for meter in meters)

    def _check(self, amounts: Triple) -> None:
        try:
            self._limiter.check(self._meters, amounts)
        except QuotaExceeded:
            # Nothing of a refused request counts, not even that it was one.
            self._give_back(self._entered, _ONE)
            self._entered = ()
            raise

    def _give_back(self, tallies: tuple[Tally, ...], amounts: Triple) -> None:
        for meter, tally in zip(self._meters, tallies, strict=False):
            meter.give_back(tally, amounts)
