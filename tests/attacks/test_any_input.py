"""Anything at all, by Hypothesis: whatever is sent or asked, no answer is a 5xx."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.access import Role
from tests.flow.refusals import FREE, NAMED, NDJSON, post, problem
from tests.service import Client, Service


@pytest.fixture(scope="module")
def client(running: Service) -> Client:
    """One tenant for all: what is refused leaves nothing behind."""
    return running.tenant()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_event = st.dictionaries(st.sampled_from([*NAMED, *FREE, "idempotency_key", "other"]), _json, max_size=6)
_bodies = st.one_of(
    st.binary(max_size=200),
    st.one_of(_json, _event, st.lists(_event, max_size=4)).map(lambda value: json.dumps(value).encode()),
    st.lists(_event, max_size=4).map(lambda events: b"\n".join(json.dumps(event).encode() for event in events)),
)
_bounded = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def _is_an_answer(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        problem(response, response.status_code, response.json()["code"])


@_bounded
@given(body=_bodies, kind=st.sampled_from(["application/json", NDJSON]), coded=st.sampled_from([None, "gzip", "zstd"]))
def test_no_body_at_all_is_a_fault_of_ours(client: Client, body: bytes, kind: str, coded: str | None) -> None:
    headers = {} if coded is None else {"Content_Encoding": coded}
    _is_an_answer(post(client, "/logs", body, kind, **headers))
    _is_an_answer(post(client, "/logs/bulk", body, kind, **headers))


KNOWN = (
    "q", "from", "to", "received_from", "received_to", "sort", "limit", "cursor", "id", "action", "action!", "tags",
    "ip_address", "ip_address!", "message", "metadata.a", "metadata.a.b", "metadata.a..b", "before_state.x", "user_id",
    "changed_paths", "severity", "facet.x", "fields",
)  # fmt: skip
STRANGE = (
    "*", "!*", "!", "\\!", "\\*", "a*", "a\\*", '"', '"a b"', "-1h", "now", "1", "10.0.0.0/8", "::1", "\x00", "(",
    "a OR b", "timestamp", "-received_at", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59",
    "x", "\U0001f98a", "1e400", "9" * 400,
)  # fmt: skip
# What is asked for is nearly always known: what is not is refused before any of the rest is looked at.
_fields = st.sampled_from((*KNOWN, "metadata.\x00", "metadata.\U0001f98a]", "\x00"))
_values = st.sampled_from(STRANGE) | st.text(max_size=20)


@_bounded
@given(query=st.lists(st.tuples(_fields, _values), max_size=3))
def test_no_query_at_all_is_a_fault_of_ours(client: Client, query: list[tuple[str, str]]) -> None:
    _is_an_answer(client.get("/logs", params=[(k.encode("utf-8"), v.encode("utf-8")) for k, v in query]))


def test_no_value_of_a_parameter_is_a_fault_of_ours(client: Client) -> None:
    """Each with each: sixty examples meet few of them."""
    for path in ("/logs", "/logs/stats"):
        for n, name in enumerate(KNOWN):
            # A third of the strange ones for each: parameters are read by a few readers, and these meet all of them.
            for value in STRANGE[(n + len(path)) % 3 :: 3]:
                _is_an_answer(client.get(path, params={name: value}))


@_bounded
@given(raw=st.binary(max_size=40), part=st.sampled_from(["/logs?", "/logs?q=", "/logs/", "/"]))
def test_no_address_at_all_is_a_fault_of_ours(client: Client, raw: bytes, part: str) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in raw)
    response = client.get(part + quoted)
    assert response.status_code < 500, response.text


def test_the_service_is_as_well_as_before(running: Service, client: Client) -> None:
    """After all of the above: ready, nothing held, and events still go through."""
    client.ingest({"action": "after.all"})
    client.found(1, action="after.all")
    assert client.get("/ready").json()["status"] == "ready"
    deadline = time.monotonic() + 5
    while "ocelot_in_flight_bytes 0.0" not in httpx.get(f"{running.url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with running.client(client.tenant, Role.READER) as reader:
        assert reader.get("/logs").status_code == 200
