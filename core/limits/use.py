"""What requests use of their tenant's quotas, and of their key's.

One object serves all requests with the same quotas, and the way of a request that there is room for is spelled out:
this is the hot path.
"""

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
# Compared one by one: to look an enumeration's member up in a set takes longer than all else here.
_MANAGE: Final = Permission.MANAGE
_PLATFORM: Final = Permission.PLATFORM


class Use:
    """What the requests of a tenant, or of one of its keys with quotas of its own, use."""

    __slots__ = ("_clock", "_limiter", "_meter", "meters")

    def __init__(self, limiter: Limiter, meters: tuple[Meter, ...]) -> None:
        self._limiter = limiter
        self._clock = limiter.clock
        self.meters = meters
        self._meter = meters[0] if len(meters) == 1 else None

    @property
    def is_limited(self) -> bool:
        return self._meter is None or self._meter.is_limited

    def enter(self, permission: Permission) -> None:
        """Let a request in, or raise `QuotaExceeded`.

        Whoever manages a tenant is let in with its quotas used up: to revoke the key that does it, say.
        """
        meter = self._meter
        if permission is _MANAGE or permission is _PLATFORM:
            if self.is_limited:
                self._limiter.look(self.meters)
        elif meter is None:
            self._limiter.take(self.meters, _ONE)
        elif not meter.is_limited:
            meter.counts[0] += 1
        else:
            room = meter.room
            if room[0] >= 1 and self._clock() < meter.room_until:
                room[0] -= 1
                meter.counts[0] += 1
            else:
                self._limiter.take(self.meters, _ONE)

    def check(self) -> None:
        """Raise `QuotaExceeded`, of a request that has entered, when there is no room for any event."""
        meter = self._meter
        if meter is not None:
            room = meter.room
            if not meter.is_limited or (room[1] >= 1 and room[2] >= 1 and self._clock() < meter.room_until):
                return
        try:
            self._limiter.check(self.meters, (0, 1, 1))
        except QuotaExceeded:
            self._leave()
            raise

    def take(self, events: int, size: int) -> Taken:
        """Use so much for what is about to be sent by a request that has entered.

        Raises `QuotaExceeded` when there is no room: nothing of such a request counts, not even that it was one.
        """
        meter = self._meter
        if meter is not None:
            room = meter.room
            if not meter.is_limited or (room[1] >= events and room[2] >= size and self._clock() < meter.room_until):
                counts = meter.counts
                counts[1] += events
                counts[2] += size
                room[1] -= events
                room[2] -= size
                return meter.tally
        try:
            self._limiter.take(self.meters, (0, events, size))
        except QuotaExceeded:
            self._leave()
            raise
        return meter.tally if meter is not None else tuple([each.tally for each in self.meters])

    def give_back(self, taken: Taken, events: int, size: int) -> None:
        """Of what was taken, so much was not accepted after all."""
        self._give_back(taken, (0, events, size))

    def answered(self, status: int) -> None:
        """Count a read that was answered."""
        if status < 400:
            for meter in self.meters:
                meter.counts[READS] += 1

    def fields(self) -> Fields:
        """The header fields of the answer to a request that has entered; [] where there are no quotas."""
        meter = self._meter
        if meter is None:
            return self._limiter.fields(self.meters)
        if not meter.is_limited:
            return []
        hint = meter.hint or self._limiter.hint(meter)
        return [meter.policies, (b"ratelimit", hint.text(meter.counts))]

    def _leave(self) -> None:
        self._give_back(tuple([meter.tally for meter in self.meters]), _ONE)

    def _give_back(self, taken: Taken, amounts: Triple) -> None:
        tallies = taken if isinstance(taken, tuple) else (taken,)
        for meter, tally in zip(self.meters, tallies, strict=True):
            meter.give_back(tally, amounts)


class BulkUse:
    """What one bulk of `size` bytes uses, once it is known how many events it has."""

    __slots__ = ("_events", "_size", "_taken", "_use")

    def __init__(self, use: Use, size: int) -> None:
        self._use = use
        self._size = size
        self._events = 0
        self._taken: Taken | None = None

    def take(self, events: int) -> None:
        """Use it, or raise `QuotaExceeded`."""
        self._taken = self._use.take(events, self._size)
        self._events = events

    def give_back(self, events: int, size: int) -> None:
        """So much of it was not accepted."""
        if self._taken is not None:
            self._use.give_back(self._taken, events, size)

    def give_all_back(self) -> None:
        """Nothing of it was accepted, if it was taken at all."""
        self.give_back(self._events, self._size)


Taken: TypeAlias = Tally | tuple[Tally, ...]
"""Where it was counted."""
