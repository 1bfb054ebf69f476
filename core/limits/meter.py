"""What one process knows of one tenant's (or one key's) quotas: buckets for the seconds, a tally for the day.

Times are monotonic seconds, but for `at` and the days.
"""

from __future__ import annotations

from math import ceil, inf
from typing import Final, TypeAlias

from core.ports.usage import Amounts, Part
from core.tenant_settings import UNLIMITED, Quotas

READS: Final = 3
_POLICIES: Final = b"ratelimit-policy"
MEASURES: Final = ("requests", "events", "bytes")
_UNITS: Final = ("", ';qu="events"', ';qu="content-bytes"')
DAY: Final = 86_400
ROOM: Final = 0.05
"""Seconds for which a look at the quotas is good: until then requests are taken out of the room that it found."""
MOST_UNSEEN: Final = 7
"""Seconds' worth of a quota: more than a process in reach takes between two sights of it (docs/limits.md)."""
MOST_AWAY: Final = 5
"""The same of a process that was out of reach, before it went by shares."""
# What rounding may take from a full bucket; it is never worth a unit.
_ROUNDING: Final = 1e-6

Triple: TypeAlias = tuple[int, int, int]
"""Requests, events and bytes."""
Lack: TypeAlias = tuple[float, str, str]
"""Seconds until a quota has room, its name, and what it says."""


class Tally:
    """What this process has counted for one account in one day: `counts` by measure, reads last."""

    __slots__ = ("counts", "day", "name", "recorded")

    def __init__(self, day: int, name: str) -> None:
        self.day = day
        self.name = name
        self.counts = [0, 0, 0, 0]
        self.recorded = (0, 0, 0, 0)

    @property
    def is_dirty(self) -> bool:
        return tuple(self.counts) != self.recorded


class Bucket:
    """A quota a second of one measure: a second's worth may come at once, `level` is what is left of it.

    It may be below zero: what others took meanwhile is owed, and so is what a request takes that is larger than the
    bucket, which a full one lets through.
    """

    __slots__ = ("level", "measure", "rate")

    def __init__(self, measure: int, rate: int) -> None:
        self.measure = measure
        self.rate = rate
        self.level = float(rate)

    def fill(self, seconds: float, share: float) -> None:
        """Let so much time pass. `share` is the part of the rate, and of the bucket, that is this process's."""
        rate = self.rate * share
        level = self.level + seconds * rate
        self.level = level if level < rate else rate

    def wait(self, amount: int, share: float) -> float:
        """Seconds until `amount` may be taken; 0.0: now."""
        rate = self.rate * share
        if not rate:
            return float(DAY)
        need = amount if amount < rate else rate
        return 0.0 if self.level + _ROUNDING >= need else (need - self.level) / rate


class Meter:
    """The quotas of one tenant, or of one key if `key` is not "", and what is left of them.

    What is taken is counted in `tally`, and out of `room`: what each measure had left at the last look, good until
    `room_until`. The buckets learn of it at the next look, by what the counts have grown since `base`.

    `others` is what other processes have counted of the day, as far as is known; `seen` by day and part. `synced` is
    what of our own they can know. `is_new` until it was compared with the others' for the first time.
    """

    __slots__ = (
        "base", "buckets", "counts", "day_quotas", "filled_at", "hint", "is_limited", "is_new", "key", "kind", "others",
        "policies", "quotas", "room", "room_until", "seen", "synced", "tally", "tenant_id", "used_at",
    )  # fmt: skip

    def __init__(self, tenant_id: str, key: str, tally: Tally, now: float) -> None:
        self.tenant_id = tenant_id
        self.key = key
        self.kind = "key" if key else "tenant"
        self.tally = tally
        self.counts = tally.counts
        self.quotas = UNLIMITED
        self.is_limited = False
        self.buckets: list[Bucket] = []
        self.day_quotas: list[tuple[int, int]] = []
        self.policies = _POLICIES, b""
        self.room = [inf, inf, inf]
        self.room_until = 0.0
        self.filled_at = now
        self.base = (0, 0, 0)
        self.others = [0, 0, 0, 0]
        self.synced = (0, 0, 0, 0)
        self.seen: dict[tuple[int, str], tuple[int, int, int, int]] = {}
        self.hint: Hint | None = None
        self.is_new = True
        self.used_at = now

    def adopt(self, quotas: Quotas, now: float) -> None:
        """Go by these quotas from now on; a bucket whose rate stays keeps its level."""
        if quotas == self.quotas:
            self.quotas = quotas
            return
        self._settle(now, 1.0)
        if not self.is_limited:
            self.is_new = True
        self.quotas = quotas
        kept = {(bucket.measure, bucket.rate): bucket for bucket in self.buckets}
        self.buckets, self.day_quotas, policies = [], [], []
        for measure, name in enumerate(MEASURES):
            rate, most = getattr(quotas, f"{name}_per_second"), getattr(quotas, f"{name}_per_day")
            if rate is not None:
                self.buckets.append(kept.get((measure, rate)) or Bucket(measure, rate))
                policies.append(f'"{self.kind}-{name}-second";q={rate};w=1{_UNITS[measure]}')
            if most is not None:
                self.day_quotas.append((measure, most))
                policies.append(f'"{self.kind}-{name}-day";q={most};w={DAY}{_UNITS[measure]}')
        self.policies = _POLICIES, ", ".join(policies).encode()
        self.is_limited = bool(policies)

    def look(self, now: float, share: float) -> None:
        """See what is left of each measure."""
        self._settle(now, share)
        room = [inf, inf, inf]
        for bucket in self.buckets:
            room[bucket.measure] = bucket.level
        for measure, most in self.day_quotas:
            left = self._allowed(measure, most, share) - self.counts[measure]
            if left < room[measure]:
                room[measure] = left
        self.room = room
        self.room_until = now + ROOM

    def lacking(self, amounts: Triple, share: float, midnight: float) -> list[Lack]:
        """The quotas that have no room for the amounts, by the last look. `midnight`: seconds until the day ends."""
        found = []
        for bucket in self.buckets:
            amount = amounts[bucket.measure]
            if amount and (wait := bucket.wait(amount, share)) > 0.0:
                found.append(self._lack(bucket.measure, "second", wait))
        for measure, most in self.day_quotas:
            amount = amounts[measure]
            if amount and self.counts[measure] + amount > self._allowed(measure, most, share):
                found.append(self._lack(measure, "day", midnight))
        return found

    def take(self, amounts: Triple) -> None:
        """Count the amounts, whether there is room for them or not."""
        counts, room = self.counts, self.room
        for measure, amount in enumerate(amounts):
            counts[measure] += amount
            room[measure] -= amount

    def give_back(self, tally: Tally, amounts: Triple) -> None:
        """Undo a part of a `take` that was counted in `tally`."""
        for measure, amount in enumerate(amounts):
            tally.counts[measure] -= amount
            self.room[measure] += amount
        if tally is not self.tally:
            for bucket in self.buckets:
                bucket.level += amounts[bucket.measure]

    def tightest(self, share: float, midnight: float) -> Hint:
        """The quota of which least is left, by the last look."""
        if self.hint is not None:
            return self.hint
        found, name, amount, wait, of = 2.0, "", 0.0, 0.0, 0
        for bucket in self.buckets:
            left = bucket.level / (bucket.rate or 1)
            if left < found:
                found, amount, of = left, bucket.level + _ROUNDING, bucket.measure
                name, wait = f"{self.kind}-{MEASURES[of]}-second", bucket.wait(1, share)
        for measure, most in self.day_quotas:
            rest = self._allowed(measure, most, share) - self.counts[measure]
            left = rest / (most or 1)
            if left < found:
                found, amount, of, wait = left, rest, measure, midnight
                name = f"{self.kind}-{MEASURES[measure]}-day"
        self.hint = hint = Hint(found, name, amount, max(1, ceil(wait)), of, self.counts[of])
        return hint

    def learn(self, part: Part, stale_before: int, *, capped: bool) -> None:
        """Take note of what another process has counted so far.

        What it counted before we knew of it costs no level if it is idle since `stale_before` (microseconds). `capped`:
        it, or we, had been out of reach, and went by shares meanwhile: what was taken then is not owed.
        """
        amounts = (part.amounts.requests, part.amounts.events, part.amounts.bytes, part.amounts.reads)
        name = (part.day, part.name)
        known = self.seen.get(name)
        if known == amounts:
            return
        self.seen[name] = amounts
        self.room_until = 0.0
        before = known or (0, 0, 0, 0)
        if part.day == self.tally.day:
            for measure, amount in enumerate(amounts):
                self.others[measure] += amount - before[measure]
        if known is None and part.at < stale_before:
            return
        for bucket in self.buckets:
            grown = amounts[bucket.measure] - before[bucket.measure]
            if known is None or capped:
                grown = min(grown, (MOST_AWAY if capped else MOST_UNSEEN) * bucket.rate)
            bucket.level -= grown
            if self.is_new and bucket.level < 0:
                bucket.level = 0.0  # nothing was taken here: what others took before is no debt of ours

    def roll(self, tally: Tally, now: float) -> None:
        """A new day begins; what others took at the end of the last one is still to be learned."""
        self._settle(now, 1.0)
        self.seen = {name: amounts for name, amounts in self.seen.items() if name[0] == self.tally.day}
        self.tally = tally
        self.counts = tally.counts
        self.base = (0, 0, 0)
        self.others = [0, 0, 0, 0]
        self.synced = (0, 0, 0, 0)

    def is_full(self, now: float) -> bool:
        """Whether nothing is owed, nor missing from a bucket."""
        self._settle(now, 1.0)
        return not any(bucket.wait(bucket.rate, 1.0) for bucket in self.buckets)

    def part(self, tally: Tally, at: int) -> Part:
        return Part(self.tenant_id, self.key, tally.day, tally.name, Amounts(*tally.counts), at)

    def _settle(self, now: float, share: float) -> None:
        """Let the buckets know of what was taken since the last time, and of the time."""
        requests, events, size, _ = self.counts
        taken = requests - self.base[0], events - self.base[1], size - self.base[2]
        for bucket in self.buckets:
            bucket.level -= taken[bucket.measure]
            bucket.fill(now - self.filled_at, share)
        self.base = requests, events, size
        self.filled_at = now
        self.room_until = 0.0
        self.hint = None

    def _allowed(self, measure: int, most: int, share: float) -> float:
        """Up to what this process may count. With a share, of what was left when the others knew of us last."""
        left = most - self.others[measure]
        if share == 1.0:
            return left
        synced = self.synced[measure]
        return synced + max(0, left - synced) * share

    def _lack(self, measure: int, window: str, wait: float) -> Lack:
        name = MEASURES[measure]
        most = getattr(self.quotas, f"{name}_per_{window}")
        return wait, f"{self.kind}-{name}-{window}", f"this {self.kind} may use {most} {name} a {window}"


class Hint:
    """The tightest quota of a meter: the part `left` of it, and how much that was when `count` was taken of it."""

    __slots__ = ("_head", "_measure", "_tail", "_total", "left")

    def __init__(self, left: float, name: str, much: float, seconds: int, measure: int, count: int) -> None:
        self.left = left
        self._measure = measure
        self._total = int(much) + count
        self._head = f'"{name}";r='
        self._tail = f";t={seconds}"

    def text(self, counts: list[int]) -> bytes:
        """As the header field has it, by what was taken since."""
        much = self._total - counts[self._measure]
        return f"{self._head}{much if much > 0 else 0}{self._tail}".encode()
