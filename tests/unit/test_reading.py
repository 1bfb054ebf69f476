"""Queries, cursors and search: what is written is what is asked, and a cursor cannot be made or changed."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import cursor, instant
from core.access import Permission, Role, permissions_of
from core.cursor import open_, seal
from core.errors import InvalidQuery, Overloaded, Unauthenticated, Unavailable, UnboundedQuery
from core.event import KEYWORD_FIELDS
from core.placement import Period, Placement, place
from core.query import Match, Page, Position, parse
from core.rows import row_of
from core.search import LOOKS_AT_ONCE, LOOKS_OF_A_TENANT, Search
from core.tenant import Claims, Tenant, TenantScope, for_system, from_token
from tests.unit.ports import AT, TENANT, Index, Ledger, Store, anything, record

NOW = 1_780_000_000_000_000
TENANTS = [Tenant(name, name, secret * 32, 0) for name, secret in ((TENANT, b"s"), ("bbbbbbbb", b"t"))]
positions = st.builds(Position, st.integers(0, 2**62), st.uuids().map(str))


def page(*parameters: tuple[str, str], cursor: str | None = None) -> Page:
    return parse([*parameters, *([("cursor", cursor)] if cursor else [])], NOW)


# Queries -------------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """A value written so that it means itself."""
    if text.endswith("*"):
        text = text[:-1] + "\\*"
    return "\\" + text if text.startswith("!") else text


plain = st.text(min_size=1, max_size=20).filter(lambda text: not re.match(r"\\!", text) and not text.endswith("\\*"))


@given(st.lists(st.tuples(st.sampled_from(KEYWORD_FIELDS), plain, st.booleans()), min_size=1, max_size=6))
def test_what_is_written_is_what_is_asked(wanted: list[tuple[str, str, bool]]) -> None:
    written = [(name, ("!" if negated else "") + escaped(text)) for name, text, negated in wanted]
    query = parse(parse_qsl(urlencode(written), keep_blank_values=True), NOW).query
    asked = {(c.field, v.text, c.negated) for c in query.conditions for v in c.values}
    assert asked == set(wanted)
    assert all(value.match is Match.EQUAL for condition in query.conditions for value in condition.values)


@given(plain)
def test_both_spellings_of_not_are_one_and_two_of_them_none(text: str) -> None:
    value = escaped(text)
    assert page(("user_id!", value)).query == page(("user_id", "!" + value)).query
    assert page(("user_id!", "!" + value)).query == page(("user_id", value)).query


@given(st.sampled_from("smhdw"), st.integers(0, 10**9 - 1))
def test_a_relative_time_is_before_now_and_never_before_1970(unit: str, count: int) -> None:
    start = page(("from", f"-{count}{unit}")).query.timestamp.start
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert start == max(0, NOW - count * seconds * 1_000_000)


@given(st.lists(st.tuples(st.sampled_from(["user_id", "action", "q"]), st.sampled_from(["a", "b"])), max_size=3))
def test_the_fingerprint_is_the_querys_own_whatever_the_order_and_page(parameters: list[tuple[str, str]]) -> None:
    if sum(name == "q" for name, _ in parameters) > 1:
        return
    made = page(*parameters).fingerprint
    assert page(*reversed(parameters), ("limit", "7"), cursor="x").fingerprint == made
    assert page(*parameters, ("sort", "timestamp")).fingerprint != made


# Cursors -------------------------------------------------------------------------------------------------------------


@given(positions, st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_cursor_keeps_the_moment_of_its_first_page(position: Position, now: int, later: int) -> None:
    written = [("user_id", "a"), ("from", "-1h"), ("to", "now"), ("received_from", "-1d")]
    first = parse(written, now)
    sealed = seal(TENANTS[0], first, position, from_store=True)
    opened, after = open_(TENANTS[0], parse([*written, ("cursor", sealed)], later))
    assert (after, opened.query, opened.from_store) == (position, first.query, True)


@given(st.data())
def test_every_change_of_a_cursor_is_refused(data: st.DataObject) -> None:
    text = seal(TENANTS[0], page(), data.draw(positions))
    at = data.draw(st.integers(0, len(text) - 1))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ "
    letter = data.draw(st.sampled_from(letters).filter(lambda letter: letter != text[at]))
    for changed in (text[:at] + letter + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + letter + text[at:]):
        if changed != text:
            with pytest.raises(InvalidQuery) as refused:
                open_(TENANTS[0], page(cursor=changed))
            assert refused.value.code == "bad_cursor"


def test_the_spare_bits_of_the_last_letter_count_too() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for us in (1, 10**3, 10**6, 10**12):  # each its own length
        text = seal(TENANTS[0], page(), Position(us, "x"))
        for letter in set(letters) - {text[-1]}:
            with pytest.raises(InvalidQuery):
                open_(TENANTS[0], page(cursor=text[:-1] + letter))


@given(st.text(max_size=60))
def test_anything_else_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidQuery):
        open_(TENANTS[0], parse([("cursor", text)], NOW))


def test_a_cursor_is_one_tenants_and_one_querys() -> None:
    text = seal(TENANTS[0], page(("user_id", "a")), Position(1, "x"))
    for tenant, parameter, code in (
        (TENANTS[1], ("user_id", "a"), "bad_cursor"), (TENANTS[0], ("user_id", "b"), "cursor_of_another_query"),
        (TENANTS[0], ("user_id!", "a"), "cursor_of_another_query"),
    ):  # fmt: skip
        with pytest.raises(InvalidQuery) as refused:
            open_(tenant, page(parameter, cursor=text))
        assert refused.value.code == code


def test_a_cursor_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cursor, "_VERSION", cursor._VERSION + 1)
        text = seal(TENANTS[0], page(), Position(1, "x"))
    with pytest.raises(InvalidQuery):
        open_(TENANTS[0], page(cursor=text))


# Search --------------------------------------------------------------------------------------------------------------


class World:
    def __init__(self, count: int = 7, bound: int = 100) -> None:
        self.store, self.index, self.ledger = Store(), Index(), Ledger()
        self.search = Search(anything(self.store), anything(self.index), anything(self.ledger), total_bound=bound)
        self.scope = for_system(TENANT, "test")
        self.bodies = []
        for n in range(count):
            row = row_of(record(n), "e")
            self.store.rows[row.id] = row
            self.index.documents[row.id] = row.body
            self.bodies.append(row.body)

    async def pages(self, *parameters: tuple[str, str]) -> list[list[bytes]]:
        found: list[list[bytes]] = []
        text: str | None = None
        while True:
            answer = await self.search.page(self.scope, TENANTS[0], page(*parameters, cursor=text))
            found.append(answer.bodies)
            text = answer.next_cursor
            if text is None:
                return found


@pytest.mark.parametrize("down", [False, True], ids=["index", "store"])
async def test_pages_join_to_the_whole_whoever_answers(down: bool) -> None:
    world = World()
    world.index.fail = Unavailable("index") if down else None
    for sort, expected in (("timestamp", world.bodies), ("-timestamp", world.bodies[::-1])):
        found = await world.pages(("limit", "3"), ("sort", sort))
        assert [len(bodies) for bodies in found] == [3, 3, 1]
        assert [body for bodies in found for body in bodies] == expected


async def test_a_cursor_survives_the_fallback_and_the_way_back() -> None:
    world = World()
    text, seen, by = None, [], []
    for failure in (None, Unavailable("index"), None, Unavailable("index")):
        world.index.fail = failure
        answer = await world.search.page(world.scope, TENANTS[0], page(("limit", "2"), cursor=text))
        text = answer.next_cursor
        seen += answer.bodies
        by.append(answer.answered_by)
    assert seen == world.bodies[::-1]
    assert by == ["index", "store", "store", "store"]
    assert text is None


async def test_what_only_the_index_can_answer_is_unavailable_without_it() -> None:
    world = World()
    world.index.fail = Unavailable("index")
    for parameter in (("q", "x"), ("metadata.a", "b"), ("message", "x")):
        with pytest.raises(Unavailable):
            await world.search.page(world.scope, TENANTS[0], page(parameter))
    world.index.fail = None
    world.store.fail = Unavailable("store")
    with pytest.raises(Unavailable):
        await world.search.page(world.scope, TENANTS[0], page())


async def test_while_the_index_is_rebuilt_the_store_answers_what_it_can() -> None:
    world = World()
    world.index.documents.popitem()
    world.ledger.rebuilds.add(TENANT)
    answer = await world.search.page(world.scope, TENANTS[0], page())
    assert (len(answer.bodies), answer.answered_by, answer.watermark.rebuilding) == (7, "store", True)
    answer = await world.search.page(world.scope, TENANTS[0], page(("q", "x")))
    assert (answer.answered_by, answer.watermark.rebuilding) == ("index", True)


async def test_what_the_store_cannot_look_through_the_index_answers_if_it_is_there() -> None:
    world = World()
    world.store.fail_find = UnboundedQuery("too much")
    world.ledger.rebuilds.add(TENANT)
    answer = await world.search.page(world.scope, TENANTS[0], page(("user_id", "a")))
    assert (answer.answered_by, answer.watermark.rebuilding) == ("index", True)
    world.index.fail = Unavailable("index")
    with pytest.raises(UnboundedQuery):
        await world.search.page(world.scope, TENANTS[0], page(("user_id", "a")))
    world.store.fail_find = None
    begun = await world.search.page(world.scope, TENANTS[0], page(("user_id", "a"), ("limit", "2")))
    world.store.fail_find, world.index.fail = UnboundedQuery("too much"), None
    with pytest.raises(UnboundedQuery):  # another's answer would not go on where the store's page ended
        await world.search.page(world.scope, TENANTS[0], page(("user_id", "a"), cursor=begun.next_cursor))


async def test_filtered_looks_into_the_store_are_bounded_for_each_tenant_and_over_all() -> None:
    world = World()
    world.index.fail = Unavailable("index")
    world.store.gate = asyncio.Event()
    scopes = [for_system(f"tenant{n:02}", "test") for n in range(8)]

    def ask(scope: TenantScope, *parameters: tuple[str, str]) -> asyncio.Task[object]:
        return asyncio.create_task(world.search.page(scope, TENANTS[0], page(*parameters)))

    looks = [ask(scopes[0], ("user_id", "a")) for _ in range(LOOKS_OF_A_TENANT + 1)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await looks.pop()
    looks += [ask(scope, ("user_id", "a")) for scope in scopes[1:] for _ in range(LOOKS_OF_A_TENANT)]
    plain = ask(scopes[0])
    for _ in range(5):
        await asyncio.sleep(0)
    refused = [look for look in looks if look.done()]
    assert len(looks) - len(refused) == LOOKS_AT_ONCE
    assert all(isinstance(look.exception(), Overloaded) for look in refused)
    world.store.gate.set()
    await asyncio.gather(plain, *(look for look in looks if look not in refused))
    await ask(scopes[0], ("user_id", "a"))


async def test_what_the_store_began_an_index_that_lags_behind_does_not_go_on_with() -> None:
    world = World()
    world.index.fail = Unavailable("index")
    first = await world.search.page(world.scope, TENANTS[0], page(("limit", "2")))
    world.index.fail = None
    world.index.documents.clear()  # it answers again, and holds nothing yet
    rest = await world.search.page(world.scope, TENANTS[0], page(("limit", "10"), cursor=first.next_cursor))
    assert (first.answered_by, rest.answered_by) == ("store", "store")
    assert first.bodies + rest.bodies == world.bodies[::-1]


async def test_a_body_that_the_store_lacks_is_left_out_and_paging_goes_on() -> None:
    world = World()
    ids = list(world.store.rows)
    del world.store.rows[ids[2]], world.store.rows[ids[3]]
    found = await world.pages(("limit", "2"), ("sort", "timestamp"))
    assert [len(bodies) for bodies in found] == [2, 0, 2, 1]


async def test_what_the_index_does_not_show_yet_matches_all_the_same() -> None:
    world = World()
    assert await world.search.matched(world.scope, TENANTS[0], page()) == (7, True)
    world.index.documents.clear()
    assert await world.search.matched(world.scope, TENANTS[0], page()) == (7, True)
    assert await world.search.matched(world.scope, TENANTS[0], page(("q", "x"))) == (0, True)
    world.store.fail_find = UnboundedQuery("too much")
    assert await world.search.matched(world.scope, TENANTS[0], page(("user_id", "a"))) == (0, True)


async def test_no_other_tenants_body_is_ever_answered() -> None:
    world = World()
    foreign = row_of(record(50, tenant_id="bbbbbbbb"), "e")
    world.store.rows[foreign.id] = foreign
    world.index.documents[foreign.id] = foreign.body.replace(b"bbbbbbbb", TENANT.encode())  # an index gone wrong
    answer = await world.search.page(world.scope, TENANTS[0], page())
    assert foreign.body not in answer.bodies
    assert len(answer.bodies) == 7


async def test_a_total_over_the_bound_is_said_to_be_one() -> None:
    answer = await World(7, bound=5).search.page(for_system(TENANT, "test"), TENANTS[0], page())
    assert (answer.total, answer.total_exact) == (5, False)


async def test_the_watermark_is_read_before_the_answer_and_not_for_each() -> None:
    world = World()
    world.ledger.through = 5
    for _ in range(10):
        answer = await world.search.page(world.scope, TENANTS[0], page())
        assert answer.watermark.complete_through == 5
    assert world.ledger.reads == 1


async def test_waiting_for_an_event_ends_with_it_or_with_the_time() -> None:
    world = World()
    event_id = next(iter(world.store.rows))
    assert (await world.search.event(world.scope, event_id)) is not None
    assert await world.search.event(world.scope, "x", wait=0.05) is None
    assert await world.search.event(for_system("bbbbbbbb", "test"), event_id) is None


# Scope and placement -------------------------------------------------------------------------------------------------


def test_a_scope_cannot_be_made_or_changed_by_hand() -> None:
    for mint in (None, object(), "x", TenantScope):
        with pytest.raises(TypeError):
            TenantScope(mint, TENANT, "me", frozenset(Permission))
    scope = for_system(TENANT, "test")
    with pytest.raises(AttributeError):
        scope.tenant_id = "bbbbbbbb"
    with pytest.raises(AttributeError):
        scope.other = 1  # type: ignore[attr-defined]
    assert scope.tenant_id == TENANT
    for name in ("", "x", "AAAAAAAA", "aaaaaaaa\n", "a" * 33, "aaaa-aaaa", "*"):
        with pytest.raises(ValueError, match="not a tenant id"):
            for_system(name, "test")


@given(st.sets(st.sampled_from(list(Role)), min_size=1).map(frozenset))
def test_a_tokens_scope_holds_what_its_roles_allow_in_its_own_tenant_alone(roles: frozenset[Role]) -> None:
    claims = Claims("me", TENANT, roles, "j", 0, 1)
    if Role.VIEWER in roles:  # a viewer is one by its filter
        with pytest.raises(Unauthenticated):
            from_token(claims, TENANTS[0])
        return
    assert from_token(claims, TENANTS[0]).permissions == permissions_of(roles)
    if Role.PLATFORM in roles:
        foreign = from_token(claims, TENANTS[1])
        assert not foreign.permissions & {Permission.READ, Permission.WRITE}
    else:
        with pytest.raises(Unauthenticated):
            from_token(claims, TENANTS[1])


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_placement_is_the_period_of_the_time_of_receipt(at: int) -> None:
    text = instant.to_text(at)
    for period, length in ((Period.YEAR, 4), (Period.MONTH, 6), (Period.DAY, 8)):
        assert place((Placement(0, period),), at) == text[:10].replace("-", "")[:length]


def test_a_later_placement_leaves_the_earlier_ones_as_they_were() -> None:
    history = (Placement(0, Period.MONTH), Placement(AT, Period.DAY))
    assert len(place(history, AT - 1)) == 6
    assert len(place(history, AT)) == 8
