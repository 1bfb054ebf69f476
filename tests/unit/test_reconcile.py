"""The job that closes the index's gap, on ports in memory: what it does, what it leaves, and where it goes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from consumer.jobs.reconcile import Reconcile
from core.errors import Conflict
from core.jobs import Job, Progress
from core.ports import IndexDocument, IndexOutcome, Rebuilding, Stored
from core.tenant import Tenant, TenantScope, for_system
from tests.unit.ports import TENANT, anything
from tests.unit.test_completeness import AT, World

NOW = AT + 100_000_000


class Both(World):
    """A store and an index that can be written to; `comes` is what appears in the store while the job runs."""

    comes: dict[str, int]
    refuses: frozenset[str] = frozenset()
    writes: int = 0

    async def fetch(self, scope: TenantScope, ids: Collection[str]) -> dict[str, Stored]:
        there = {id_: at for id_, (at, _) in self.stored.items()} | self.comes
        return {id_: Stored(id_, "202605", 0, there[id_], b"", b"{}") for id_ in ids if id_ in there}

    async def index(
        self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument]
    ) -> list[IndexOutcome | Exception]:
        self.writes += 1
        assert placement == "202605"
        outcomes: list[IndexOutcome | Exception] = []
        for document in documents:
            if document.id in self.refuses:
                outcomes.append(ValueError("refused"))
                continue
            self.indexed[document.id] = self.stored[document.id][0]
            outcomes.append(IndexOutcome.INDEXED)
        return outcomes

    async def remove(self, scope: TenantScope, placement: str, ids: Collection[str]) -> int:
        self.writes += 1
        assert placement == "202605"
        for id_ in ids:
            del self.indexed[id_]
        return len(ids)

    async def refresh(self, scope: TenantScope) -> None: ...

    async def tenant(self, tenant_id: str) -> Tenant:
        return Tenant(TENANT, "t", b"", AT)


class Doing:
    """A job under work; it may be cut off at a save."""

    def __init__(self, spec: dict[str, Any], checkpoint: dict[str, Any] | None = None) -> None:
        progress = Progress(checkpoint=checkpoint)
        self.job = Job("j", TENANT, "reconcile", spec, "test", NOW, NOW, NOW, progress=progress)
        self.scope = for_system(TENANT, "test")
        self.saved: list[Progress] = []
        self.cut = False

    async def save(self, progress: Progress) -> None:
        self.saved.append(progress)
        if self.cut:
            raise InterruptedError


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Both:
    monkeypatch.setattr("consumer.jobs.reconcile._SAVE_SECONDS", -1)
    made = Both()
    made.comes = {}
    made.mark = AT + 50
    for n in range(5):
        made.take(f"p-{n}", *(AT + 9 * n + m for m in range(8)))
    for id_ in ("p-0-0", "p-2-3"):
        del made.indexed[id_]
    for id_ in ("p-1-4", "p-4-7"):
        del made.stored[id_]
    made.stored["young"] = AT + 50, "p-9"  # past the watermark
    return made


async def run(world: Both, doing: Doing | None = None, **spec: Any) -> dict[str, Any]:
    port = anything(world)
    job = Reconcile(port, port, port, port, clock=lambda: NOW)
    return await job.run(anything(doing or Doing({"dry_run": False, **spec})))


async def test_both_gaps_are_closed_and_the_young_are_left_alone(world: Both) -> None:
    result = await run(world)
    assert set(world.indexed) == set(world.stored) - {"young"}
    assert (result["compared"], result["indexed"], result["removed"], result["left"]) == (38, 2, 2, 0)
    assert result["ids_not_indexed"] == ["p-0-0", "p-2-3"]
    assert result["ids_not_stored"] == ["p-1-4", "p-4-7"]
    again = await run(world)
    assert (again["not_indexed"], again["not_stored"], again["left"]) == (0, 0, 0)


async def test_a_dry_run_tells_the_same_and_changes_nothing(world: Both) -> None:
    result = await run(world, dry_run=True)
    assert (result["not_indexed"], result["not_stored"], result["left"], world.writes) == (2, 2, 4, 0)
    assert result["ids_not_stored"] == ["p-1-4", "p-4-7"]


async def test_what_is_in_the_store_after_all_stays_in_the_index(world: Both) -> None:
    world.comes["p-4-7"] = AT + 43  # it was brought back while the job ran
    result = await run(world)
    assert (result["not_stored"], result["removed"], result["left"]) == (1, 1, 0)
    assert "p-4-7" in world.indexed


async def test_what_the_index_refuses_is_left_and_named(world: Both) -> None:
    world.refuses = frozenset({"p-2-3"})
    result = await run(world)
    assert (result["indexed"], result["refused"], result["ids_refused"], result["left"]) == (1, 1, ["p-2-3"], 1)


async def test_a_range_is_kept_to(world: Both) -> None:
    result = await run(world, received_from=AT + 9, received_to=AT + 18)
    assert (result["ids_not_indexed"], result["ids_not_stored"]) == ([], ["p-1-4"])
    assert result["compared"] == 7
    assert (await run(world, received_from=AT + 60))["compared"] == 0


async def test_a_job_that_is_cut_off_goes_on_where_it_was_and_tells_the_same(world: Both) -> None:
    whole = await run(world, dry_run=True)
    checkpoint = None
    for _ in range(20):
        doing = Doing({"dry_run": True}, checkpoint)
        doing.cut = True
        try:
            result = await run(world, doing)
            break
        except InterruptedError:
            checkpoint = doing.saved[-1].checkpoint
    assert result == whole


async def test_it_waits_for_no_rebuild(world: Both) -> None:
    world.behind = Rebuilding.BESIDE
    with pytest.raises(Conflict):
        await run(world)
    assert world.writes == 0
