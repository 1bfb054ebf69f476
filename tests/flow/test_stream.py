"""Live streams over HTTP and WebSocket: what comes, what does not, where it goes on, and how it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from core.access import Role
from core.tenant import TenantStatus
from tests.service import Client, Service
from tests.streams import Follower, Listener, Socket

WAYS = ["sse", "header", "protocol", "message"]


def listen(client: Client, way: str, last: str | None = None) -> Listener:
    return Follower(client, last) if way == "sse" else Socket(client, last, way)


def send(client: Client, count: int, **fields: Any) -> list[str]:
    response = client.post("/logs/bulk", json=[{"action": "a", **fields} for _ in range(count)])
    assert response.json()["accepted"] == count
    return [item["id"] for item in response.json()["items"]]


@pytest.mark.parametrize("way", WAYS)
def test_events_come_whole_and_a_client_goes_on_where_it_was(tenant: Client, way: str) -> None:
    with listen(tenant, way) as first:
        first.started()
        sent = send(tenant, 5, message="é\u2028", metadata={"a.b": 10**30})
        assert sorted(first.events(5)) == sorted(sent)
        body = next(message.data for message in first.messages if message.name == "")
    event_id = json.loads(body)["id"]
    stored = tenant.get(f"/logs/{event_id}").text
    assert body == stored if way == "sse" else json.loads(body) == json.loads(stored)
    places = [message for message in first.messages if message.name == ""]
    missed = send(tenant, 5)
    tenant.found(10)
    with listen(tenant, way, places[2].id) as second:
        told = second.events(7)
        later = send(tenant, 2)
        assert sorted(second.events(9)[7:]) == sorted(later)
    assert told[:2] == first.ids()[3:]
    assert sorted(told[2:]) == sorted(missed)
    assert first.named("gap") == second.named("gap") == []


def test_a_stream_holds_what_the_search_finds(tenant: Client) -> None:
    queries: list[dict[str, Any]] = [
        {"user_id": "ana"}, {"user_id": "!ana"}, {"action": "file.*"}, {"ip_address": "10.0.0.0/8"}, {"q": "ledger"},
        {"metadata.role": "editor"}, {"changed_paths": "/city"}, {"message": "the ledger"}, {"tags": ["a", "b"]},
        {"user_id": "*", "outcome!": "denied"}, {"from": "-1h", "received_from": "-1h"}, {"to": "-1h"},
    ]  # fmt: skip
    followers = [Follower(tenant, **query) for query in queries]
    for follower in followers:
        follower.__enter__().started()
    events: list[dict[str, Any]] = [
        {"action": "file.read", "user_id": "ana", "ip_address": "10.1.2.3", "message": "Ana opened the Ledger"},
        {"action": "file", "user_id": "ben", "outcome": "denied", "metadata": {"role": ["viewer", "editor"]}},
        {"action": "x", "tags": ["b"], "before_state": {"city": "A"}, "after_state": {"city": "B"}},
        {"action": "x", "metadata": {"note": "ledger"}, "ip_address": "::ffff:10.0.0.9"},
    ]
    assert tenant.post("/logs/bulk", json=events).json()["accepted"] == 4
    tenant.found(4)
    for follower, query in zip(followers, queries, strict=True):
        found = {event["id"] for event in tenant.get("/logs", params=query).json()["data"]}
        assert set(follower.events(len(found))) == found, query
        assert len(found) < 4 or "from" in query
    for follower in followers:
        follower.close()


def test_fields_thins_each_event(tenant: Client) -> None:
    with Follower(tenant, fields="action,user_id") as follower:
        follower.started()
        tenant.ingest({"action": "a", "user_id": "ana", "message": "m"})
        follower.until(lambda: any(message.name == "" for message in follower.messages))
    body = json.loads(next(message.data for message in follower.messages if message.name == ""))
    assert (body["action"], body["user_id"]) == ("a", "ana")
    assert "message" not in body


@pytest.mark.parametrize(
    "parameters", [{"sort": "timestamp"}, {"limit": 5}, {"cursor": "x"}, {"colour": "x"}, {"q": ""}]
)
def test_what_has_no_meaning_here_is_refused(tenant: Client, parameters: dict[str, Any]) -> None:
    answer = tenant.get("/logs/stream", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


@pytest.mark.parametrize("last", ["x", "A" * 300, "A" * 5000])
def test_a_place_of_no_log_is_refused(tenant: Client, last: str) -> None:
    answer = tenant.get("/logs/stream", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_last_event_id")
    with pytest.raises(InvalidStatus) as refused:
        Socket(tenant, last, "protocol")
    assert refused.value.response.status_code == 400
    with Socket(tenant, last) as listener:
        assert (listener.end()["reason"], listener.close_code) == ("bad_last_event_id", 4400)


@pytest.mark.parametrize("way", WAYS)
def test_an_expired_token_ends_the_stream(running: Service, way: str) -> None:
    tenant = running.tenant()
    short = running.client(tenant.tenant, Role.READER, lifetime=4)
    with listen(short, way) as listener:
        listener.started()
        sent = tenant.ingest({"action": "a"})
        listener.events(1)
        assert listener.end()["reason"] == "token_expired"
        assert way == "sse" or listener.close_code == 4401
    with listen(tenant, way, listener.last_id) as again:
        again.started()
        later = tenant.ingest({"action": "b"})
        assert again.events(1) == [later] != [sent]


def test_a_revoked_token_and_a_suspended_tenant_end_the_stream(running: Service) -> None:
    tenant = running.tenant()
    assert tenant.tenant is not None
    token_id = json.loads(_claims(tenant))["jti"]
    reader = running.client(tenant.tenant, Role.READER)
    with Follower(tenant) as revoked, Socket(reader) as suspended:
        revoked.started()
        suspended.started()
        running.with_backends(lambda backends: backends.control.revoke(token_id, 1))
        assert revoked.end()["reason"] == "token_revoked"
        assert not suspended.ended

        async def suspend(backends: Any) -> None:
            from core.adapters.store.documents import TenantDocument

            found = await TenantDocument.get(tenant.tenant.id)  # type: ignore[union-attr]
            await found.set({"status": TenantStatus.SUSPENDED})  # type: ignore[union-attr]

        running.with_backends(suspend)
        assert (suspended.end()["reason"], suspended.close_code) == ("tenant_suspended", 4403)


def _claims(client: Client) -> str:
    import base64

    payload = str(client.token).split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://evil.example", False), ("null", False), ("own", True), (None, True)]
)
def test_pages_of_another_origin_are_refused(
    running: Service, tenant: Client, origin: str | None, allowed: bool
) -> None:
    headers = {} if origin is None else {"Origin": running.url if origin == "own" else origin}
    if allowed:
        with Socket(tenant, how="protocol", **headers) as listener:
            listener.started()
            assert listener.subprotocol == "ocelot.v1"
        return
    for how in ("protocol", "message"):
        with pytest.raises(InvalidStatus) as refused:
            Socket(tenant, how=how, **headers)
        response = refused.value.response
        assert (response.status_code, json.loads(response.body or b"")["code"]) == (403, "foreign_origin")
        assert response.headers["X-Request-Id"]


def test_a_websocket_without_a_good_token_is_refused(running: Service, tenant: Client) -> None:
    writer = running.client(tenant.tenant, Role.WRITER)
    for client, status in ((Client(running.url, "x.y.z"), 401), (writer, 403)):
        for how in ("protocol", "header"):
            with pytest.raises(InvalidStatus) as refused:
                Socket(client, how=how)
            assert refused.value.response.status_code == status
        with Socket(client) as listener:
            assert listener.end()["reason"] in ("invalid_token", "forbidden")
            assert listener.close_code == 4000 + status
    url = f"{running.url}/api/v1/logs/stream?token={tenant.token}&access_token={tenant.token}"
    assert httpx.get(url).status_code == 401


def test_the_services_log_keeps_no_url_of_a_websocket(running: Service, tenant: Client) -> None:
    log = Path(running.environment["OCELOT_HOME"]) / f"api.main-{running.api.port}.log"
    before = log.read_text().count('"ERROR"')
    headers = {"Authorization": f"Bearer {tenant.token}"}
    url = f"{running.url}/api/v1/logs/stream?q=secret-word&access_token={tenant.token}".replace("http", "ws", 1)
    with pytest.raises(InvalidStatus), connect(url, additional_headers=headers, proxy=None):
        pass
    with connect(url.partition("&")[0], additional_headers=headers, proxy=None) as accepted:
        assert json.loads(accepted.recv())["type"] == "heartbeat"
    written = log.read_text()
    assert str(tenant.token) not in written
    assert "secret-word" not in written
    assert written.count('"ERROR"') == before


def test_only_so_many_streams(running: Service) -> None:
    tenant = running.tenant()
    other = running.tenant()
    limit = running.settings.max_tenant_streams
    followers = [Follower(tenant) for _ in range(limit)]
    try:
        for follower in followers:
            follower.__enter__()
        for follower in followers:
            follower.started()
        answer = tenant.get("/logs/stream")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
        assert int(answer.headers["Retry-After"]) >= 1
        with pytest.raises(InvalidStatus) as refused:
            Socket(tenant, how="header")
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["Retry-After"]) >= 1
        with Socket(tenant) as told:
            assert (told.end()["reason"], told.close_code) == ("too_many_streams", 4429)
        with Follower(other) as unhindered:
            unhindered.started()
        followers.pop().close()
        deadline = time.monotonic() + 10
        while True:  # the server sees a moment later that the client has gone
            with tenant.stream("GET", "/logs/stream") as again:
                if again.status_code == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        for follower in followers:
            follower.close()


def test_a_quiet_stream_has_heartbeats_whose_places_move_on(tenant: Client) -> None:
    with Follower(tenant, user_id="nobody") as follower:
        follower.started()
        send(tenant, 30)
        tenant.found(30)
        follower.until(lambda: len(follower.named("heartbeat")) >= 4)
        last = follower.last_id
    with Follower(tenant, last) as again:
        again.started()
        later = tenant.ingest({"action": "later"})
        assert again.events(1) == [later]
