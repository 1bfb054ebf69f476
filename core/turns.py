"""How many may do something costly at once, over all and for each tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Overloaded


class Turns:
    """At most `total` at a time, and `each` of one tenant; who is too many is refused and not kept waiting."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._by_tenant: Counter[str] = Counter()

    @contextmanager
    def taken(self, tenant_id: str) -> Iterator[None]:
        """One turn of the tenant's; raises `Overloaded` when there is none."""
        if self._by_tenant.total() >= self._total or self._by_tenant[tenant_id] >= self._each:
            raise Overloaded("the index is away, and as many searches as may be look through the store")
        self._by_tenant[tenant_id] += 1
        try:
            yield
        finally:
            self._by_tenant[tenant_id] -= 1
            if not self._by_tenant[tenant_id]:
                del self._by_tenant[tenant_id]
