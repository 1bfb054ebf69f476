"""The place that all answers pass: what waits for the record, and what becomes of an answer that has none."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from api import audit
from api.auditing import Audited
from api.middleware import Envelope
from api.problems import problem_of
from core.access import Role
from core.audit import PLATFORM_TENANT
from core.errors import Forbidden, OcelotError
from core.tenant import Claims, Tenant, TenantStatus
from core.tenant_settings import AccessAudit
from tests.unit.test_access_audit import TENANT, Memory, trail_on

Event = dict[str, Any]
PLATFORM = Tenant(PLATFORM_TENANT, "p", b"p" * 32, 0)
LENIENT = Tenant("bbbbbbbb", "b", b"s" * 32, 0, access_audit=AccessAudit.BEST_EFFORT)
GOING = Tenant("cccccccc", "c", b"s" * 32, 0, status=TenantStatus.DELETING)


def claims(tenant: Tenant | None) -> Claims:
    return Claims("ana", tenant.id if tenant else None, frozenset({Role.ADMIN}), "t-1", 0, 1 << 60)


class Rig:
    """An application of one route behind `Audited`, on a queue in memory."""

    def __init__(self, path: str, act: Callable[[Request], Any], caller: Tenant | None, method: str = "GET") -> None:
        self.queue = Memory()
        self.acted = 0
        known = {each.id: each for each in (TENANT, PLATFORM, LENIENT, GOING)}

        async def tenant(tenant_id: str) -> Tenant | None:
            return known.get(tenant_id)

        async def endpoint(request: Request) -> Response:
            audit.seen(claims(caller))
            await audit.granted()
            self.acted += 1
            answer: Response = act(request)
            return answer

        async def on_error(request: Request, error: Exception) -> Response:
            return problem_of(error, "")

        app = Starlette(routes=[Route(path, endpoint, methods=[method])], exception_handlers={OcelotError: on_error})
        app.state.ocelot = SimpleNamespace(
            trail=trail_on(self.queue),
            snapshots=SimpleNamespace(tenant=tenant),
            authenticator=SimpleNamespace(address_of=lambda connection: "203.0.113.7"),
        )
        routed = _Routed(app, path)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(Envelope(Audited(routed, app))), base_url="http://test"
        )

    @property
    def events(self) -> list[Event]:
        return self.queue.sent


class _Routed:
    """Says which route it is, as the framework does."""

    def __init__(self, app: Any, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = SimpleNamespace(path=self._path)
        await self._app(scope, receive, send)


def listing(request: Request) -> Response:
    return JSONResponse({"data": [1, 2, 3]})


def refusing(request: Request) -> Response:
    return JSONResponse({"code": "forbidden"}, 403)


def streaming(request: Request) -> Response:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    return StreamingResponse(pieces())


async def test_a_read_is_recorded_with_its_count_before_it_is_answered() -> None:
    rig = Rig("/searches", listing, TENANT)
    answer = await rig.client.get("/searches?limit=3&limit=4&x=", headers={"User-Agent": "a" * 3000})
    assert answer.status_code == 200
    [event] = rig.events
    assert (event["action"], event["user_id"], event["ip_address"]) == ("ocelot.search.list", "ana", "203.0.113.7")
    assert event["metadata"]["query"] == {"limit": ["3", "4"], "x": [""]}
    assert event["metadata"]["count"] == 3
    assert event["request_id"] == answer.headers["X-Request-Id"]
    assert len(event["user_agent"]) == 1024


async def test_strict_refuses_a_read_that_cannot_be_recorded() -> None:
    rig = Rig("/searches", listing, TENANT)
    rig.queue.is_down = True
    answer = await rig.client.get("/searches")
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "data" not in answer.json()


async def test_strict_refuses_a_change_before_it_is_made() -> None:
    rig = Rig("/searches", listing, TENANT, "POST")
    rig.queue.is_down = True
    assert (await rig.client.post("/searches")).status_code == 503
    assert rig.acted == 0
    rig.queue.is_down = False
    assert (await rig.client.post("/searches")).status_code == 200
    assert [event["metadata"]["phase"] for event in rig.events] == ["start", "end"]
    assert rig.events[1]["metadata"]["start"] == rig.events[0]["id"]


async def test_best_effort_answers_all_the_same() -> None:
    rig = Rig("/searches", listing, LENIENT)
    rig.queue.is_down = True
    assert (await rig.client.get("/searches")).json() == {"data": [1, 2, 3]}


async def test_a_refusal_stays_one_and_is_recorded() -> None:
    rig = Rig("/searches", refusing, TENANT)
    assert (await rig.client.get("/searches")).status_code == 403
    [event] = rig.events
    assert (event["outcome"], event["metadata"]["error"]) == ("denied", "forbidden")
    rig.queue.is_down = True
    assert (await rig.client.get("/searches")).status_code == 403


async def test_what_is_raised_is_recorded_too() -> None:
    def raising(request: Request) -> Response:
        raise Forbidden("not you", code="tenant_suspended")

    rig = Rig("/searches", raising, TENANT)
    assert (await rig.client.get("/searches")).status_code == 403
    assert rig.events[0]["metadata"]["error"] == "tenant_suspended"


@pytest.mark.parametrize("path", ["/logs/export", "/unheard/of"])
async def test_a_stream_has_a_start_and_an_end_also_where_nobody_said_so(path: str) -> None:
    rig = Rig(path, streaming, TENANT)
    assert (await rig.client.get(path)).content == b"ab"
    start, end = rig.events
    assert start["action"] == end["action"] == ("ocelot.log.export" if "export" in path else "ocelot.api.call")
    assert (end["metadata"]["cut_off"], end["outcome"]) == (False, "success")


async def test_a_stream_of_a_reading_route_shows_nothing_unrecorded() -> None:
    rig = Rig("/searches", streaming, TENANT)
    rig.queue.is_down = True
    answer = await rig.client.get("/searches")
    assert answer.status_code == 503
    assert answer.json()["code"] == "dependency_unavailable"


async def test_an_answer_that_nobody_is_named_for_is_withheld() -> None:
    rig = Rig("/searches", listing, Tenant("zzzzzzzz", "gone", b"", 0))
    assert (await rig.client.get("/searches")).status_code == 503
    assert rig.events == []


async def test_whose_log_a_platform_administrators_call_is_in() -> None:
    for path, url, tenant_id in (
        ("/tenants", "/tenants", PLATFORM.id),
        ("/tenants/{tenant_id}", f"/tenants/{TENANT.id}", TENANT.id),
        ("/tenants/{tenant_id}", f"/tenants/{GOING.id}", PLATFORM.id),
        ("/tenants/{tenant_id}/deletion", f"/tenants/{TENANT.id}/deletion", PLATFORM.id),
        ("/searches", "/searches", PLATFORM.id),
    ):
        rig = Rig(path, listing, None)
        assert (await rig.client.get(url)).status_code == 200
        assert [event["tenant_id"] for event in rig.events] == [tenant_id], path
    assert rig.events[0]["metadata"]["call"] == "GET /searches"


async def test_sending_is_recorded_only_where_it_is_refused() -> None:
    rig = Rig("/logs", listing, TENANT, "POST")
    assert (await rig.client.post("/logs")).status_code == 200
    assert rig.events == []
    rig = Rig("/logs", refusing, TENANT, "POST")
    assert (await rig.client.post("/logs")).status_code == 403
    assert [event["action"] for event in rig.events] == ["ocelot.event.send"]


async def test_a_link_is_not_told() -> None:
    rig = Rig("/downloads/{link}", listing, TENANT)
    await rig.client.get("/downloads/let-me-in-by-this")
    assert "let-me-in" not in str(rig.events)
