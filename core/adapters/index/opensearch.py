"""`EventIndex` on OpenSearch: an alias for each placement to write to, and one over all of a tenant's to read from."""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from core.adapters.index import aggregation, answers, bulk, dsl, ladder, mapping, removal
from core.adapters.index.client import DEADLINE, WRITE_DEADLINE, Client, error_of
from core.adapters.index.derived import derived_fields, facet_fields
from core.adapters.index.generations import Generations
from core.adapters.index.verdict import Verdict, verdict
from core.errors import Invalid, Unavailable
from core.facets import Facet
from core.placement import NAME as PLACEMENT
from core.placement import PREFIX, next_alias, read_alias, write_alias
from core.ports import Generation, HitPage, IndexDocument, IndexOutcome
from core.query import EventQuery, Position
from core.stats import Ask, Figures, Target
from core.tenant import TenantScope

# A tenant without events has no alias yet: an empty answer, no error.
_LENIENT: Final = {"ignore_unavailable": "true", "allow_no_indices": "true"}
_READING: Final = urlencode(
    {
        **_LENIENT,
        "allow_partial_search_results": "false",
        "filter_path": "timed_out,_shards.failed,hits.total,hits.hits.sort",
    }
)
"""Of every search, and quoted once: that is forty calls."""
_encode: Final = msgspec.json.Encoder().encode

_Outcomes = dict[int, IndexOutcome | Exception]


class _Count(msgspec.Struct, frozen=True):
    count: int


_count: Final = msgspec.json.Decoder(_Count).decode
_names: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


FacetsOf = Callable[[str], Awaitable[Sequence[Facet]]]


async def _no_facets(tenant_id: str) -> Sequence[Facet]:
    return ()


def open_index(
    url: str,
    *,
    shards: int = 1,
    replicas: int = 1,
    deadline: float = DEADLINE,
    write_deadline: float = WRITE_DEADLINE,
    facets_of: FacetsOf = _no_facets,
    sign_for: str | None = None,
    ca_file: Path | None = None,
) -> OpenSearchIndex:
    """The index at `url` (http or https, with `user:password@` if it asks); nothing is sent before the first call.

    `deadline` and `write_deadline` are seconds for a whole call. `facets_of` gives the facets that a tenant's events
    are indexed with from now on. `sign_for` and `ca_file`: see `Client`.
    """
    client = Client(url, deadline, write_deadline, sign_for=sign_for, ca_file=ca_file)
    return OpenSearchIndex(client, shards, replicas, facets_of)


class OpenSearchIndex:
    """See `core.ports.EventIndex`. `shards` and `replicas` are those of the generations it makes."""

    def __init__(self, client: Client, shards: int, replicas: int, facets_of: FacetsOf = _no_facets) -> None:
        self._client = client
        self._shards = shards
        self._replicas = replicas
        self._facets_of = facets_of
        self._generations = Generations(client, shards, replicas)
        self._with_slots: set[str] = set()
        """Aliases whose indices are known to have every facet's slot."""

    async def index(
        self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument], *, beside: bool = False
    ) -> list[IndexOutcome | Exception]:
        """See the port. Raises ValueError, and sends nothing, when a document is not one line or another tenant's."""
        if not PLACEMENT.fullmatch(placement):
            raise ValueError(f"not a placement: {placement!r}")
        for document in documents:
            bulk.check(document, scope.tenant_id)
        declared = await self._facets_of(scope.tenant_id) if documents else ()
        if declared and not beside:
            await self._ensure_slots(write_alias(scope.tenant_id, placement))
        facets = [facet_fields(d.body, declared) for d in documents] if declared else [b""] * len(documents)
        entries = {n: bulk.entry(d.id, d.body, derived_fields(d.body) + facets[n]) for n, d in enumerate(documents)}
        verdicts = await self._write(scope.tenant_id, placement, entries, beside)
        outcomes = _settled(verdicts, IndexOutcome.INDEXED)
        for rung in ladder.RUNGS:
            refused = [n for n in range(len(documents)) if n not in outcomes]
            if not refused:
                break
            entries = {}
            for n in refused:
                try:
                    entries[n] = rung(documents[n].id, documents[n].body, facets[n])
                except (ValueError, RecursionError) as error:
                    outcomes[n] = Invalid(f"the event is no JSON: {error}")
            verdicts = await self._write(scope.tenant_id, placement, entries, beside)
            outcomes |= _settled(verdicts, IndexOutcome.REDUCED)
        return [outcomes.get(n) or _given_up(verdicts[n]) for n in range(len(documents))]

    async def _write(
        self, tenant_id: str, placement: str, entries: dict[int, bytes], beside: bool
    ) -> dict[int, Verdict]:
        """CREATED, PRESENT, REFUSED or DOUBTFUL for each entry; raises for what is no document's fault."""
        alias = next_alias(tenant_id, placement) if beside else write_alias(tenant_id, placement)
        verdicts: list[Verdict] = []
        lines = list(entries.values())
        for batch in bulk.batches(lines):
            body = b"".join(lines[batch])
            answers = await self._bulk(alias, body)
            if Verdict.NO_ALIAS in answers and not beside:
                await self._create(tenant_id, placement)
                answers = await self._bulk(alias, body)
            if len(answers) != batch.stop - batch.start:
                raise Unavailable("index", "the index answered for other documents than it was sent")
            for bad in (Verdict.BLOCKED, Verdict.NO_ALIAS, Verdict.UNAVAILABLE):
                if bad in answers:
                    raise error_of(bad)
            verdicts += answers
        return dict(zip(entries, verdicts, strict=True))

    async def _bulk(self, alias: str, body: bytes) -> list[Verdict]:
        # A shard that is away is waited for by the server, which says so in time: the deadline is for one that hangs.
        waits = f"{self._client.write_deadline * 800:.0f}ms"
        params = {"require_alias": "true", "filter_path": bulk.FILTER_PATH, "timeout": waits}
        text = await self._client.call(
            "POST", f"/{alias}/_bulk", params, body, writes=True, content_type="application/x-ndjson"
        )
        return [verdict(result.status, result.error) for result in answers.decoded(bulk.results, text)]

    async def _ensure_slots(self, alias: str) -> None:
        """Give the indices behind `alias` the slots of facets, which one of an older version lacks."""
        if alias in self._with_slots:
            return
        body = _encode({"properties": mapping.facet_properties()})
        missing = "index_not_found_exception"  # it is made with them then
        await self._client.call("PUT", f"/{alias}/_mapping", {}, body, writes=True, expected=missing)
        self._with_slots.add(alias)

    async def _create(self, tenant_id: str, placement: str) -> None:
        """A placement's first generation, then both aliases at once; another consumer may have been faster.

        The aliases come when the primaries have started: until then every search that meets the index is refused. One
        whose maker was killed in between has none, and is met here again.
        """
        alias = write_alias(tenant_id, placement)
        name = f"{alias}-g1"
        body = {"settings": mapping.settings(self._shards, self._replicas), "mappings": mapping.mappings()}
        exists = "resource_already_exists_exception"
        await self._client.call("PUT", f"/{name}", {}, _encode(body), writes=True, expected=exists)
        started = {"wait_for_status": "yellow", "timeout": f"{self._client.write_deadline * 800:.0f}ms"}
        await self._client.call("GET", f"/_cluster/health/{name}", started, writes=True)
        add = [
            {"add": {"index": name, "alias": alias, "is_write_index": True}},
            {"add": {"index": name, "alias": read_alias(tenant_id)}},
        ]
        await self._client.call("POST", "/_aliases", {}, _encode({"actions": add}), writes=True)

    async def remove(self, scope: TenantScope, placement: str, ids: Collection[str]) -> int:
        """See the port. Raises ValueError, and sends nothing, for a name that no placement or event has."""
        if not PLACEMENT.fullmatch(placement):
            raise ValueError(f"not a placement: {placement!r}")
        return await removal.remove(self._client, write_alias(scope.tenant_id, placement), ids)

    async def search(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> HitPage:
        """See the port. `total_bound` 0 counts nothing: `total` is then the number of hits on the page."""
        clause = dsl.query_of(query, scope.tenant_id)
        body: dict[str, Any] = {
            "_source": False,
            "stored_fields": "_none_",
            "size": limit,
            "timeout": f"{self._client.deadline * 800:.0f}ms",
            "track_total_hits": total_bound or False,
            "query": clause,
            "sort": dsl.sort_of(query),
        }
        if after is not None:
            body["search_after"] = dsl.search_after(after)
        # Copies of a shard refresh at different moments: the pages of one query are read from the same copy.
        copy = f"preference=q{zlib.crc32(_encode(clause)):x}"
        path = f"/{read_alias(scope.tenant_id)}/_search?{_READING}&{copy}"
        return _page(await self._client.call("POST", path, {}, _encode(body)), after, limit)

    async def generations(self, scope: TenantScope) -> list[Generation]:
        """See the port."""
        return await self._generations.listing(scope)

    async def begin(self, scope: TenantScope, generation: Generation) -> None:
        """See the port."""
        await self._generations.begin(scope, generation)

    async def switch(self, scope: TenantScope, generation: Generation) -> None:
        """See the port."""
        await self._generations.switch(scope, generation)

    async def drop_generation(self, scope: TenantScope, generation: Generation) -> None:
        """See the port."""
        await self._generations.drop(scope, generation)

    async def drop_placement(self, scope: TenantScope, placement: str) -> None:
        """See the port."""
        await self._generations.drop_all(scope, placement)

    async def aggregate(self, scope: TenantScope, query: EventQuery, ask: Ask) -> Figures:
        """See the port."""
        return await aggregation.aggregate(self._counting(scope, query), ask)

    async def extent(self, scope: TenantScope, query: EventQuery, target: Target) -> tuple[int, int] | None:
        """See the port."""
        return await aggregation.extent(self._counting(scope, query), target)

    def _counting(self, scope: TenantScope, query: EventQuery) -> aggregation.Count:
        path = f"/{read_alias(scope.tenant_id)}/_search"
        return aggregation.counting(self._client, path, _LENIENT, dsl.query_of(query, scope.tenant_id))

    async def count(self, scope: TenantScope) -> int:
        """See the port."""
        await self.refresh(scope)
        path = f"/{read_alias(scope.tenant_id)}/_count"
        return answers.decoded(_count, await self._client.call("GET", path, _LENIENT)).count

    async def refresh(self, scope: TenantScope) -> None:
        """See the port."""
        path = f"/{read_alias(scope.tenant_id)}/_refresh"
        await self._client.call("POST", path, _LENIENT, writes=True)

    async def drop(self, scope: TenantScope) -> None:
        """See the port. Names are looked up by pattern; what is deleted is named in full, behind an alias or not."""
        own = re.compile(re.escape(f"{PREFIX}{scope.tenant_id}-") + r"\d{4,8}-g\d+")
        path = f"/{PREFIX}{scope.tenant_id}-*/_alias"
        names = answers.decoded(_names, await self._client.call("GET", path, {"expand_wildcards": "all"}))
        for name in filter(own.fullmatch, names):
            await self._client.call("DELETE", f"/{name}", {"ignore_unavailable": "true"}, writes=True)

    async def ping(self) -> None:
        """Raise `Unavailable` unless the cluster answers."""
        await self._client.call("GET", "/", {})

    async def aclose(self) -> None:
        await self._client.aclose()


def _settled(verdicts: dict[int, Verdict], created: IndexOutcome) -> _Outcomes:
    """The outcomes of the documents that are in the index now."""
    meaning = {Verdict.CREATED: created, Verdict.PRESENT: IndexOutcome.PRESENT}
    return {n: meaning[verdict] for n, verdict in verdicts.items() if verdict in meaning}


def _given_up(last: Verdict) -> Invalid:
    """What to say of a document refused at every rung; raises unless that is the document's own fault."""
    if last is Verdict.REFUSED:
        return Invalid("the index does not even take the event's named fields")
    raise Unavailable("index", "the index refuses a document for a reason that may not be the document's")


def _page(text: str, after: Position | None, limit: int) -> HitPage:
    found = answers.whole(text)
    hits = dsl.positions_of([hit.sort for hit in found.hits.hits])
    total = found.hits.total
    if total is None:
        return HitPage(hits, len(hits), total_exact=after is None and len(hits) < limit)
    return HitPage(hits, total.value, total_exact=total.relation == "eq")
