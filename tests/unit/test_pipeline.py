"""The consumer's pipeline on ports in memory: what becomes of each event, whatever fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from consumer.jobs.outbox import OutboxDrain
from consumer.pipeline import Delivery, Pipeline
from consumer.reach import RETRY_AFTER
from core import instant, telemetry
from core.envelope import Record
from core.errors import Blocked, Unavailable, UndecodableEnvelope
from core.ports import OutboxEntry, Person, Tally, Tombstone
from core.ports.accounts import SECOND
from core.ports.quarantine import PLACEMENT, Form, Kept, Quarantined
from core.tombstones import TombstoneSource
from tests.unit.ports import (
    AT,
    TENANT,
    Accounts,
    Graves,
    Index,
    Ledger,
    Outbox,
    Parking,
    Quarantine,
    Store,
    anything,
    envelope,
    record,
)

OTHER = "bbbbbbbb"

X1, X2, X3 = (f"00000000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))


class World:
    """A pipeline and all that it stands on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store, self.index, self.parking, self.quarantine = Store(), Index(), Parking(), Quarantine()
        self.outbox, self.ledger, self.accounts, self.graves = Outbox(), Ledger(), Accounts(), Graves()
        self.pipeline = Pipeline(
            store=anything(self.store), index=anything(self.index), parking=anything(self.parking),
            quarantine=anything(self.quarantine),
            outbox=anything(self.outbox), ledger=anything(self.ledger), accounts=anything(self.accounts),
            tombstones=TombstoneSource(anything(self.graves), lambda: self.now), index_patience=60.0,
            clock=lambda: self.now,
        )  # fmt: skip

    async def take(self, *bodies: bytes) -> list[Exception | None]:
        return await self.pipeline.process([Delivery(body, 1) for body in bodies])

    def parked(self) -> list[str]:
        return sorted(item.reason for item in self.parking.items.values())


@pytest.fixture
def world() -> World:
    return World()


def id_of(each: Record) -> str:
    return str(json.loads(each.body)["id"])


async def test_an_envelope_is_stored_indexed_and_receipted(world: World) -> None:
    records = [record(1), record(2), record(3, tenant_id="bbbbbbbb")]
    assert await world.take(envelope(1, *records)) == [None]
    assert {row.body for row in world.store.rows.values()} == {each.body for each in records}
    assert set(world.index.documents.values()) == {each.body for each in records}
    assert [receipt.sequence for receipt in world.ledger.receipts] == [1]
    assert world.ledger.receipts[0].events == {TENANT: 2, "bbbbbbbb": 1}


async def test_what_comes_again_changes_nothing(world: World) -> None:
    message = envelope(1, record(1), record(2))
    await world.take(message)
    before = dict(world.store.rows), dict(world.index.documents)
    assert await world.take(message, message) == [None, None]
    assert (world.store.rows, world.index.documents) == before
    assert world.parked() == []


async def test_a_retry_by_key_is_indexed_as_it_was_stored_first(world: World) -> None:
    first, again = record(1, content=b"c", event_id=X1), record(2, content=b"c", event_id=X1)
    world.index.fail = Unavailable("index")
    assert await world.take(envelope(1, first)) == [world.index.fail]
    world.index.fail = None
    assert await world.take(envelope(2, again)) == [None]
    assert world.index.documents[X1] == first.body


async def test_a_conflict_goes_into_the_quarantine_and_the_first_stays(world: World) -> None:
    first, other = record(1, content=b"c1", event_id=X1), record(2, content=b"c2", event_id=X1)
    message = envelope(2, other, record(3))
    assert await world.take(envelope(1, first), message) == [None, None]
    [item] = world.quarantine.items.values()
    assert (item.tenant_id, item.kept.code, item.kept.conflicts_with) == (TENANT, "conflict", X1)
    # As it would be sent again: without what the service has stamped it with.
    assert json.loads(item.kept.body) == {
        "timestamp": instant.to_text(AT + 2), "action": "a2", "severity": "INFO",
    }  # fmt: skip
    assert world.store.rows[X1].body == first.body
    assert (len(world.store.rows), world.parked()) == (2, [])
    await world.take(message)
    assert len(world.quarantine.items) == 1
    assert world.accounts.sum() == Tally(3, quarantined=1)


async def test_what_was_taken_into_the_quarantine_is_there_before_its_receipt(world: World) -> None:
    kept = Kept(id=X2, at=AT, code="invalid_event", fields=["x"], form=Form.EVENT, body=b"{}", size=2, sha256="0" * 64)
    message = envelope(1, Record(TENANT, PLACEMENT, msgspec.msgpack.encode(kept)), record(1))
    world.quarantine.fail = Unavailable("store")
    with pytest.raises(Unavailable):
        await world.take(message)
    assert world.ledger.receipts == []
    world.quarantine.fail = None
    await world.take(message)
    await world.take(message)
    assert [*world.quarantine.items.values()] == [Quarantined(TENANT, kept)]
    assert (len(world.store.rows), world.parked(), world.accounts.sum()) == (1, [], Tally(2, quarantined=1))
    await world.take(envelope(2, Record(TENANT, PLACEMENT, b"no item")))
    assert world.parked() == ["undecodable_event"]


async def test_only_the_event_at_fault_is_parked(world: World) -> None:
    no_event = Record(TENANT, "202605", b'{"action":"x"}')
    unstorable, unindexable, good = record(1), record(2), record(3)
    world.store.refuses.add(id_of(unstorable))
    world.index.refuses.add(id_of(unindexable))
    message = envelope(1, no_event, unstorable, unindexable, good)
    assert await world.take(message) == [None]
    assert world.parked() == ["not_indexable", "not_storable", "undecodable_event"]
    assert id_of(good) in world.index.documents
    assert id_of(unindexable) in world.store.rows
    await world.take(message)
    assert len(world.parking.items) == 3
    assert {item.body for item in world.parking.items.values()} == {no_event.body, unstorable.body, unindexable.body}


async def test_what_is_no_envelope_fails_alone(world: World) -> None:
    results = await world.take(b"nonsense", envelope(1, record(1)), envelope(2, record(2))[:-5])
    assert [type(result) for result in results] == [UndecodableEnvelope, type(None), UndecodableEnvelope]
    assert len(world.store.rows) == 1
    assert [receipt.sequence for receipt in world.ledger.receipts] == [1]


async def test_nothing_is_receipted_before_it_is_parked(world: World) -> None:
    world.parking.fail = Unavailable("store")
    world.store.refuses.add(X1)
    with pytest.raises(Unavailable):
        await world.take(envelope(1, record(1, event_id=X1)))
    assert world.ledger.receipts == []


async def test_an_index_that_stays_down_is_waited_for_then_left_to_the_outbox(world: World) -> None:
    world.index.fail = Unavailable("index")
    for moment in (0.0, 30.0, 59.9):
        world.now = moment
        assert await world.take(envelope(1, record(1, event_id=X1))) == [world.index.fail]
    assert (world.outbox.entries, world.ledger.receipts) == ({}, [])
    world.now = 60.0
    assert await world.take(envelope(1, record(1, event_id=X1))) == [None]
    assert await world.take(envelope(2, record(2, event_id=X2))) == [None]
    assert await world.take(envelope(3, record(3, tenant_id=OTHER, event_id=X3))) == [None]
    assert set(world.outbox.entries) == {X1, X2, X3}
    assert set(world.store.rows) == {X1, X2, X3}
    assert world.parked() == []
    assert world.index.calls == 4  # not asked again for every message


async def test_what_is_given_up_is_tried_again_by_one_batch(world: World) -> None:
    world.index.fail = Unavailable("index")
    await world.take(envelope(1, record(1)))
    world.now = 60.0
    await world.take(envelope(1, record(1)))
    world.now = 60.0 + RETRY_AFTER
    assert world.index.calls == 2
    await asyncio.gather(*(world.take(envelope(n, record(n))) for n in range(2, 6)))
    assert world.index.calls == 3
    world.now += RETRY_AFTER
    world.index.fail = None
    await world.take(envelope(6, record(6)))
    await world.take(envelope(7, record(7)))
    assert len(world.index.documents) == 2


async def test_a_blocked_index_sends_its_own_tenants_events_alone_to_the_outbox(world: World) -> None:
    world.index.fails_for[TENANT] = Blocked("index")
    for n in (1, 3, 5):
        mixed = envelope(n, record(n), record(n + 1, tenant_id=OTHER))
        assert await world.take(mixed) == [None]
    assert {entry.tenant_id for entry in world.outbox.entries.values()} == {TENANT}
    assert (len(world.outbox.entries), len(world.index.documents), len(world.store.rows)) == (3, 3, 6)
    assert world.parked() == []
    assert [receipt.sequence for receipt in world.ledger.receipts] == [1, 3, 5]
    assert world.index.calls == 4  # the blocked one once, not with every batch


async def test_one_tenants_silent_index_takes_back_its_own_messages_alone(world: World) -> None:
    """And leaves them to the outbox in the end, though the index answers for others all the time."""
    world.index.fails_for[TENANT] = error = Unavailable("index")
    mine, other = envelope(1, record(1)), envelope(2, record(2, tenant_id=OTHER))
    assert await world.take(mine, other, b"nonsense", mine) == [error, None, ANY, error]
    assert [receipt.sequence for receipt in world.ledger.receipts] == [2]
    world.now = 60.0
    assert await world.take(other, mine) == [None, None]
    assert [entry.tenant_id for entry in world.outbox.entries.values()] == [TENANT]


def drain_of(world: World) -> OutboxDrain:
    return OutboxDrain(
        anything(world.outbox), anything(world.store), anything(world.index), world.pipeline.reach.answers,
        clock=lambda: world.now,
    )  # fmt: skip


async def test_the_outbox_drains_and_opens_the_index_again(world: World) -> None:
    world.index.fail = Unavailable("index")
    await world.take(envelope(1, record(1)))
    world.now = 100.0
    await world.take(envelope(1, record(1, event_id=X1)), envelope(2, record(2, event_id=X2)))
    drain = drain_of(world)
    with pytest.raises(Unavailable):
        await drain.run()
    assert set(world.outbox.entries) == {X1, X2}
    world.index.fail = None
    world.index.refuses.add(X2)
    assert await drain.run() == 0  # it rests
    world.now = 102.0
    assert await drain.run() == 2
    assert world.outbox.entries == {}
    assert list(world.index.documents) == [X1]
    await world.take(envelope(3, record(3, event_id=X3)))
    assert X3 in world.index.documents


async def test_a_blocked_tenant_holds_up_no_other_in_the_outbox(world: World) -> None:
    """Though its entries are the oldest, and more than a batch."""
    world.index.fails_for = {TENANT: Blocked("index"), OTHER: Blocked("index")}
    await world.take(*(envelope(n, record(n)) for n in range(600)))
    await world.take(envelope(700, record(700, tenant_id=OTHER)))
    drain = drain_of(world)
    assert await drain.run() == 0
    del world.index.fails_for[OTHER]
    world.now += 60
    assert await drain.run() == 1
    assert len(world.index.documents) == 1
    assert len(world.outbox.entries) == 600
    assert telemetry.REGISTRY.get_sample_value("ocelot_index_blocked_placements") == 1
    world.index.fails_for.clear()
    world.now += 60
    assert await drain.run() == 600
    assert world.outbox.entries == {}
    assert telemetry.REGISTRY.get_sample_value("ocelot_index_blocked_placements") == 0


async def test_a_blocked_placement_holds_up_no_other_of_its_tenant(world: World) -> None:
    later = [OutboxEntry(f"x{n}", TENANT, "202606", AT + n) for n in range(3)]
    await world.take(envelope(1, record(1, event_id=X1)))
    world.index.documents.clear()
    drain = drain_of(world)
    world.index.fails_for[TENANT] = Blocked("index")
    await world.outbox.add([OutboxEntry(X1, TENANT, "202605", AT)])
    await drain.run()
    del world.index.fails_for[TENANT]
    await world.outbox.add(later)  # of events that retention has removed meanwhile
    assert await drain.run() == 3
    assert set(world.outbox.entries) == {X1}


async def test_a_dead_index_is_not_asked_for_each_tenant(world: World) -> None:
    names = [f"tenant{n:02}" for n in range(20)]
    await world.take(*(envelope(n, record(n, tenant_id=name)) for n, name in enumerate(names)))
    held = [OutboxEntry(row.id, row.tenant_id, row.placement, row.received_at) for row in world.store.rows.values()]
    await world.outbox.add(held)
    world.index.documents.clear()
    world.index.calls, world.index.fail = 0, Unavailable("index")
    drain = drain_of(world)
    with pytest.raises(Unavailable):
        await drain.run()
    assert world.index.calls == 2
    with pytest.raises(Unavailable):
        await drain.run()
    assert world.index.calls == 4  # two others
    world.index.fail = None
    world.now += 60
    assert await drain.run() == 20


async def test_the_books_say_what_became_of_each_event(world: World) -> None:
    first, again = record(1, content=b"c", event_id=X1), record(2, content=b"c", event_id=X1)
    conflict, unstorable = record(3, content=b"other", event_id=X1), record(4)
    world.store.refuses.add(id_of(unstorable))
    await world.take(envelope(1, first, record(5, tenant_id=OTHER)))
    assert world.accounts.sum() == world.accounts.sum(OTHER) == Tally(1)
    no_event = Record(TENANT, "202605", b'{"action":"x"}')
    await world.take(envelope(2, again, conflict, unstorable, no_event, record(6), record(60_000_007)))
    assert world.accounts.sum() == Tally(7, duplicates=1, parked=2, quarantined=1)
    assert world.accounts.sum().due == len([row for row in world.store.rows.values() if row.tenant_id == TENANT])
    seconds = {second for source, _, second in world.accounts.kept if source == "p-2"}
    assert seconds == {AT // SECOND * SECOND, AT // SECOND * SECOND + 60 * SECOND}


async def test_each_event_is_in_the_books_at_the_second_of_its_acceptance(world: World) -> None:
    await world.take(envelope(1, record(5), record(900_000), record(1_000_005), record(7, tenant_id=OTHER)))
    seconds = {(tenant, second): each.tally for (_, tenant, second), each in world.accounts.kept.items()}
    first = AT // SECOND * SECOND
    assert seconds == {(TENANT, first): Tally(2), (TENANT, first + SECOND): Tally(1), (OTHER, first): Tally(1)}


async def test_what_comes_again_is_in_the_books_once_and_no_retry(world: World) -> None:
    """Also when the store has it and the books have not: the consumer was killed in between."""
    world.ledger.fail = world.accounts.fail = Unavailable("store")
    message = envelope(1, record(1), record(2, content=b"c", event_id=X1), record(3, content=b"c", event_id=X1))
    with pytest.raises(Unavailable):
        await world.take(message)
    assert len(world.store.rows) == 2
    world.ledger.fail = world.accounts.fail = None
    await world.take(message)
    await world.take(message)
    assert world.accounts.sum() == Tally(3, duplicates=1)


async def test_nothing_is_receipted_before_it_is_in_the_books(world: World) -> None:
    world.accounts.fail = Unavailable("store")
    with pytest.raises(Unavailable):
        await world.take(envelope(1, record(1)))
    assert world.ledger.receipts == []
    world.accounts.fail, world.index.fail = None, Unavailable("index")
    await world.take(envelope(1, record(1, event_id=X1)))
    assert world.accounts.kept == {}  # it comes again


def by(user_id: str, n: int, tenant_id: str = TENANT) -> Record:
    made = record(n, tenant_id=tenant_id)
    return Record(made.tenant_id, made.placement, made.body[:-1] + f',"user_id":"{user_id}"}}'.encode(), None)


async def test_what_is_of_a_deleted_tenant_is_dropped_and_its_receipt_tells_of_the_others_alone(world: World) -> None:
    await world.graves.put(Tombstone(TENANT, TENANT, "j", "op", AT, standing_since=AT))
    kept = record(2, tenant_id=OTHER)
    broken = Record(TENANT, "202605", b"{not an event")
    before = telemetry.REGISTRY.get_sample_value("ocelot_consumed_total", {"outcome": "erased"}) or 0
    assert await world.take(envelope(1, record(1), kept, broken), envelope(2, record(3))) == [None, None]
    assert [row.body for row in world.store.rows.values()] == [kept.body]
    assert [*world.index.documents.values()] == [kept.body]
    assert world.parked() == []
    assert [receipt.events for receipt in world.ledger.receipts] == [{OTHER: 1}, {}]
    assert telemetry.REGISTRY.get_sample_value("ocelot_consumed_total", {"outcome": "erased"}) == before + 3


async def test_what_an_erased_person_did_before_is_dropped_and_nothing_else(world: World) -> None:
    person = Person.of("ana", AT + 10)
    await world.graves.put(Tombstone("j1", TENANT, "j1", "op", AT, person, standing_since=AT))
    await world.graves.put(Tombstone("j2", TENANT, "j2", "op", AT, Person.of("eve", AT + 5), standing_since=AT))
    sent = [by("ana", 9), by("ana", 10), by("ben", 1), by("ana", 1, OTHER), record(1), by("eve", 5), by("eve", 4)]
    await world.take(envelope(1, *sent))
    assert {row.body for row in world.store.rows.values()} == {each.body for each in sent[1:6]}
    assert [receipt.events for receipt in world.ledger.receipts] == [{TENANT: 4, OTHER: 1}]


@pytest.mark.parametrize("after", ["reading", "storing"])
async def test_what_stood_still_brings_nothing_back(world: World, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had read the tombstones, and one came while its process did not run; it goes on as if no time had passed."""
    of = (world.pipeline, "_decode") if after == "reading" else (world.store, "insert")
    right = getattr(*of)

    grave = Tombstone(TENANT, TENANT, "j", "op", AT, standing_since=AT)

    def still() -> None:
        world.now += 3600
        world.graves.all[grave.id] = grave

    async def insert(*arguments: object) -> object:
        outcomes = await right(*arguments)
        still()
        return outcomes

    def decode(*arguments: object) -> None:
        right(*arguments)
        still()

    monkeypatch.setattr(*of, decode if after == "reading" else insert)
    conflict = record(2, content=b"other", event_id=X1)
    with pytest.raises(Unavailable):
        await world.take(envelope(1, record(1, content=b"c", event_id=X1), conflict))
    assert len(world.store.rows) == (after == "storing")
    assert (world.index.documents, world.quarantine.items, world.parked(), world.ledger.receipts) == ({}, {}, [], [])
    monkeypatch.undo()
    # What stored it was in time, or the deletion sees it; nothing more of it comes.
    assert await world.take(envelope(1, record(1, content=b"c", event_id=X1), conflict)) == [None]
    assert (world.index.documents, world.quarantine.items) == ({}, {})


async def test_a_batch_that_takes_long_while_nothing_is_erased_is_not_begun_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a slow store or index would have it come back for ever."""
    right = world.store.insert

    async def insert(*arguments: Any) -> Any:
        world.now += 25
        return await right(*arguments)

    monkeypatch.setattr(world.store, "insert", insert)
    assert await world.take(envelope(1, record(1), record(2, tenant_id=OTHER))) == [None]
    assert len(world.index.documents) == 2
    assert len(world.ledger.receipts) == 1


async def test_a_tombstone_holds_for_every_batch_two_seconds_later(world: World) -> None:
    await world.take(envelope(1, record(1)))
    await world.graves.put(Tombstone(TENANT, TENANT, "j", "op", AT, standing_since=AT))
    world.now += 1.9
    await world.take(envelope(2, record(2)))
    assert world.graves.asked == [0], "read for each batch"
    world.now += 0.1
    await world.take(envelope(3, record(3)))
    assert len(world.store.rows) == 2
    # A store that does not say what is deleted is not asked to take events either.
    world.now += 2
    world.graves.fail = Unavailable("store")
    with pytest.raises(Unavailable):
        await world.take(envelope(4, record(4)))
    world.graves.fail = None
    await world.take(envelope(4, record(4)))
    assert len(world.store.rows) == 2
    # Those that are there are asked for once in a while alone, and then one that went is forgotten.
    assert world.graves.asked[1:] == [0, AT - 60_000_000]
    await world.graves.remove(TENANT)
    world.now += 599
    await world.take(envelope(5, record(5)))
    assert len(world.store.rows) == 3
