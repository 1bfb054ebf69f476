"""The end of a job as an event of its tenant's log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.jobs.expiry import ASKED_BY
from consumer.jobs.recording import ACTION, Recorder
from core.audit import PLATFORM_TENANT
from core.errors import Unavailable
from core.jobs import Job
from core.ports import Heartbeat
from core.producer import Occasional
from core.tenant import Tenant, TenantStatus
from core.tenant_settings import AccessAudit
from tests.unit.test_access_audit import Memory

STRICT = Tenant("aaaaaaaa", "a", b"s" * 32, 0)
LENIENT = Tenant("bbbbbbbb", "b", b"s" * 32, 0, access_audit=AccessAudit.BEST_EFFORT)
GOING = Tenant("cccccccc", "c", b"s" * 32, 0, status=TenantStatus.DELETING)
PLATFORM = Tenant(PLATFORM_TENANT, "p", b"p" * 32, 0)
SPEC = {"format": "ndjson", "search": {"query": {"field": "user_id", "equals": "ana"}}}


class Rig:
    def __init__(self) -> None:
        self.queue: Any = Memory()
        self.beats: list[Heartbeat] = []
        self.is_down = False
        known = {each.id: each for each in (STRICT, LENIENT, GOING, PLATFORM)}

        async def tenant(tenant_id: str) -> Tenant | None:
            return known.get(tenant_id)

        async def beat(heartbeat: Heartbeat) -> None:
            if self.is_down:
                raise Unavailable("store")
            self.beats.append(heartbeat)

        control: Any = SimpleNamespace(tenant=tenant)
        ledger: Any = SimpleNamespace(beat=beat)
        self.recorder = Recorder(control, Occasional(self.queue, ledger))

    @staticmethod
    def job(tenant_id: str, asked_by: str = "key:ock_1") -> Job:
        return Job("j1", tenant_id, "export", SPEC, asked_by, 1, 1, 2, attempts=2)

    async def ends(self, tenant_id: str, result: Any = None, error: str | None = None) -> list[dict[str, Any]]:
        await self.recorder.ended(self.job(tenant_id), result, error)
        found: list[dict[str, Any]] = self.queue.sent
        return found


@pytest.mark.parametrize("tenant_id", [STRICT.id, LENIENT.id])
async def test_it_tells_who_asked_for_what_and_what_came_of_it(tenant_id: str) -> None:
    rig = Rig()
    [event] = await rig.ends(tenant_id, {"events": 24, "sha256": "ab", "names": ["ana"]})
    assert (event["action"], event["user_id"], event["outcome"]) == (ACTION, "key:ock_1", "success")
    assert (event["tenant_id"], event["resource_type"], event["resource_id"]) == (tenant_id, "job", "j1")
    metadata = event["metadata"]
    assert (metadata["kind"], metadata["state"], metadata["count"]) == ("export", "done", 24)
    assert metadata["body"] == SPEC
    assert metadata["result"] == {"events": 24, "sha256": "ab"}


async def test_a_failure_says_why() -> None:
    [event] = await Rig().ends(STRICT.id, error="the key was revoked")
    assert (event["outcome"], event["metadata"]["error"]) == ("failure", "the key was revoked")


@pytest.mark.parametrize("tenant_id", [GOING.id, "dddddddd"])
async def test_the_end_of_a_gone_tenants_job_is_in_the_platforms_log(tenant_id: str) -> None:
    [event] = await Rig().ends(tenant_id, {"tenant_id": tenant_id})
    assert event["tenant_id"] == PLATFORM_TENANT


async def test_what_nobody_asked_for_is_nobodys_access() -> None:
    rig = Rig()
    await rig.recorder.ended(rig.job(STRICT.id, ASKED_BY), {"archived": 5}, None)
    assert rig.queue.sent == []


async def test_one_producer_ended_in_between_and_none_of_its_numbers_unsaid() -> None:
    rig = Rig()
    await rig.ends(STRICT.id, {})
    await rig.ends(STRICT.id, {})
    assert len({beat.producer for beat in rig.beats}) == 1
    assert [(beat.sequence, beat.ended) for beat in rig.beats] == [(0, False), (1, True), (1, False), (2, True)]


async def test_what_cannot_be_recorded_undoes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.is_down = True
    assert await rig.ends(STRICT.id, {}) == []
    assert "the end of job j1" in caplog.text
