"""`Usage` in memory; the contract suite holds it to what the store's does."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import Unavailable
from core.ports.usage import DayUsage, Part, total
from core.tenant import TenantScope
from core.tenant_settings import UNLIMITED, Quotas


class MemoryUsage:
    """While it is `down` every call fails."""

    def __init__(self) -> None:
        self.down = False
        self._parts: dict[tuple[str, str, int], dict[str, Part]] = {}
        self._shared_at: dict[tuple[str, str, int], int] = {}
        self._beats: dict[str, int] = {}
        self._quotas: dict[str, tuple[str, Quotas]] = {}

    def _try(self) -> None:
        if self.down:
            raise Unavailable("store")

    async def record(self, parts: Sequence[Part], *, shared: bool) -> None:
        self._try()
        for part in parts:
            account = part.tenant_id, part.key, part.day
            self._parts.setdefault(account, {})[part.name] = part
            if shared:
                self._shared_at[account] = max(part.at, self._shared_at.get(account, 0))

    async def recent(self, since: int) -> list[Part]:
        self._try()
        accounts = [account for account, at in self._shared_at.items() if at >= since]
        return [part for account in accounts for part in self._parts[account].values()]

    async def days(self, scope: TenantScope, first: int, end: int) -> list[DayUsage]:
        self._try()
        found = {
            day: total([part.amounts for part in parts.values()])
            for (tenant_id, key, day), parts in self._parts.items()
            if (tenant_id, key) == (scope.tenant_id, "") and first <= day < end
        }
        return [DayUsage(day, found[day]) for day in sorted(found)]

    async def beat(self, process: str, beat: int) -> dict[str, int]:
        self._try()
        self._beats[process] = beat
        return dict(self._beats)

    async def ended(self, process: str, beat: int | None = None) -> None:
        self._try()
        if beat in (None, self._beats.get(process)):
            self._beats.pop(process, None)

    async def key_quotas(self) -> dict[str, Quotas]:
        self._try()
        return {key: quotas for key, (_, quotas) in self._quotas.items()}

    async def set_key_quotas(self, scope: TenantScope, key_id: str, quotas: Quotas) -> None:
        self._try()
        if quotas != UNLIMITED:
            self._quotas[key_id] = scope.tenant_id, quotas
        elif self._quotas.get(key_id, ("", quotas))[0] == scope.tenant_id:
            del self._quotas[key_id]
