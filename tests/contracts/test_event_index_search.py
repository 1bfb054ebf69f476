"""What every `EventIndex` answers, on osmem and on OpenSearch, each answer compared with one computed in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InvalidQuery
from core.event import FREE_FIELDS, decode_stored
from core.ports import IndexDocument, IndexOutcome
from core.query import (
    Condition,
    During,
    EventQuery,
    Match,
    Position,
    Range,
    Text,
    Value,
)
from tests import brute, brute_text
from tests.contracts.index_events import NOW, PLACEMENT, real_lines, stamped, wrapped
from tests.contracts.index_servers import Bench, any_index, bench, index_url, shared_bench
from tests.queries import trees

__all__ = ["any_index", "bench", "index_url", "shared_bench"]

USERS = ["alice", "bob", "Alice", "alice@example.com", "al*ce", "a?b", "*", "!", "", "ünï", "東京", "😀", "a b", 'q"u']
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.200.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:DB8:0::2", "0.0.0.0"]
ADDRESSES += ["255.255.255.255", "::1", "::"]
NETWORKS = [
    "10.0.0.0/8",
    "10.0.0.1/32",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "::ffff:a00:0/104",
    "::/96",
    "10.0.0.0/31",
]
MESSAGES = [
    "User alice logged in from 10.0.0.1", "user.login failed_for bob",
    "FAILED login: bob's password", "login", "", "...",
    "東京の漢字カタカナ", "naïve ÉCOLE straße", "e-mail to alice@example.com",
    "10.0.0.1 10", "Domain:\u200e WORK", "데이터 ไทย",
    "C:\\Windows\\System32\\cmd.exe /c whoami", "arn:aws:iam::123456789012:role/Admin-Role",
    "a  b\tc", "ΣΑΣ", "x" * 300,
]  # fmt: skip
TEXTS = [
    "login", "LOGIN", "user", "bob", "alice", "alice login", "login alice",
    '"alice logged"', '"logged alice"', "10.0.0.1",
    "10", "0.0.1", "alice@example.com", "example", "京", "東京",
    "東漢", "カタカナ", "カタ", "école", "strasse", "straße",
    "naive", "-", "***", "login - bob", '"', '""', '"failed login',
    "WORK", "domain work", "cmd.exe", "system32 whoami",
    "role/Admin-Role", "admin", "a b", '"a b"', "b a", "x" * 300, "x" * 254, "true", "1.0", "1", "::1",
    "INFO", "info", "login AND bob", "login OR bob", "bob*", "lo?in", "/lo.*/", "message:login", "_exists_:message",
    "\\", "login)", "(login", "al*ce", "!", "*", "😀", "데이터", "denied", "deep value", '"deep value"', "a=b",
]  # fmt: skip
# osmem cuts no long word, lowers a final sigma otherwise, and cuts Thai into letters.
ONLY_OPENSEARCH = ["x" * 255, "σας", "ไทย"]
LEAVES: list[Any] = [
    "x", "y", "", "a*c", "abc", "true", True, False, None, 1, 1.0,
    -1, "1", "1.0", 10**30, "deep value", "a=b", "é", "a.b",
    [], {}, ["x", "z"], [1, None, [2, ["x"]]], [{"b": "x"}, {"c": "y"}], [[{"b": "in array"}]], [None], [{}],
]  # fmt: skip
TREES = [{"k": leaf} for leaf in LEAVES]
TREES += [{"o": {"k": leaf}} for leaf in LEAVES[:6]]
TREES += [
    {"o.k": "dotted"}, {"o.k": {"b.c": "x"}}, {"o": {"k.b": "y"}}, {"ok": "x"}, {"o": {"": {"b": 1}}}, {"@type": "t"},
    {"aws:SourceIp": "10.0.0.1"}, {"http://x.org/claims/upn": "u"},
    {"a*": {"b": "star"}}, {"k": {"k": {"k": {"k": "x"}}}},
    {"$where": "1"}, {"o": [{"p": [{"q": "x"}]}]}, {"sp ace": "x"}, {"日本": {"語": "x"}}, {"o": {"p": None}},
]  # fmt: skip
PATHS = [
    "k", "o", "o.k", "o.k.b", "o.k.b.c", "k.b", "k.c", "ok", "o..b",
    "@type", "aws:SourceIp", "http://x.org/claims/upn",
    "a*.b", "a*", "a", "k.k.k", "k.k.k.k", "$where", "o.p.q",
    "o.p", "sp ace", "日本", "日本.語", "none", "?", "o.?", "*",
]  # fmt: skip
STATES = [({"a": 1, "b": {"c": "x"}}, {"a": 1, "b": {"c": "y"}}), ({"a": 1}, {"a": 2, "n/e~w": 0}), ({}, {})]


class Corpus(list[IndexDocument]):
    """Events with a short name, for a failing query's report."""

    def __repr__(self) -> str:
        return f"Corpus({len(self)})"


def corpus(tenant_id: str) -> Corpus:
    """A few hundred events, every value of the pools above in them, many with equal times."""
    documents = Corpus()
    for n in range(240):
        item: dict[str, Any] = {"action": ["login", "user.login", "delete", "user.*"][n % 4]}
        item["user_id"] = USERS[n % len(USERS)]
        item["metadata"] = TREES[n % len(TREES)]
        if n % 2:
            item["message"] = MESSAGES[n // 2 % len(MESSAGES)]
        if n % 3:
            item["ip_address"] = ADDRESSES[n // 3 % len(ADDRESSES)]
        if n % 5:
            item["tags"] = [["x"], ["x", "y"], [], ["", "login"]][n % 4]
        if n % 7 == 0:
            item["before_state"], item["after_state"] = STATES[n // 7 % len(STATES)]
        if n % 11 == 0:
            item |= {"outcome": "denied", "severity": "ERROR", "source": "a=b"}
        documents.append(stamped(item, tenant_id, n * 7919 % 240, us=NOW - n // 6, received_at=NOW + n % 10 * 1000))
    return documents


_TIMES = st.none() | st.integers(NOW - 45, NOW + 45)
_RANGES = st.builds(Range, _TIMES, _TIMES)


def _values(texts: list[str]) -> st.SearchStrategy[Value]:
    equal = st.builds(Value, st.sampled_from([text for text in texts if text]))
    prefix = st.sampled_from([text for text in texts if text]).map(lambda text: Value(text[:2], Match.PREFIX))
    return equal | prefix | st.just(Value("", Match.EXISTS))


def _conditions() -> st.SearchStrategy[Condition]:
    def one(field: str, values: st.SearchStrategy[Value]) -> st.SearchStrategy[Condition]:
        return st.builds(Condition, st.just(field), st.lists(values, min_size=1, max_size=3).map(tuple), st.booleans())

    leaves = [str(leaf) for leaf in LEAVES if not isinstance(leaf, list | dict | bool)] + ["true", "dotted", "in array"]
    addresses = st.sampled_from(ADDRESSES).map(Value) | st.sampled_from(NETWORKS).map(lambda t: Value(t, Match.CIDR))
    phrases = st.sampled_from([text for text in TEXTS if text.strip()]).map(Value) | st.just(Value("", Match.EXISTS))
    return st.one_of(
        one("user_id", _values(USERS)), one("action", _values(["login", "user.*", "user.login", "none"])),
        one("tags", _values(["x", "y", "login", "z"])), one("outcome", _values(["denied", "success"])),
        one("ip_address", addresses | st.just(Value("", Match.EXISTS))), one("message", phrases),
        one("changed_paths", _values(["/b/c", "/a", "/n~1e~0w", "/b"])), one("source", _values(["a=b", "a"])),
        st.sampled_from(PATHS).flatmap(lambda path: one(f"metadata.{path}", _values(leaves))),
        st.sampled_from(["a", "b.c", "b"]).flatmap(lambda path: one(f"after_state.{path}", _values(["1", "2", "y"]))),
    )  # fmt: skip


_TIME_FIELDS = st.sampled_from(["timestamp", "received_at"])
LEAVES_OF_TREES = st.one_of(
    _conditions(), _conditions(), st.sampled_from(TEXTS).map(Text), st.builds(During, _TIME_FIELDS, _RANGES)
)
QUERIES = st.builds(
    EventQuery,
    text=st.none() | st.none() | st.sampled_from(TEXTS),
    conditions=st.lists(_conditions(), max_size=2).map(tuple),
    where=st.none() | trees(LEAVES_OF_TREES) | trees(LEAVES_OF_TREES),
    timestamp=_RANGES,
    received_at=st.just(Range()) | st.builds(Range, st.just(NOW), st.just(NOW + 5000)),
    sort=st.sampled_from(["timestamp", "received_at"]),
    descending=st.booleans(),
)


@pytest_asyncio.fixture(scope="module")
async def events(shared_bench: Bench) -> Corpus:
    documents = corpus(shared_bench.scope.tenant_id)
    assert set(await shared_bench.put(documents)) == {IndexOutcome.INDEXED}
    return documents


@pytest.mark.parametrize("text", TEXTS)
async def test_full_text(shared_bench: Bench, events: list[IndexDocument], text: str) -> None:
    await shared_bench.agrees(EventQuery(text=text), events)


@pytest.mark.parametrize("text", ONLY_OPENSEARCH)
async def test_full_text_where_osmem_differs(shared_bench: Bench, events: list[IndexDocument], text: str) -> None:
    if not shared_bench.real:
        pytest.skip("osmem answers otherwise")
    await shared_bench.agrees(EventQuery(text=text), events)


async def test_every_single_condition(shared_bench: Bench, events: list[IndexDocument]) -> None:
    """Each path with each way to match, each network: none may differ, and most must find something."""
    values = [Value("", Match.EXISTS), Value("x"), Value("a", Match.PREFIX), Value("1.0"), Value("a=b")]
    conditions = [Condition(f"metadata.{path}", (value,)) for path in PATHS for value in values]
    conditions += [Condition("ip_address", (Value(network, Match.CIDR),)) for network in NETWORKS]
    conditions += [Condition("ip_address", (Value(address),)) for address in ADDRESSES]
    conditions += [Condition("user_id", (Value(user),)) for user in USERS if user]
    conditions += [Condition("user_id", (Value(user[:1], Match.PREFIX),)) for user in USERS if user]
    found = [await shared_bench.agrees(EventQuery(conditions=(condition,)), events) for condition in conditions]
    assert sum(map(bool, found)) > 50


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(query=QUERIES)
async def test_any_query(shared_bench: Bench, events: list[IndexDocument], query: EventQuery) -> None:
    await shared_bench.agrees(query, events)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(("sort", "limit"), [("timestamp", 7), ("timestamp", 1), ("received_at", 24)])
async def test_pages_hold_each_event_once(
    shared_bench: Bench, events: list[IndexDocument], sort: str, limit: int, descending: bool
) -> None:
    query = EventQuery(sort=sort, descending=descending, timestamp=Range(NOW - 20))
    expected = brute.answer(query, [document.body for document in events])
    walked: list[str] = []
    after: Position | None = None
    while page := (await shared_bench.page(query, after=after, limit=limit, bound=10)).hits:
        walked += [hit.id for hit in page]
        after = page[-1]
        assert len(walked) <= len(expected)
    assert walked == expected


async def test_events_that_arrive_between_pages_move_none(bench: Bench) -> None:
    tenant_id = bench.scope.tenant_id
    first = [stamped({"action": "a"}, tenant_id, 10 * n, us=NOW - n % 3) for n in range(20)]
    await bench.put(first)
    walked: list[str] = []
    after: Position | None = None
    for late in range(100):
        page = (await bench.page(after=after, limit=3)).hits
        if not page:
            break
        walked += [hit.id for hit in page]
        after = page[-1]
        await bench.put([stamped({"action": "b"}, tenant_id, 10 * late + d, us=NOW - late % 3) for d in (1, 2)])
    there = {document.id for document in first}
    assert sorted(event_id for event_id in walked if event_id in there) == sorted(there)
    assert len(set(walked)) == len(walked)


async def test_the_total_says_whether_it_is_exact(shared_bench: Bench, events: list[IndexDocument]) -> None:
    page = await shared_bench.page(limit=5, bound=100)
    assert (len(page.hits), page.total, page.total_exact) == (5, 100, False)
    page = await shared_bench.page(limit=5, bound=240)
    assert (page.total, page.total_exact) == (240, True)
    page = await shared_bench.page(limit=5, after=page.hits[-1], bound=1000)
    assert (page.total, page.total_exact) == (240, True)
    page = await shared_bench.page(limit=5, bound=0)
    assert (page.total, page.total_exact) == (5, False)
    page = await shared_bench.page(limit=1000, bound=0)
    assert (page.total, page.total_exact) == (240, True)


@pytest.mark.parametrize(
    "bounds",
    [
        Range(-5, None), Range(None, 0), Range(None, -5), Range(0, 1), Range(2**60, None), Range(None, 2**60),
        Range(NOW, NOW), Range(NOW, NOW - 1), Range(NOW, NOW + 1), Range(9_214_646_399_999_999, None),
        Range(None, 9_214_646_399_999_999), Range(9_223_372_036_854_775, None), Range(None, 9_223_372_036_854_776),
    ],
)  # fmt: skip
async def test_times_at_and_beyond_what_the_index_can_hold(
    shared_bench: Bench, events: list[IndexDocument], bounds: Range
) -> None:
    await shared_bench.agrees(EventQuery(timestamp=bounds), events)


async def test_times_are_exact_to_the_microsecond(bench: Bench) -> None:
    moments = [0, 1, 999_999, 1_000_000, NOW, NOW + 1, 9_214_646_399_999_998]
    documents = [stamped({"action": "a"}, bench.scope.tenant_id, n, us=us) for n, us in enumerate(moments)]
    await bench.put(documents)
    hits = (await bench.page(EventQuery(descending=False))).hits
    assert [hit.us for hit in hits] == moments
    for us in moments:
        await bench.agrees(EventQuery(timestamp=Range(us, us + 1)), documents)


@pytest.mark.parametrize(
    "condition",
    [
        Condition("ip_address", (Value("10", Match.PREFIX),)),
    Condition("user_id", (Value("10.0.0.0/8", Match.CIDR),)),
        Condition("message", (Value("a", Match.PREFIX),)), Condition("id", (Value("a", Match.PREFIX),)),
    ],
)  # fmt: skip
async def test_what_a_field_cannot_be_matched_by(shared_bench: Bench, condition: Condition) -> None:
    with pytest.raises(InvalidQuery, match="cannot be matched"):
        await shared_bench.page(EventQuery(conditions=(condition,)))


async def test_real_events_are_found_by_what_they_hold(bench: Bench, audit_logs: Path) -> None:
    """By words of their messages and by leaves of their metadata, sampled from the events themselves."""
    lines = list(real_lines(audit_logs, 25))
    documents = [stamped(wrapped(line), bench.scope.tenant_id, n, us=NOW - n // 4) for n, line in enumerate(lines)]
    await bench.put(documents, PLACEMENT)
    for number, document in enumerate(documents[::9]):
        leaves = [leaf for leaf in brute.leaves(document.body) if 0 < len(leaf[1]) < 500 and not _dot_ended(leaf[0])]
        path, text = leaves[number * 7 % len(leaves)]
        for value in (Value(text), Value(text[:3], Match.PREFIX), Value("", Match.EXISTS)):
            query = EventQuery(conditions=(Condition(path, (value,)),))
            assert document.id in await bench.agrees(query, documents)
        assert document.id in await bench.agrees(EventQuery(text=f'"{text}"' if '"' not in text else text), documents)
        said = brute_text.tokens(decode_stored(document.body).message or "")
        if said:
            phrase = " ".join(said[number % len(said) :][:4])
            assert document.id in await bench.agrees(EventQuery(text=f'"{phrase}"'), documents)
            assert document.id in await bench.agrees(EventQuery(text=phrase), documents)


def _dot_ended(path: str) -> bool:
    return path.endswith((".", *FREE_FIELDS))
