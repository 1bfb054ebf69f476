"""Generations of a placement: filled beside the live one, made live in one step, dropped.

A generation's number is in its name (`...-g2`), what made it in its mapping's `_meta`. One that is being filled has an
alias of its own, for a bulk must name an alias: one that named an index would make it, mapping and all, when it is
gone.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from core.adapters.index import mapping
from core.adapters.index.client import Client
from core.errors import Conflict, Unavailable
from core.placement import PREFIX, next_alias, read_alias, write_alias
from core.ports import Generation
from core.tenant import TenantScope

_encode: Final = msgspec.json.Encoder().encode


class _Meta(msgspec.Struct, frozen=True):
    began: int | None = None
    job: str | None = None


class _Mappings(msgspec.Struct, frozen=True):
    meta: _Meta = msgspec.field(name="_meta", default=_Meta())


class _Identity(msgspec.Struct, frozen=True):
    uuid: str = ""


class _Settings(msgspec.Struct, frozen=True):
    index: _Identity = _Identity()


class _Index(msgspec.Struct, frozen=True):
    aliases: dict[str, msgspec.Raw] = {}
    mappings: _Mappings = _Mappings()
    settings: _Settings = _Settings()


_indices: Final = msgspec.json.Decoder(dict[str, _Index]).decode


class Generations:
    """`shards` and `replicas` are those of the generations it makes."""

    def __init__(self, client: Client, shards: int, replicas: int) -> None:
        self._client = client
        self._shards = shards
        self._replicas = replicas

    async def listing(self, scope: TenantScope) -> list[Generation]:
        """See `EventIndex.generations`."""
        own = re.compile(re.escape(f"{PREFIX}{scope.tenant_id}-") + r"(\d{4,8})-g(\d+)")
        params = {"expand_wildcards": "all", "filter_path": "*.aliases,*.mappings._meta,*.settings.index.uuid"}
        text = await self._client.call("GET", f"/{PREFIX}{scope.tenant_id}-*", params)
        try:
            indices = _indices(text)
        except ValueError as error:
            raise Unavailable("index", f"not an answer of an index: {error}") from None
        found = []
        for name, index in indices.items():
            if match := own.fullmatch(name):
                live = write_alias(scope.tenant_id, match[1]) in index.aliases
                meta = index.mappings.meta
                identity = index.settings.index.uuid
                found.append(Generation(match[1], int(match[2]), live, meta.began, meta.job, identity))
        return sorted(found, key=lambda each: (each.placement, each.number))

    async def begin(self, scope: TenantScope, generation: Generation) -> None:
        """See `EventIndex.begin`."""
        name = _name(scope, generation)
        body: dict[str, Any] = {
            "settings": mapping.settings(self._shards, self._replicas),
            "mappings": mapping.mappings() | {"_meta": {"began": generation.began, "job": generation.job}},
            "aliases": {next_alias(scope.tenant_id, generation.placement): {}},
        }
        exists = "resource_already_exists_exception"
        await self._client.call("PUT", f"/{name}", {}, _encode(body), writes=True, expected=exists)
        await self._started(name)

    async def switch(self, scope: TenantScope, generation: Generation) -> None:
        """See `EventIndex.switch`."""
        name = _name(scope, generation)
        # What is in it must be found from the first search on.
        await self._client.call("POST", f"/{name}/_refresh", {}, writes=True)
        await self._started(name)
        write, read = write_alias(scope.tenant_id, generation.placement), read_alias(scope.tenant_id)
        fresh = next_alias(scope.tenant_id, generation.placement)
        actions: list[dict[str, Any]] = []
        for other in await self.listing(scope):
            if other.placement == generation.placement and other.live:
                old = _name(scope, other)
                actions += [{"remove": {"index": old, "alias": write}}, {"remove": {"index": old, "alias": read}}]
        actions += [
            {"remove": {"index": name, "alias": fresh}},
            {"add": {"index": name, "alias": write, "is_write_index": True}},
            {"add": {"index": name, "alias": read}},
        ]
        await self._client.call("POST", "/_aliases", {}, _encode({"actions": actions}), writes=True)

    async def drop(self, scope: TenantScope, generation: Generation) -> None:
        """See `EventIndex.drop_generation`."""
        for other in await self.listing(scope):
            if (other.placement, other.number) == (generation.placement, generation.number):
                if other.live:
                    raise Conflict("the live generation is not dropped")
                params = {"ignore_unavailable": "true"}
                await self._client.call("DELETE", f"/{_name(scope, other)}", params, writes=True)

    async def drop_all(self, scope: TenantScope, placement: str) -> None:
        """See `EventIndex.drop_placement`."""
        for each in await self.listing(scope):
            if each.placement == placement:
                params = {"ignore_unavailable": "true"}
                await self._client.call("DELETE", f"/{_name(scope, each)}", params, writes=True)

    async def _started(self, name: str) -> None:
        started = {"wait_for_status": "yellow", "timeout": f"{self._client.write_deadline * 800:.0f}ms"}
        await self._client.call("GET", f"/_cluster/health/{name}", started, writes=True)


def _name(scope: TenantScope, generation: Generation) -> str:
    return f"{write_alias(scope.tenant_id, generation.placement)}-g{generation.number}"
