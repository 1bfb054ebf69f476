"""Opening the backends while the store comes up."""

from __future__ import annotations

from typing import Any

import pytest

from core import audit, wiring
from core.adapters.store.control import MongoControl
from core.adapters.store.searches import MongoSavedSearches
from core.errors import Unavailable


@pytest.mark.parametrize("breaks", ["migrated", "control", "platform", "searches"])
async def test_a_store_that_breaks_off_while_it_is_opened_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    calls: list[str] = []

    def step(name: str) -> Any:
        async def call(_database: object, **_: object) -> str:
            calls.append(name)
            if name == breaks and calls.count(name) == 1:
                raise Unavailable("store")
            return name

        return call

    monkeypatch.setattr(wiring, "_migrated", step("migrated"))
    monkeypatch.setattr(MongoControl, "open", step("control"))
    monkeypatch.setattr(audit, "ensure_platform_tenant", step("platform"))
    monkeypatch.setattr(MongoSavedSearches, "open", step("searches"))
    monkeypatch.setattr(wiring, "_RETRY", 0)
    database: Any = None
    assert await wiring._opened(database) == ("control", "searches")
    assert calls[-4:] == ["migrated", "control", "platform", "searches"]
    monkeypatch.setattr(wiring, "_PATIENCE", -1)
    calls.clear()
    with pytest.raises(Unavailable):
        await wiring._opened(database)
