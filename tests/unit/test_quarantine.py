"""What is kept of an event at fault, how it is put right, how it goes back: no secret, nothing lost, stored once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import instant
from core.bulk import Bulk
from core.bulk import Form as BulkForm
from core.envelope import Record
from core.errors import Conflict, Invalid, InvalidEvent, Unavailable
from core.event import decode_stored
from core.ids import uuid8_of_key
from core.ingest import Ingest, ItemResult
from core.ports.quarantine import PLACEMENT, Form, Kept, Quarantined
from core.quarantine.intake import kept_in
from core.quarantine.keeping import Reserved, draft_of
from core.quarantine.mapping import Operation, applied, operations_of
from core.tenant import Tenant, for_system
from tests.unit.ports import AT, TENANT, anything

KEEPING = Tenant(TENANT, "t", b"s" * 32, AT, quarantine=True)
REFUSING = Tenant(TENANT, "t", b"s" * 32, AT)
SCOPE = for_system(TENANT, "test")
SECRET = "hunter2-Zq"


class Commit:
    """Group commit that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.fail: Exception | None = None
        self.now = AT

    @contextmanager
    def stamping(self) -> Iterator[int]:
        yield self.now

    async def submit(self, records: Sequence[Record], stamp: int) -> list[tuple[int, int, Exception]]:
        assert stamp == self.now
        if self.fail is not None:
            return [(0, len(records), self.fail)]
        self.records += records
        return []


@pytest.fixture
def commit() -> Commit:
    return Commit()


@pytest.fixture
def ingest(commit: Commit) -> Ingest:
    return Ingest(anything(commit))


async def sent(ingest: Ingest, *items: bytes, tenant: Tenant = KEEPING) -> list[ItemResult]:
    return await ingest.many(SCOPE, tenant, Bulk(b"\n".join(items), BulkForm.LINES))


async def kept(ingest: Ingest, commit: Commit, item: bytes) -> Quarantined:
    commit.records.clear()
    [result] = await sent(ingest, item)
    assert result.status == "quarantined", result
    [record] = commit.records
    found = kept_in(record)
    assert found is not None
    assert (record.tenant_id, record.placement, found.id) == (TENANT, PLACEMENT, result.id)
    assert (found.size, found.sha256) == (len(item), hashlib.sha256(item).hexdigest())
    return Quarantined(TENANT, found)


FAULTS: dict[str, bytes] = {
    "unknown field": b'{"action":"a","usr":"ana"}',
    "no action": b'{"user_id":"ana"}',
    "wrong type": b'{"action":"a","tags":"x","metadata":{"n":1e400,"m":123456789012345678901234567890}}',
    "bad time": b'{"action":"a","timestamp":"yesterday"}',
    "bad address": b'{"action":"a","ip_address":"x"}',
    "no object": b'{"action":"a","metadata":[1]}',
}


@pytest.mark.parametrize("item", FAULTS.values(), ids=FAULTS)
async def test_an_event_at_fault_is_kept_token_for_token_where_its_tenant_has_chosen_so(
    ingest: Ingest, commit: Commit, item: bytes
) -> None:
    [refused] = await sent(ingest, item, tenant=REFUSING)
    assert (refused.status, commit.records) == ("refused", [])
    found = await kept(ingest, commit, item)
    assert (found.kept.form, found.kept.body) == (Form.EVENT, item)
    assert refused.error is not None
    assert (found.kept.code, found.kept.at) == (refused.error.code, AT)
    assert found.kept.fields == [".".join(map(str, error["loc"])) for error in refused.error.errors]
    lone = await ingest.refused(KEEPING, item, None, InvalidEvent("x", code="some_code"))
    assert (lone.status, lone.error and lone.error.code) == ("quarantined", "some_code")
    with pytest.raises(InvalidEvent):
        await ingest.refused(REFUSING, item, None, InvalidEvent("x"))


async def test_the_others_of_a_bulk_are_taken_as_they_were(ingest: Ingest, commit: Commit) -> None:
    results = await sent(ingest, b'{"action":"a"}', b'{"action":"b","x":1}', b"nonsense", b'{"action":"c"}')
    assert [result.status for result in results] == ["accepted", "quarantined", "quarantined", "accepted"]
    assert [record.placement == PLACEMENT for record in commit.records] == [False, False, True, True]
    commit.fail = Unavailable("queue")
    results = await sent(ingest, b'{"action":"a"}', b'{"action":"b","x":1}')
    assert [result.status for result in results] == ["retry", "retry"]
    with pytest.raises(Unavailable):
        await ingest.refused(KEEPING, b"{}", None, InvalidEvent("x"))


SMUGGLED = [
    b'{"action":"ocelot.read"}',
    b'{"action":"OCELOT.read","x":1}',
    b'{"action":"x","action":"Ocelot.read","x":1}',
    b'{"action":"ocelot.\\u0072ead","metadata":[1]}',
    b'{"\\u0061ction":"ocel\\u006ft.read","y":1}',
    b'{"action":"Ocelot.' + b"y" * 20_000 + b'"}',
    b'{"action":"ocelot.x","metadata":{"x":"' + b"y" * 300_000 + b'"}}',
]


@pytest.mark.parametrize("item", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_an_action_of_the_service_is_never_kept(ingest: Ingest, commit: Commit, item: bytes) -> None:
    [result] = await sent(ingest, item)
    assert (result.status, commit.records) == ("refused", [])


async def test_no_mapping_makes_an_action_of_the_service(ingest: Ingest, commit: Commit) -> None:
    item = await kept(ingest, commit, b'{"action":"a","usr":"Ocelot.read"}')
    commit.records.clear()
    moved = [{"op": "move", "path": "/usr", "to": "/action"}]
    set_ = [{"op": "drop", "path": "/usr"}, {"op": "set", "path": "/action", "value": "ocelot.read"}]
    for mapping in (moved, set_):
        body = await ingest.replays.fixed(KEEPING, item, operations_of(mapping))
        fixed = Quarantined(TENANT, item.kept, body)
        [error] = await ingest.replays.replay(SCOPE, KEEPING, [fixed])
        assert isinstance(error, InvalidEvent)
        assert error.errors[0].type == "reserved_action"
    assert commit.records == []


def planted() -> dict[str, bytes]:
    """Events at fault, each with a secret that must not be kept."""
    json_in_text = json.dumps(json.dumps({"password": SECRET})).encode()
    cases = {
        "top": b'{"action":"a","password":"%s"}',
        "typed": b'{"action":"a","api_key":{"x":["%s"]}}',
        "escaped key": b'{"action":"a","p\\u0061ssword":"%s"}',
        "twice": b'{"action":"a","password":"%s","password":"x","n":1}',
        "spread": b'{"action" : "a" ,\t"password"\r:\t"%s" , "x":1}',
        "header pair": b'{"action":"a","x":[{"name":"password","value":"%s"}]}',
        "json in text": b'{"action":"a","x":' + json_in_text.replace(SECRET.encode(), b"%s") + b"}",
        "array": b'[{"password":"%s"}]',
        "text": b'"password=%s"',
        "cut off": b'{"action":"a","password":"%s',
        "no colon": b'{"action":"a","password" "%s"}',
        "single quotes": b"{'password': '%s'}",
        "no utf-8": b'{"action":"a\xff","password":"%s"}',
        "surrogate": b'{"action":"\\ud800","password":"%s"}',
        "bad escape": b'{"action":"a","x":{"y":"\\q","password":"%s"}}',
        "large": b'{"action":"a","password":"%s","metadata":{"x":"' + b"y" * 300_000 + b'"}}',
        "deep": b'{"action":"a","token":"%s","metadata":' + b'{"x":' * 70 + b"1" + b"}" * 71,
        "large and bad": b'{"action":"a","x":"\\q","password":"%s","metadata":{"x":"' + b"y" * 300_000 + b'"}}',
        "key": b'{"action":"a","x":1,"idempotency_key":"%s"}',
        "enum": b'{"action":"a","severity":"password=%s"}',
        "plain words": b"%s",
    }
    return {name: case.replace(b"%s", SECRET.encode()) for name, case in cases.items()}


@pytest.mark.parametrize("item", planted().values(), ids=planted())
async def test_no_secret_is_kept(ingest: Ingest, commit: Commit, item: bytes) -> None:
    assert SECRET.encode() in item
    found = (await kept(ingest, commit, item)).kept
    if found.form is not Form.OUTLINE:  # what is kept can be read by every parser
        json.dumps(json.loads(found.body), ensure_ascii=False).encode()
    assert not [record for record in commit.records if SECRET.encode() in record.body or b"hunter2" in record.body]


@given(st.binary(max_size=300).map(lambda noise: b'{"password":"hunter2-Zq",' + noise))
def test_whatever_is_sent_no_secret_is_kept(item: bytes) -> None:
    async def check() -> None:
        commit = Commit()
        await sent(Ingest(anything(commit)), item.replace(b"\n", b" "))
        assert not [record for record in commit.records if b"hunter2" in record.body]

    asyncio.run(check())


async def test_of_a_large_event_the_small_members_and_the_hash_are_kept(ingest: Ingest, commit: Commit) -> None:
    item = json.dumps({"action": "a", "user_id": "u", "message": "m" * 300_000, "metadata": {"x": 1}}).encode()
    found = (await kept(ingest, commit, item)).kept
    assert (found.form, found.code, found.cut) == (Form.HEAD, "event_too_large", ["message"])
    assert json.loads(found.body) == {"action": "a", "user_id": "u", "metadata": {"x": 1}}
    [error] = await ingest.replays.replay(SCOPE, KEEPING, [Quarantined(TENANT, found)])
    assert isinstance(error, Conflict)
    assert error.code == "not_whole"
    with pytest.raises(Conflict):
        await ingest.replays.fixed(KEEPING, Quarantined(TENANT, found), [])


async def test_of_what_is_no_event_an_outline_is_kept(ingest: Ingest, commit: Commit) -> None:
    found = (await kept(ingest, commit, b'{"action":"login of ana", "user_id":"ana",, "n": 4111}')).kept
    assert (found.form, found.code) == (Form.OUTLINE, "malformed_json")
    assert found.body == b'{"action":"* * *", "user_id":"*",, "*": *}'


async def test_a_retry_with_its_key_is_the_same_item(ingest: Ingest, commit: Commit) -> None:
    item = b'{"action":"a","x":1,"idempotency_key":"k1"}'
    first, again = await kept(ingest, commit, item), await kept(ingest, commit, item)
    other = await kept(ingest, commit, item.replace(b"1,", b"2,"))
    assert first.kept.id == again.kept.id != other.kept.id
    assert first.kept.event_id == other.kept.event_id == uuid8_of_key(KEEPING.secret, "k1")
    by_header = await ingest.refused(KEEPING, b'{"x":1}', "k1", InvalidEvent("x"))
    assert by_header.status == "quarantined"
    found = kept_in(commit.records[-1])
    assert found is not None
    assert found.event_id == first.kept.event_id
    without = [await kept(ingest, commit, b'{"x":1}') for _ in range(2)]
    assert without[0].kept.id != without[1].kept.id
    assert without[0].kept.event_id is None


async def test_an_item_that_is_put_right_is_stored_as_its_event_would_be(ingest: Ingest, commit: Commit) -> None:
    item = await kept(ingest, commit, b'{"action":"a","usr":"ana","metadata":{"n":1e400},"idempotency_key":"k1"}')
    [fault] = await ingest.replays.faults(SCOPE, [item])
    assert fault is not None
    body = await ingest.replays.fixed(KEEPING, item, operations_of([{"op": "rename", "path": "/usr", "to": "user_id"}]))
    fixed = Quarantined(TENANT, item.kept, body)
    assert await ingest.replays.faults(SCOPE, [fixed]) == [None]
    commit.records.clear()
    commit.now = AT + 60_000_000
    assert await ingest.replays.replay(SCOPE, KEEPING, [fixed]) == [None]
    commit.now += 60_000_000
    assert await ingest.replays.replay(SCOPE, KEEPING, [fixed]) == [None]
    # A sender who corrects the event himself sends the same.
    await ingest.one(SCOPE, KEEPING, b'{"action":"a","user_id":"ana","metadata":{"n":1e400}}', "k1")
    replayed, again, own = commit.records
    assert replayed.content == again.content == own.content
    events = [decode_stored(record.body) for record in commit.records]
    assert {event.id for event in events} == {uuid8_of_key(KEEPING.secret, "k1")}
    assert (events[0].user_id, events[0].timestamp) == ("ana", instant.to_text(AT))
    assert events[0].received_at == instant.to_text(AT + 60_000_000)
    assert b'"metadata":{"n":1e400}' in replayed.body


async def test_an_item_without_a_key_has_one_of_its_own(ingest: Ingest, commit: Commit) -> None:
    items = [await kept(ingest, commit, b'{"action":"a","timestamp":"2026-01-01T00:00:00Z","x":1}') for _ in range(2)]
    drop = [Operation("drop", ("x",))]
    fixed = [Quarantined(TENANT, i.kept, await ingest.replays.fixed(KEEPING, i, drop)) for i in items]
    commit.records.clear()
    for _ in range(2):
        assert await ingest.replays.replay(SCOPE, KEEPING, [*fixed, items[0]])
    events = [decode_stored(record.body) for record in commit.records]
    assert len(events) == 4
    assert events[0].id == events[2].id != events[1].id == events[3].id
    assert {event.timestamp for event in events} == {"2026-01-01T00:00:00.000000Z"}
    commit.fail = Unavailable("queue")
    [good, bad] = await ingest.replays.replay(SCOPE, KEEPING, [fixed[0], items[1]])
    assert isinstance(good, Unavailable)
    assert isinstance(bad, InvalidEvent)


async def test_what_a_mapping_makes_a_secret_is_masked(ingest: Ingest, commit: Commit) -> None:
    item = await kept(ingest, commit, b'{"action":"a","hint":"%s"}' % SECRET.encode())
    renamed = [{"op": "rename", "path": "/hint", "to": "password"}]
    moved = [{"op": "move", "path": "/hint", "to": "/metadata/db/password"}]
    set_ = [{"op": "drop", "path": "/hint"}, {"op": "set", "path": "/metadata", "value": {"token": SECRET}}]
    for mapping in (renamed, moved, set_):
        assert SECRET.encode() not in await ingest.replays.fixed(KEEPING, item, operations_of(mapping))


EVENT = b'{"a":1,"b":{"c":1e400,"d.e":{"f":[1]}},"g":"x"}'
MAPPED = {
    "rename": ([{"op": "rename", "path": "/g", "to": "h"}], b'{"a":1,"b":{"c":1e400,"d.e":{"f":[1]}},"h":"x"}'),
    "over another": ([{"op": "rename", "path": "/g", "to": "a"}], b'{"b":{"c":1e400,"d.e":{"f":[1]}},"a":"x"}'),
    "same": ([{"op": "rename", "path": "/g", "to": "g"}], EVENT),
    "nested": ([{"op": "rename", "path": "/b/d.e", "to": "d"}], b'{"a":1,"b":{"c":1e400,"d":{"f":[1]}},"g":"x"}'),
    "move": ([{"op": "move", "path": "/b/c", "to": "/m/n"}], b'{"a":1,"b":{"d.e":{"f":[1]}},"g":"x","m":{"n":1e400}}'),
    "drop": ([{"op": "drop", "path": "/b"}], b'{"a":1,"g":"x"}'),
    "set": ([{"op": "set", "path": "/b/d.e/z", "value": [None]}],
            b'{"a":1,"b":{"c":1e400,"d.e":{"f":[1],"z":[null]}},"g":"x"}'),
    "not there": ([{"op": "drop", "path": "/x"}, {"op": "move", "path": "/b/x/y", "to": "/z"},
                   {"op": "rename", "path": "/a/x", "to": "y"}], EVENT),
    "pointer": ([{"op": "set", "path": "/x~1y~0", "value": 1}],
                b'{"a":1,"b":{"c":1e400,"d.e":{"f":[1]}},"g":"x","x/y~":1}'),
}  # fmt: skip


@pytest.mark.parametrize(("mapping", "expected"), MAPPED.values(), ids=MAPPED)
def test_a_mapping_changes_what_it_names_and_no_other_token(mapping: list[dict[str, Any]], expected: bytes) -> None:
    assert applied(EVENT, operations_of(mapping)) == expected


@pytest.mark.parametrize(
    "mapping",
    [{"op": "drop", "path": "a"}, {"op": "drop", "path": "/"}, {"op": "rename", "path": "/a"},
     {"op": "move", "path": "/a", "to": "b"}, {"op": "set", "path": "/x" * 17, "value": 1}],
    ids=str,
)  # fmt: skip
def test_a_bad_mapping_is_refused(mapping: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        operations_of([mapping])


def test_a_mapping_goes_through_objects_alone() -> None:
    with pytest.raises(Invalid):
        applied(EVENT, operations_of([{"op": "set", "path": "/a/x", "value": 1}]))


def test_a_draft_of_an_ordinary_event_is_the_event() -> None:
    assert draft_of(b'{"action":"a"}').line == b'{"action":"a"}'
    with pytest.raises(Reserved):
        draft_of(b'{"action":"ocelot."}')


def test_an_item_goes_through_the_queue_whole() -> None:
    import msgspec

    item = Kept(id="i", at=1, code="c", fields=[], form=Form.HEAD, body=b"{}", size=1, sha256="x")
    assert kept_in(Record(TENANT, PLACEMENT, msgspec.msgpack.encode(item))) == item
    assert kept_in(Record(TENANT, "202611", msgspec.msgpack.encode(item))) is None
    assert kept_in(Record(TENANT, PLACEMENT, b"\xc1")) is None
