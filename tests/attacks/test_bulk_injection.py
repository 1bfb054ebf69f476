"""A line break and an index command inside a free-form value change no other document and fail no other event."""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import pytest

from core import envelope, instant
from core.envelope import Header, Record
from core.placement import place, write_alias
from core.ports import Heartbeat, Message
from core.tenant import for_system
from core.wiring import Backends
from tests import census
from tests.attacks.smuggled import COMMANDS, naive_bulk, smuggled
from tests.service import Client, Service

FREE = ("metadata", "before_state", "after_state")
BREAKS = ("\n", "\r\n", "\r")
# What a naive bulk comes to; `index` and `create` fail there only because a comma follows their document.
EXPLOITS = {"delete": (404, None), "update": (200, {"message": "forged"})}


@pytest.fixture(scope="module")
def victim(running: Service) -> Client:
    """Another tenant with events of its own, stored and found."""
    client = running.tenant("victim")
    for n in range(8):
        client.ingest({"action": "victim.acted", "message": "genuine", "request_id": str(n)})
    client.found(8, q="genuine")
    return client


def index_of(service: Service, client: Client) -> str:
    """The name of the index that holds what the tenant sends now."""
    assert client.tenant is not None
    return write_alias(client.tenant.id, place(client.tenant.placements, instant.now_us())) + "-g1"


def documents(service: Service, client: Client) -> dict[str, Any]:
    """Every document of the tenant, with the version and sequence number that any write to it would change.

    But for the records of the tenant's own reading, of which each look makes one more.
    """
    url = service.environment["OPENSEARCH_URL"]
    index = index_of(service, client)
    httpx.post(f"{url}/{index}/_refresh", timeout=30)
    query = {"bool": {"must_not": [{"prefix": {"action": "ocelot."}}]}}
    body = {"size": 100, "version": True, "seq_no_primary_term": True, "query": query}
    answer = httpx.post(f"{url}/{index}/_search", json=body, timeout=30)
    return {hit["_id"]: (hit["_version"], hit["_seq_no"]) for hit in answer.json()["hits"]["hits"]}


@pytest.fixture
def unharmed(running: Service, victim: Client) -> Iterator[list[str]]:
    """The victim's event ids; afterwards its store, its index and what it finds are as before, to the byte."""
    before, held = documents(running, victim), census.take(running, victim)
    assert len(before) == 8
    yield sorted(held.stored)
    assert documents(running, victim) == before
    after = census.take(running, victim)
    assert (after.bodies, sorted(after.indexed)) == (held.bodies, sorted(held.indexed))
    assert victim.get("/logs", params={"q": "forged"}).json()["total"] == 0


@pytest.mark.parametrize("command", EXPLOITS)
def test_a_naive_bulk_is_exploited(running: Service, command: str) -> None:
    """The attack is real: on a throw-away index, bytes put into a bulk as they are delete or change its document."""
    url, index = running.environment["OPENSEARCH_URL"], f"naive-{secrets.token_hex(6)}"
    event = f'{{"action":"x","metadata":{smuggled(command, index, "known")}}}'
    try:
        httpx.put(f"{url}/{index}/_doc/known?refresh=true", json={"message": "genuine"}, timeout=30)
        assert naive_bulk(url, index, [event.encode(), b'{"action":"y"}']).status_code == 200
        found = httpx.get(f"{url}/{index}/_doc/known", timeout=30)
        assert (found.status_code, found.json().get("_source")) == EXPLOITS[command]
    finally:
        httpx.delete(f"{url}/{index}", timeout=30)


def bodies(field: str, text: str, mark: str) -> dict[str, tuple[bytes | Iterator[bytes], dict[str, str]]]:
    """The attack between two plain events in every form of a bulk body, each with its headers."""

    def event(n: str, free: str) -> str:
        return f'{{\n "action": "attack.tried",\n "request_id": "{mark}-{n}",\n "{field}":\n {free}\n}}'

    array = "[\n" + ",\n".join([event("before", '{"of":1}'), event("attack", text), event("after", '{"of":2}')]) + "\n]"
    lines = [event("before", '{"of":1}'), event("attack", text), event("after", '{"of":2}')]
    # A line of NDJSON cannot hold its own line feed; a carriage return it can.
    ndjson = "\n".join(line.replace("\r\n", "\r").replace("\n", "\r") for line in lines)
    kind = {"Content-Type": "application/json"}
    return {
        "array": (array.encode(), kind),
        "object": (f'{{"events":\n{array}\n}}'.encode(), kind),
        "chunked": (iter([array[:70].encode(), array[70:].encode()]), kind),
        "gzip": (gzip.compress(array.encode()), {**kind, "Content-Encoding": "gzip"}),
        "ndjson": (ndjson.encode(), {"Content-Type": "application/x-ndjson"}),
    }


@pytest.mark.parametrize("form", ["array", "object", "chunked", "gzip", "ndjson"])
def test_no_form_of_a_bulk_lets_a_command_through(
    running: Service, tenant: Client, victim: Client, unharmed: list[str], form: str
) -> None:
    index, sent = index_of(running, victim), 0
    for ends, (n, command), field in product(BREAKS, enumerate(COMMANDS), FREE):
        text = smuggled(command, index, unharmed[n], ends)
        content, headers = bodies(field, f'{{"flat":{text},"deep":[[{text}]]}}', f"m{sent}")[form]
        response = tenant.post("/logs/bulk", content=content, headers=headers)
        assert response.status_code == 202, response.text
        assert response.json()["accepted"] == 3, response.text
        sent += 3
    tenant.found(sent, action="attack.tried")
    _whole(running, tenant, sent)
    for field in FREE:
        tenant.found(len(BREAKS) * len(COMMANDS), **{f"{field}.flat.of.the": "end", f"{field}.deep.of.the": "end"})


def test_no_single_event_lets_a_command_through(
    running: Service, tenant: Client, victim: Client, unharmed: list[str]
) -> None:
    index = index_of(running, victim)
    for n, command in enumerate(COMMANDS):
        text = smuggled(command, index, unharmed[n])
        event = f'{{"action":"attack.tried",\n"metadata":{text},\r\n"before_state":{text},"after_state":{text}}}'
        response = tenant.post("/logs", content=event.encode(), headers={"Content-Type": "application/json"})
        assert response.status_code == 202, response.text
        event_id = response.json()["id"]
        stored = tenant.get(f"/logs/{event_id}", params={"wait": 20})
        assert stored.json()["metadata"] == json.loads(text)
        assert b"\n" not in stored.content
        assert b"\r" not in stored.content
    tenant.found(len(COMMANDS), action="attack.tried")


@pytest.mark.parametrize("broken", ["\n", "\r"])
def test_an_envelope_with_a_line_break_in_a_body_is_parked(
    running: Service, tenant: Client, victim: Client, unharmed: list[str], broken: str
) -> None:
    """Past the API: whoever can write to the queue still cannot make a command; the events beside it arrive."""
    assert tenant.tenant is not None
    now = instant.now_us()
    placement = place(tenant.tenant.placements, now)
    text = smuggled("delete", index_of(running, victim), unharmed[0], broken)
    good = [_record(tenant, placement, now, "{}") for _ in range(2)]
    bad = _record(tenant, placement, now, text)
    producer = secrets.token_hex(16)
    header = Header(id=f"{producer}-1", producer=producer, sequence=1, made_at=now, events={tenant.tenant.id: 3})
    _queue(running, header, [good[0], bad, good[1]])
    tenant.found(2, action="attack.queued")
    [parked] = _parked(running, tenant)
    assert parked.body == bad.body
    assert parked.reason == "undecodable_event"
    held = census.take(running, tenant)
    assert bad.body not in held.bodies.values()
    assert sorted(held.bodies.values()) == sorted(record.body for record in good)


def _whole(service: Service, client: Client, count: int) -> None:
    """The store and the index hold `count` events, each one line."""
    held = census.take(service, client)
    assert len(held.stored) == count
    assert sorted(held.indexed) == sorted(held.stored)
    assert not [body for body in held.bodies.values() if b"\n" in body or b"\r" in body]


def _record(client: Client, placement: str, now: int, metadata: str) -> Record:
    assert client.tenant is not None
    event_id = f"01999999-{secrets.token_hex(2)}-7000-8000-{secrets.token_hex(6)}"
    body = (
        f'{{"id":"{event_id}","tenant_id":"{client.tenant.id}","timestamp":"{instant.to_text(now)}",'
        f'"received_at":"{instant.to_text(now)}","salt":"c2FsdA","action":"attack.queued","severity":"INFO",'
        f'"metadata":{metadata}}}'
    )
    return Record(client.tenant.id, placement, body.encode())


def _queue(service: Service, header: Header, records: list[Record]) -> None:
    async def send(backends: Backends) -> list[Exception | None]:
        sent = await backends.queue.send([Message(envelope.pack(header, records))])
        # Or every watermark would wait a minute for what else it may send.
        await backends.ledger.beat(Heartbeat(header.producer, header.sequence, instant.now_us(), ended=True))
        return sent

    assert service.with_backends(send) == [None]


def _parked(service: Service, client: Client, timeout: float = 20) -> list[Any]:
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")

    async def listing(backends: Backends) -> list[Any]:
        return await backends.parking.listing(scope.tenant_id)

    deadline = time.monotonic() + timeout
    while not (found := service.with_backends(listing)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return list(found)
