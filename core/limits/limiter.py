"""All quotas of one process: what each request may use, without asking anybody.

A tenant without quotas costs a look into a table and three additions a request.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from math import ceil
from typing import Final

from core import telemetry
from core.errors import QuotaExceeded
from core.limits.meter import DAY, Hint, Meter, Tally, Triple
from core.limits.use import Fields, Use
from core.ports.usage import Part
from core.tenant import Tenant
from core.tenant_settings import UNLIMITED, Quotas

STALE_AFTER: Final = 2.0
"""Seconds after which what a process knows of the others is too old: then it takes its share alone."""
IDLE: Final = 120.0
"""Seconds after which a meter that nobody uses is dropped: its buckets are full by then."""
_EVER: Final = 1 << 62


class Limiter:
    """The meters of a process, which `process` names for ever. `clock` is monotonic, `wall` since 1970, in seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time, process: str = ""
    ) -> None:
        self.process = process or uuid.uuid4().hex
        self.key_quotas: Mapping[str, Quotas] = {}
        """By the subject of a key's tokens."""
        self.quotas_of: Callable[[str], Quotas] = lambda tenant_id: UNLIMITED
        """The quotas of a tenant that only others have served so far."""
        self.is_gone: Callable[[str], bool] = lambda tenant_id: False
        """Whether a tenant is being deleted: what it used is nobody's to know any more."""
        self.clock = clock
        self._wall = wall
        self._tenants: dict[str, Meter] = {}
        self._keys: dict[tuple[str, str], Meter] = {}
        self._uses: dict[str, Use] = {}
        self._closed: list[tuple[Meter, Tally, float]] = []
        """Of days that are over: requests under way may still give back."""
        self._numbers = count()
        self._share = self._alone = 1.0
        self._synced_at = clock()
        self._drops_at = 0.0
        self._day = 0
        self._day_ends = 0.0
        self._roll()

    def use(self, tenant: Tenant, actor: str) -> Use:
        """What a request is about to use; its `enter` lets it in."""
        if self._wall() >= self._day_ends:
            self._roll()
        use = self._uses.get(tenant.id)
        if use is None:
            meter = self._tenants.get(tenant.id)
            if meter is None:
                meter = self._tenants[tenant.id] = Meter(tenant.id, "", self._tally(), self.clock())
            use = self._uses[tenant.id] = Use(self, (meter,))
        meter = use.meters[0]
        if meter.quotas is not tenant.quotas:
            meter.adopt(tenant.quotas, self.clock())
        if self.key_quotas and (quotas := self.key_quotas.get(actor)) is not None:
            return Use(self, (meter, self._key_meter(tenant.id, actor, quotas)))
        return use

    def set_key_quotas(self, subject: str, quotas: Quotas) -> None:
        """Go by these quotas of a key from now on."""
        others = {name: found for name, found in self.key_quotas.items() if name != subject}
        self.key_quotas = others if quotas == UNLIMITED else {**others, subject: quotas}

    def share(self, now: float) -> float:
        """The part of each quota that is this process's to use up: all of it while it knows what the others do."""
        return self._share if now - self._synced_at <= STALE_AFTER else self._alone

    def take(self, meters: tuple[Meter, ...], amounts: Triple) -> None:
        """Take from each meter, or raise `QuotaExceeded` and take from none."""
        now = self.clock()
        requests, events, size = amounts
        for meter in meters:
            room = meter.room
            if now >= meter.room_until or room[0] < requests or room[1] < events or room[2] < size:
                self.check(meters, amounts)
                break
        for meter in meters:
            meter.take(amounts)

    def check(self, meters: tuple[Meter, ...], amounts: Triple) -> None:
        """Raise `QuotaExceeded` unless each meter has room, by a new look at it."""
        share = self.look(meters)
        midnight = self._day_ends - self._wall()
        lacking = [lack for meter in meters for lack in meter.lacking(amounts, share, midnight)]
        if lacking:
            wait, policy, message = max(lacking)
            telemetry.QUOTA_REFUSALS.labels(policy).inc()
            raise QuotaExceeded([name for _, name, _ in lacking], message, max(1, ceil(wait)))

    def look(self, meters: tuple[Meter, ...]) -> float:
        """See what is left in each meter now; the share that this goes by."""
        now = self.clock()
        share = self.share(now)
        for meter in meters:
            meter.look(now, share)
        return share

    def hint(self, meter: Meter) -> Hint:
        """The tightest quota of a meter, by its last look."""
        return meter.tightest(self.share(self.clock()), self._day_ends - self._wall())

    def fields(self, meters: tuple[Meter, ...]) -> Fields:
        """`RateLimit-Policy` with every quota, `RateLimit` with the one of which least is left."""
        limited = [meter for meter in meters if meter.is_limited]
        hint, meter = min(((self.hint(each), each) for each in limited), key=lambda found: found[0].left)
        policies = b", ".join(each.policies[1] for each in limited)
        return [(b"ratelimit-policy", policies), (b"ratelimit", hint.text(meter.counts))]

    # What the processes tell each other: see `core.limits.sharing`.

    def dirty(self, *, limited: bool) -> list[tuple[Meter, Tally]]:
        """The tallies that have changed since they were recorded, of meters with quotas or of those without."""
        now = self.clock()
        if self._wall() >= self._day_ends:
            self._roll()
        if now >= self._drops_at:
            self._drops_at = now + IDLE / 10
            self._drop_idle(now)
        current = [(meter, meter.tally) for meter in self._meters()]
        closed = [(meter, tally) for meter, tally, _ in self._closed]
        found = [(meter, tally) for meter, tally in current + closed if meter.is_limited is limited and tally.is_dirty]
        for meter, tally in found:
            meter.used_at = now
            if self.is_gone(meter.tenant_id):
                tally.recorded = (tally.counts[0], tally.counts[1], tally.counts[2], tally.counts[3])
        return [(meter, tally) for meter, tally in found if tally.is_dirty]

    def parts(self, dirty: Iterable[tuple[Meter, Tally]]) -> list[Part]:
        at = int(self._wall() * 1_000_000)
        return [meter.part(tally, at) for meter, tally in dirty]

    def recorded(self, dirty: Iterable[tuple[Meter, Tally]], parts: Iterable[Part]) -> None:
        """The parts made of these are durable."""
        for (meter, tally), part in zip(dirty, parts, strict=True):
            amounts = part.amounts
            tally.recorded = (amounts.requests, amounts.events, amounts.bytes, amounts.reads)
            if meter.tally is tally:
                meter.synced = tally.recorded

    def learn(self, parts: Iterable[Part], stale_before: int, capped: Callable[[str], bool]) -> None:
        """Take note of other processes' parts; `capped` tells of a process whether it had been out of reach."""
        now = self.clock()
        own = f"{self.process}-"
        for part in parts:
            if (meter := self._known(part, now)) is None:
                continue
            if not part.name.startswith(own):
                meter.learn(part, stale_before, capped=capped(part.name.rpartition("-")[0]))
            elif part.day == meter.tally.day and part.name != meter.tally.name:
                meter.learn(part, _EVER, capped=True)  # of a meter that was dropped: it counts for the day alone
        for meter in self._meters():
            meter.is_new = False

    def synced(self, at: float, share: float, alone: float) -> None:
        """All that was known at the moment `at` has been exchanged; `alone` is the share once that is too old."""
        self._synced_at, self._share, self._alone = at, share, alone

    def _known(self, part: Part, now: float) -> Meter | None:
        """The meter of the part's account; one with quotas is made, so that the first request knows of the others."""
        quotas = self.key_quotas.get(part.key) if part.key else self.quotas_of(part.tenant_id)
        name = part.tenant_id, part.key
        found = self._keys.get(name) if part.key else self._tenants.get(part.tenant_id)
        if found is None and quotas is not None and quotas != UNLIMITED:
            if part.key:
                return self._key_meter(part.tenant_id, part.key, quotas)
            found = self._tenants[part.tenant_id] = Meter(part.tenant_id, "", self._tally(), now)
            found.adopt(quotas, now)
        return found

    def _key_meter(self, tenant_id: str, key: str, quotas: Quotas) -> Meter:
        meter = self._keys.get((tenant_id, key))
        if meter is None:
            meter = self._keys[tenant_id, key] = Meter(tenant_id, key, self._tally(), self.clock())
        if meter.quotas is not quotas:
            meter.adopt(quotas, self.clock())
        return meter

    def _meters(self) -> Iterator[Meter]:
        yield from self._tenants.values()
        yield from self._keys.values()

    def _tally(self) -> Tally:
        # A name of its own each time: a meter that was dropped and comes again must not begin its part anew.
        return Tally(self._day, f"{self.process}-{next(self._numbers)}")

    def _roll(self) -> None:
        """Begin the day that it is by now."""
        self._day = int(self._wall() // DAY)
        self._day_ends = (self._day + 1.0) * DAY
        now = self.clock()
        for meter in self._meters():
            self._closed.append((meter, meter.tally, now))
            meter.roll(self._tally(), now)

    def _drop_idle(self, now: float) -> None:
        self._closed = [each for each in self._closed if each[1].is_dirty or now - each[2] < IDLE]
        for name in [name for name, meter in self._tenants.items() if _is_idle(meter, now)]:
            del self._tenants[name]
            self._uses.pop(name, None)
        for key in [key for key, meter in self._keys.items() if _is_idle(meter, now)]:
            del self._keys[key]


def _is_idle(meter: Meter, now: float) -> bool:
    """Whether nothing is lost with the meter: all is recorded and paid, and no day's count has to be known again."""
    return now - meter.used_at > IDLE and not (meter.tally.is_dirty or meter.day_quotas) and meter.is_full(now)
