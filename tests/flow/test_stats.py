"""Statistics over HTTP: every figure is what a look through all events' bytes gives, and as exact as it says."""

from __future__ import annotations

import math
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from core import instant
from core.facets import Declared, Facet, FacetType
from core.query import EventQuery
from core.stats_request import name_of, parse_stats
from core.tenant import Tenant
from core.wiring import Backends
from tests import brute, brute_stats
from tests.flow.refusals import problem
from tests.flow.test_search import EVENTS, settled
from tests.service import Client, Service

BERLIN = ["2026-03-28T23:30:00Z", "2026-03-29T00:59:59.999999Z", "2026-03-29T01:00:00Z", "2026-03-29T22:00:00Z"]
FACETS = [
    {"name": "age", "path": "metadata.user.age", "type": "number"},
    {"name": "due", "path": "metadata.due", "type": "date"},
    {"name": "from_ip", "path": "metadata.from", "type": "ip"},
    {"name": "who", "path": "metadata.user.name", "type": "keyword"},
]
LATER: list[dict[str, Any]] = (
    [
        {"action": "aged", "user_id": f"u{n % 5}", "metadata": {"user": {"name": f"n{n % 4}", "age": n * 1.5}}}
        for n in range(20)
    ]
    + [
        {
            "action": "due",
            "timestamp": moment,
            "metadata": {"due": moment, "from": ["10.0.0.1", "::ffff:10.0.0.2"][n % 2]},
        }
        for n, moment in enumerate(BERLIN)
    ]
    + [{"action": "unfit", "metadata": {"user": {"name": {"x": 1}, "age": "many"}, "due": "soon", "from": "home"}}]
)
QUERIES = [
    "", "by=action", "by=action&top=2", "by=action&by=tags&by=user_id&by=ip_address&top=3",
    "by=outcome&outcome=!denied",
    "by=changed_paths", "distinct=user_id&distinct=tags&distinct=ip_address&distinct=changed_paths",
    "by=facet.who&top=2&distinct=facet.who", "by=facet.from_ip", "by=facet.age&top=4", "percentiles=facet.age",
    "percentiles=facet.age&percents=0.5,33.3,50,100", "percentiles=facet.age&user_id=u1", "over=facet.due&interval=1h",
    "over=facet.due&interval=1d&time_zone=Europe/Berlin", "interval=1d&time_zone=Europe/Berlin", "interval=1M",
    "interval=1h&from=2026-03-28T00:00:00Z&to=2026-03-30T00:00:00Z&time_zone=Europe/Berlin",
    "interval=none&by=severity",
    "from=2026-03-29T01:00:00Z&time_zone=America/New_York", "to=2026-03-29T01:00:00Z", "over=received_at",
    "over=received_at&interval=1s&received_from=-10m", "q=quick&by=action", "metadata.user.age=7&by=action",
    "action=none&by=action&distinct=action&percentiles=facet.age", "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
    "from=1960-01-01T00:00:00Z&to=9999-12-31T23:59:59Z&interval=1y", "interval=1w&time_zone=Asia/Kathmandu&by=action",
    "from=2026-03-29T00:59:59.999999Z&to=2026-03-29T01:00:00Z&interval=1s", "user_id=ana&user_id=u2&distinct=action",
]  # fmt: skip


class Counted:
    """A tenant with `EVENTS` from before its facets were declared and `LATER` from after, and their stored bytes."""

    def __init__(self, running: Service) -> None:
        self.running = running
        self.client = running.tenant()
        early = [event | {"timestamp": f"2026-03-01T{n:02}:00:00Z"} for n, event in enumerate(EVENTS)]
        assert self.client.post("/logs/bulk", json=early).json()["accepted"] == len(early)
        settled(self.client, len(early))
        before = set(self._bodies())
        assert self.client.put("/facets", json={"facets": FACETS}).status_code == 200
        time.sleep(2.5)  # what is accepted from now on is indexed with them
        assert self.client.post("/logs/bulk", json=LATER).json()["accepted"] == len(LATER)
        settled(self.client, len(early) + len(LATER))
        serials = frozenset(facet.serial for facet in self.tenant.facets.all)
        self.events = [(body, frozenset() if body in before else serials) for body in self._bodies()]

    @property
    def tenant(self) -> Tenant:
        mine = self.client.tenant
        assert mine is not None

        async def read(backends: Backends) -> Tenant | None:
            return await backends.control.tenant(mine.id)

        found: Tenant = self.running.with_backends(read)
        return found

    def _bodies(self) -> Iterator[bytes]:
        for event in self.client.get("/logs", params={"limit": 1000}).json()["data"]:
            yield self.client.get(f"/logs/{event['id']}").content


@pytest.fixture(scope="module")
def counted(running: Service) -> Counted:
    return Counted(running)


def raw(query: str) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(query, keep_blank_values=True)


@pytest.mark.parametrize("query", QUERIES)
def test_the_figures_are_those_of_a_look_through_all_events(counted: Counted, query: str) -> None:
    parameters = raw(query)
    response = counted.client.get("/logs/stats", params=parameters)
    assert response.status_code == 200, response.text
    answer = response.json()
    asked = parse_stats(parameters, counted.tenant.facets, instant.now_us())
    found = [event for event in counted.events if brute.matches(asked.query, event[0])]
    assert answer["answered_by"] == "index"
    assert answer["total"] == {"count": len(found), "exactness": "exact"}
    check_timeline(answer["timeline"], asked.over, found)
    for group, figure in zip(asked.groups, answer["groups"], strict=True):
        expected = brute_stats.figures(EventQuery(), _ask(groups=(group,)), found).groups[0]
        assert figure["by"] == name_of(group.target)
        assert [(v["value"], v["count"]) for v in figure["values"]] == list(expected.top)
        assert figure["other"] == expected.other
        assert (figure["missing"], figure["not_indexed"]) == (expected.rest.missing, expected.rest.not_indexed)
        assert (figure["exactness"], figure["error_bound"]) == ("exact", 0)
    for target, figure in zip(asked.distinct, answer["distinct"], strict=True):
        different = {value for event in found for value in brute_stats.values(target, event)}
        assert (figure["of"], figure["count"], figure["exactness"]) == (name_of(target), len(different), "exact")
    for ranks, figure in zip(asked.ranks, answer["percentiles"], strict=True):
        numbers = sorted(value for event in found for value in brute_stats.values(ranks.facet, event))
        expected_values = [numbers[math.ceil(p * len(numbers) / 100) - 1] for p in ranks.percents if numbers]
        assert [value["value"] for value in figure["values"]] == expected_values
        assert figure["count"] + figure["missing"] + figure["not_indexed"] == len(found)
        assert (figure["min"], figure["max"]) == ((numbers[0], numbers[-1]) if numbers else (None, None))


def _ask(**asked: Any) -> Any:
    from core.stats import Ask

    return Ask(**asked)


def check_timeline(timeline: dict[str, Any] | None, over: Any, found: list[brute_stats.Event]) -> None:
    """Each bucket holds the events from its start to the next one's, and together they hold all."""
    if over is None:
        assert timeline is None
        return
    assert timeline is not None
    moments = [value for event in found for value in brute_stats.values(over, event)]
    starts = [instant.from_text(bucket["start"]) for bucket in timeline["buckets"]]
    assert starts == sorted(set(starts))
    for n, bucket in enumerate(timeline["buckets"]):
        end = starts[n + 1] if n + 1 < len(starts) else 1 << 62
        assert bucket["count"] == sum(starts[n] <= moment < end for moment in moments), bucket
    assert sum(bucket["count"] for bucket in timeline["buckets"]) == len(moments)
    assert timeline["missing"] + timeline["not_indexed"] + len(moments) == len(found)
    assert (timeline["interval"] is None) <= (timeline["buckets"] == [])


def test_a_day_of_23_hours_begins_and_ends_at_its_own_midnights(counted: Counted) -> None:
    asked = {"interval": "1d", "time_zone": "Europe/Berlin", "action": "due", "over": "timestamp"}
    answer = counted.client.get("/logs/stats", params=asked).json()
    assert answer["timeline"]["buckets"] == [
        {"start": "2026-03-29T00:00:00+01:00", "count": 3},
        {"start": "2026-03-30T00:00:00+02:00", "count": 1},
    ]


def test_events_from_before_a_declaration_are_told_apart_from_those_without_a_value(counted: Counted) -> None:
    answer = counted.client.get("/logs/stats", params={"by": "facet.who", "interval": "none"}).json()
    group = answer["groups"][0]
    assert (group["not_indexed"], group["missing"]) == (len(EVENTS), len(BERLIN) + 1)
    assert sum(value["count"] for value in group["values"]) == 20


def test_a_facet_is_known_to_the_statistics_as_soon_as_it_is_declared(tenant: Client) -> None:
    for name in ("one", "two", "three"):
        declared = {"facets": [{"name": name, "path": "metadata.x", "type": "number"}]}
        assert tenant.put("/facets", json=declared).status_code == 200
        answer = tenant.get("/logs/stats", params={"percentiles": f"facet.{name}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["percentiles"][0]["values"] == []
    assert tenant.get("/logs/stats").json()["timeline"]["buckets"] == []


BAD = [
    ("interval=", "interval"), ("interval=7m", "interval"), ("interval=2d", "interval"),
    ("interval=1h&interval=1h", "interval"),
    ("time_zone=Berlin", "time_zone"), ("time_zone=../../etc/passwd", "time_zone"), ("time_zone=%00", "time_zone"),
    ("over=action", "over"), ("over=metadata.due", "over"), ("over=facet.age", "over"), ("over=facet.none", "over"),
    ("by=metadata.user.age", "by"), ("by=message", "by"), ("by=colour", "by"), ("by=", "by"), ("by=facet.none", "by"),
    ("by=facet.", "by"), ("by=facet.due", "by"), ("by=id", "by"), ("by=timestamp", "by"), ("by=kw_00", "by"),
    ("by=action&by=tags&by=source&by=user_id&by=outcome", "by"), ("top=0", "top"), ("top=1001", "top"),
    ("top=x", "top"), ("top=%D9%A1", "top"), ("top=" + "9" * 999, "top"), ("distinct=paths", "distinct"),
    ("distinct=metadata", "distinct"), ("percentiles=action", "percentiles"), ("percentiles=facet.who", "percentiles"),
    ("percents=0", "percents"), ("percents=101", "percents"), ("percents=", "percents"), ("percents=50,", "percents"),
    ("percents=1,2,3,4,5,6,7,8,9,10,11", "percents"), ("percents=nan", "percents"), ("percents=-1", "percents"),
    ("limit=5", "limit"), ("sort=timestamp", "sort"), ("cursor=x", "cursor"), ("colour=red", "colour"),
    ("kw_00=a", "kw_00"), ("facets=1", "facets"), ("from=x", "from"), ("q=", "q"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "named"), BAD, ids=[query[:40] for query, _ in BAD])
def test_a_bad_parameter_is_refused_by_name(counted: Counted, query: str, named: str) -> None:
    response = counted.client.get(f"/logs/stats?{query}")
    assert problem(response, 400, "invalid_query")["errors"][0]["loc"] == ["query", named]


@pytest.mark.parametrize(
    "query",
    [
        "interval=1s&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z", "interval=1s", "interval=1m",
        "interval=1d&from=1970-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "interval=1s&over=facet.due",
        "interval=1s&over=received_at&received_from=-1d&received_to=now",
        "interval=1M&from=1970-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&time_zone=America/New_York",
    ],
)  # fmt: skip
def test_too_many_intervals_are_refused_with_what_to_change(counted: Counted, query: str) -> None:
    response = counted.client.get(f"/logs/stats?{query}")
    refused = problem(response, 400, "too_many_buckets")
    assert refused["errors"][0]["loc"] == ["query", "interval"]
    assert "shorter range" in refused["detail"]


def test_the_parsed_facets_are_the_declared_ones(counted: Counted) -> None:
    asked = parse_stats([("by", "facet.who")], counted.tenant.facets, 0)
    target = asked.groups[0].target
    assert isinstance(target, Facet)
    assert target.declared == Declared("who", "metadata.user.name", FacetType.KEYWORD)
