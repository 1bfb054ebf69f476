"""The access audit in memory: what its events look like, and what an answer waits for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import PREFIX
from api.audited import PUBLIC, RULES
from api.main import create_service
from core.access import Role
from core.audit import Access, Trail
from core.commit import GroupCommit
from core.envelope import unpack
from core.errors import InvalidEvent, Unavailable
from core.event import check, decode, decode_stored
from core.ports import Message
from core.query import And, Condition, EventQuery, Match, Not, Or, Value, without_own
from core.settings import Settings
from core.tenant import Claims, Tenant, from_token
from core.tenant_settings import AccessAudit

TENANT = Tenant("aaaaaaaa", "a", b"s" * 32, 0)


class Memory:
    """A queue that keeps what it is sent, or is down."""

    def __init__(self) -> None:
        self.is_down = False
        self.sent: list[dict[str, Any]] = []

    async def send(self, messages: list[Message]) -> list[Exception | None]:
        if self.is_down:
            raise Unavailable("queue")
        for message in messages:
            self.sent += [json.loads(record.body) for record in unpack(message.body)[1]]
        return [None] * len(messages)


def trail_on(queue: Any) -> Trail:
    return Trail(GroupCommit(queue, deadline=0.05))


def test_every_route_is_audited_or_says_why_not() -> None:
    """A new route needs a row in `api.audited`: its event, or the reason why it has none."""
    settings = Settings.model_validate(
        {"OCELOT_QUEUE": "file", "MONGODB_URL": "mongodb://x", "OPENSEARCH_URL": "http://x"}
    )
    described = create_service(settings).openapi()["paths"]
    routes = {(method.upper(), path.removeprefix(PREFIX)) for path, found in described.items() for method in found}
    assert routes <= set(RULES) | set(PUBLIC), routes - set(RULES) - set(PUBLIC)
    assert set(RULES) <= routes, set(RULES) - routes
    assert not set(RULES) & set(PUBLIC)
    for path, found in described.items():
        for method, operation in found.items():
            needs_token = operation.get("x-permission") != "none"
            assert (method.upper(), path.removeprefix(PREFIX)) in RULES or not needs_token, (method, path)


async def test_an_event_says_who_did_what_and_comes_through_whole() -> None:
    queue = Memory()
    body = b'{"query": {"field": "user_id",\n "equals": "ana"}, "n": 1e400}'
    access = Access(
        "ocelot.log.search", "key:ock_1", "success", "searched", session_id="t-1", ip_address="203.0.113.7",
        user_agent="curl/8", request_id="r-1", resource_type="log", query={"a b": ["x", "\ud800"]}, body=body,
        metadata={"count": 3},
    )  # fmt: skip
    event_id = await trail_on(queue).write(TENANT, access)
    [event] = queue.sent
    assert event["id"] == event_id
    assert event["tenant_id"] == TENANT.id
    assert (event["user_id"], event["session_id"], event["source"]) == ("key:ock_1", "t-1", "ocelot")
    assert event["metadata"]["query"] == {"a b": ["x", "?"]}
    assert event["metadata"]["body"]["query"] == {"field": "user_id", "equals": "ana"}
    assert event["metadata"]["count"] == 3


async def test_no_secret_of_a_query_is_written() -> None:
    queue = Memory()
    secrets = {"password": ["hunter-two-two"], "q": ["Bearer abcdefgh.ijklmnop-qrstuvwx"]}
    body = b'{"client_secret": "ocs_zyxwvutsrqponmlkjihgfedcba987654"}'
    await trail_on(queue).write(TENANT, Access("ocelot.log.search", "a", query=secrets, body=body))
    written = json.dumps(queue.sent)
    for secret in ("hunter-two", "ijklmnop", "zyxwvuts"):
        assert secret not in written


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":{"field":"metadata.password","equals":"hunter-two-two"}}',
        b'{"query":{"not":{"or":[{"field":"metadata.a.client_secret","equals":["a","hunter-two-two"]}]}}}',
        b'{"search":{"query":{"field":"after_state.apiKey","prefix":"hunter-two"}},"reason":"r"}',
        b'{"query":{"\\u0066ield":"metadata.pass\\u0077ord","equals":"hunter-two-two"}}',
        b'{"query":{"field":"metadata.password","field":"user_id","equals":"hunter-two-two"}}',
    ],
)
async def test_no_secret_that_a_tree_looks_for_is_written(body: bytes) -> None:
    queue = Memory()
    await trail_on(queue).write(TENANT, Access("ocelot.log.search", "a", body=body))
    assert "hunter" not in json.dumps(queue.sent)
    assert "[masked]" in json.dumps(queue.sent[0]["metadata"]["body"])


@pytest.mark.parametrize("number", [b"9" * 5000, b"1e400", b"-1e999"])
async def test_a_secret_beside_a_number_that_is_none_is_written_by_its_digest(number: bytes) -> None:
    queue = Memory()
    body = b'{"a":' + number + b',"query":{"field":"metadata.password","equals":"hunter-two-two"}}'
    await trail_on(queue).write(TENANT, Access("ocelot.log.search", "a", body=body))
    assert set(queue.sent[0]["metadata"]["body"]) == {"bytes", "sha256"}


async def test_any_other_body_is_written_as_it_came() -> None:
    queue = Memory()
    body = b'{"query":{"field":"user_id","equals":"\\u0061na"},"limit":100000000000000000000000000001}'
    await trail_on(queue).write(TENANT, Access("ocelot.log.search", "a", body=body))
    assert queue.sent[0]["metadata"]["body"]["limit"] == 100000000000000000000000000001
    assert queue.sent[0]["metadata"]["body"]["query"] == {"field": "user_id", "equals": "ana"}


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b"{",
        b'{"a":"\xff"}',
        b"[" * 9000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":"' + b"x" * 300_000 + b'"}',
    ],
    ids=["array", "cut", "utf8", "brackets", "deep", "large"],
)
async def test_a_body_that_is_no_object_or_too_large_is_told_by_its_digest(body: bytes) -> None:
    queue = Memory()
    await trail_on(queue).write(TENANT, Access("ocelot.log.search", "a", body=body))
    told = queue.sent[0]["metadata"]["body"]
    assert (set(told), told["bytes"], len(told["sha256"])) == ({"bytes", "sha256"}, len(body), 64)


@given(
    st.dictionaries(st.text(max_size=300), st.lists(st.text(max_size=3000), max_size=5), max_size=30),
    st.text(max_size=9000),
)
async def test_whatever_a_client_asks_is_recorded(query: dict[str, list[str]], text: str) -> None:
    queue = Memory()
    access = Access("ocelot.log.search", text[:500], "denied", text, user_agent=text, resource_id=text, query=query)
    await trail_on(queue).write(TENANT, access)
    [event] = queue.sent
    assert decode_stored(msgspec.json.encode(event)).outcome == "denied"
    assert event["severity"] == "WARNING"


async def test_strict_waits_and_refuses_best_effort_does_not_wait() -> None:
    queue = Memory()
    queue.is_down = True
    trail = trail_on(queue)
    access = Access("ocelot.log.search", "a")
    with pytest.raises(Unavailable):
        await trail.write(TENANT, access)
    lenient = Tenant("bbbbbbbb", "b", b"s" * 32, 0, access_audit=AccessAudit.BEST_EFFORT)
    assert await trail.write(lenient, access) == ""
    with pytest.raises(Unavailable):  # a change of what is set is on record in any mode
        await trail.change(access, lenient, TENANT)
    queue.is_down = False
    await trail.change(access, lenient, TENANT)
    [event] = queue.sent
    assert event["before_state"]["access_audit"] == "best_effort"
    assert event["after_state"]["access_audit"] == "strict"
    assert event["tenant_id"] == "bbbbbbbb"


async def test_an_action_is_the_services_own() -> None:
    with pytest.raises(ValueError, match="no action"):
        await trail_on(Memory()).write(TENANT, Access("log.search", "a"))


@pytest.mark.parametrize("action", ["ocelot.log.search", "Ocelot.x", "OCELOT.", "ocelot.\\u006c"])
def test_no_client_sends_one(action: str) -> None:
    with pytest.raises(InvalidEvent, match="the service's own"):
        check(decode(f'{{"action":"{action}"}}'.encode()), 0)


def condition(*texts: str, match: Match = Match.EQUAL, field: str = "action", negated: bool = False) -> Condition:
    return Condition(field, tuple(Value(text, match) for text in texts), negated)


OWN = condition("ocelot.", match=Match.PREFIX)


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(conditions=(OWN,)),
        EventQuery(conditions=(condition("ocelot.log.search"),)),
        EventQuery(conditions=(condition("user.login", "ocelot.log.search", negated=True),)),
        EventQuery(conditions=(condition("ocelot", match=Match.PREFIX),)),
        EventQuery(where=Or((condition("a", field="user_id"), Not(And((OWN,)))))),
    ],
)
def test_a_query_that_names_own_events_finds_them(query: EventQuery) -> None:
    assert without_own(query) is query


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(),
        EventQuery(conditions=(condition("o", match=Match.PREFIX),)),
        EventQuery(conditions=(condition("", match=Match.EXISTS),)),
        EventQuery(conditions=(condition("ocelot.", field="source"),)),
        EventQuery(text="ocelot.log.search"),
    ],
)
def test_any_other_query_passes_them_over(query: EventQuery) -> None:
    narrowed = without_own(query)
    assert narrowed.conditions == (*query.conditions, condition("ocelot.", match=Match.PREFIX, negated=True))
    assert without_own(narrowed) is narrowed


def test_a_viewers_filter_passes_them_over_unless_it_names_them() -> None:
    for restriction, expected in ((EventQuery(), True), (EventQuery(conditions=(OWN,)), False)):
        claims = Claims("viewer:1", TENANT.id, frozenset({Role.VIEWER}), "1", 0, 1 << 60, restriction, "key:k")
        scope = from_token(claims, TENANT)
        assert scope.restriction is not None
        assert (scope.restriction != restriction) == expected
