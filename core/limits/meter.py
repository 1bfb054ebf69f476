"""What one process knows of one tenant's (or one key's) quotas: buckets for the seconds, a tally for the day.

Times are monotonic seconds, but for `at` and the days.
"""

from __future__ import annotations

from math import ceil
from typing import Final, TypeAlias

from core.ports.usage import Amounts, Part
from core.tenant_settings import UNLIMITED, Quotas

READS: Final = 3
MEASURES: Final = ("requests", "events", "bytes")
_UNITS: Final = ("", ';qu="events"', ';qu="content-bytes"')
DAY: Final = 86_400
MOST_UNSEEN: Final = 7
"""Seconds' worth of a quota: more than a process in reach takes between two sights of it (docs/limits.md)."""
MOST_AWAY: Final = 5
"""The same of a process that was out of reach, before it went by shares."""
# What rounding may take from a full bucket; it is never worth a unit.
_ROUNDING: Final = 1e-6


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

    __slots__ = ("at", "level", "measure", "rate")

    def __init__(self, measure: int, rate: int, now: float) -> None:
        self.measure = measure
        self.rate = rate
        self.level = float(rate)
        self.at = now

    def wait(self, amount: int, now: float, share: float) -> float:
        """Seconds until `amount` may be taken; 0.0: now. `share` is the part of the rate that is this process's."""
        rate = self.rate * share
        if not rate:
            return float(DAY)
        level = self.level + (now - self.at) * rate
        if level > rate:
            level = rate
        self.level = level
        self.at = now
        need = amount if amount < rate else rate
        return 0.0 if level + _ROUNDING >= need else (need - level) / rate


class Meter:
    """The quotas of one tenant, or of one key if `key` is not "", and what is left of them.

    `others` is what other processes have counted of the day, as far as is known; `seen` by day and part. `synced` is
    what of our own they can know. `is_new` until it was compared with the others' for the first time.
    """

    __slots__ = (
        "buckets", "day_quotas", "is_new", "key", "kind", "others", "policies", "quotas", "seen", "synced", "tally",
        "tenant_id", "used_at",
    )  # fmt: skip

    def __init__(self, tenant_id: str, key: str, tally: Tally, now: float) -> None:
        self.tenant_id = tenant_id
        self.key = key
        self.kind = "key" if key else "tenant"
        self.tally = tally
        self.quotas = UNLIMITED
        self.buckets: list[Bucket] = []
        self.day_quotas: list[tuple[int, int]] = []
        self.policies = b""
        self.others = [0, 0, 0, 0]
        self.synced = (0, 0, 0, 0)
        self.seen: dict[tuple[int, str], tuple[int, int, int, int]] = {}
        self.is_new = True
        self.used_at = now

    def adopt(self, quotas: Quotas, now: float) -> None:
        """Go by these quotas from now on; a bucket whose rate stays keeps its level."""
        if quotas == self.quotas:
            self.quotas = quotas
            return
        if not self.is_limited:
            self.is_new = True
        self.quotas = quotas
        kept = {(bucket.measure, bucket.rate): bucket for bucket in self.buckets}
        self.buckets, self.day_quotas, policies = [], [], []
        for measure, name in enumerate(MEASURES):
            rate, most = getattr(quotas, f"{name}_per_second"), getattr(quotas, f"{name}_per_day")
            if rate is not None:
                self.buckets.append(kept.get((measure, rate)) or Bucket(measure, rate, now))
                policies.append(f'"{self.kind}-{name}-second";q={rate};w=1{_UNITS[measure]}')
            if most is not None:
                self.day_quotas.append((measure, most))
                policies.append(f'"{self.kind}-{name}-day";q={most};w={DAY}{_UNITS[measure]}')
        self.policies = ", ".join(policies).encode()

    @property
    def is_limited(self) -> bool:
        return bool(self.buckets or self.day_quotas)

    def lacking(self, amounts: tuple[int, int, int], now: float, share: float, midnight: float) -> list[Lack]:
        """The quotas that have no room for the amounts. `midnight`: seconds until the day ends."""
        found = []
        for bucket in self.buckets:
            amount = amounts[bucket.measure]
            if amount and (wait := bucket.wait(amount, now, share)) > 0.0:
                found.append(self._lack(bucket.measure, "second", wait))
        for measure, most in self.day_quotas:
            amount = amounts[measure]
            if amount and self.tally.counts[measure] + amount > self._allowed(measure, most, share):
                found.append(self._lack(measure, "day", midnight))
        return found

    def take(self, amounts: tuple[int, int, int]) -> None:
        """Count the amounts, whether there is room for them or not."""
        counts = self.tally.counts
        counts[0] += amounts[0]
        counts[1] += amounts[1]
        counts[2] += amounts[2]
        for bucket in self.buckets:
            bucket.level -= amounts[bucket.measure]

    def give_back(self, tally: Tally, amounts: tuple[int, int, int]) -> None:
        """Undo a part of a `take` that was counted in `tally`."""
        for measure, amount in enumerate(amounts):
            tally.counts[measure] -= amount
        for bucket in self.buckets:
            bucket.level += amounts[bucket.measure]

    def tightest(self, now: float, share: float, midnight: float) -> tuple[float, str, int, int]:
        """The quota of which least is left: (the part that is left, its name, how much, seconds until it is more)."""
        found = (2.0, "", 0, 0)
        for bucket in self.buckets:
            wait = bucket.wait(1, now, share)
            left = bucket.level / bucket.rate if bucket.rate else 0.0
            if left < found[0]:
                name = f"{self.kind}-{MEASURES[bucket.measure]}-second"
                found = (left, name, max(0, int(bucket.level + _ROUNDING)), max(1, ceil(wait)))
        for measure, most in self.day_quotas:
            rest = self._allowed(measure, most, share) - self.tally.counts[measure]
            left = rest / most if most else 0.0
            if left < found[0]:
                found = (left, f"{self.kind}-{MEASURES[measure]}-day", max(0, int(rest)), max(1, ceil(midnight)))
        return found

    def learn(self, part: Part, stale_before: int, *, capped: bool) -> None:
        """Take note of what another process has counted so far.

        What it counted before we knew of it costs no level if it is idle since `stale_before` (microseconds). `capped`:
        it, or we, had been out of reach, and went by shares meanwhile: what was taken then is not owed.
        """
        amounts = (part.amounts.requests, part.amounts.events, part.amounts.bytes, part.amounts.reads)
        name = (part.day, part.name)
        known = self.seen.get(name)
        self.seen[name] = amounts
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

    def roll(self, tally: Tally) -> None:
        """A new day begins; what others took at the end of the last one is still to be learned."""
        self.seen = {name: amounts for name, amounts in self.seen.items() if name[0] == self.tally.day}
        self.tally = tally
        self.others = [0, 0, 0, 0]
        self.synced = (0, 0, 0, 0)

    def part(self, tally: Tally, at: int) -> Part:
        return Part(self.tenant_id, self.key, tally.day, tally.name, Amounts(*tally.counts), at)

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


Lack: TypeAlias = tuple[float, str, str]
"""Seconds until a quota has room, its name, and what it says."""
