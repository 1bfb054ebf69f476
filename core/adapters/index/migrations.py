"""Migrations of OpenSearch: the template of every index to come, and the fields that older indices lack."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from core.adapters.index import answers, mapping
from core.adapters.index.client import Client
from core.migration import Phase, Step
from core.placement import PREFIX

_encode: Final = msgspec.json.Encoder(order="sorted").encode


class _Meta(msgspec.Struct, frozen=True):
    digest: str = ""


class _Template(msgspec.Struct, frozen=True):
    meta: _Meta = msgspec.field(name="_meta", default=_Meta())


class _Named(msgspec.Struct, frozen=True):
    index_template: _Template = _Template()


class _Templates(msgspec.Struct, frozen=True):
    index_templates: list[_Named] = []


class _Mappings(msgspec.Struct, frozen=True):
    properties: dict[str, msgspec.Raw] = {}


class _Index(msgspec.Struct, frozen=True):
    mappings: _Mappings = _Mappings()


_templates: Final = msgspec.json.Decoder(_Templates).decode
_indices: Final = msgspec.json.Decoder(dict[str, _Index]).decode


def steps(client: Client, shards: int, replicas: int, prefix: str = PREFIX) -> list[Step]:
    """The steps on this cluster: it tells by itself what it has, since an index can be lost and made anew."""
    changes = _Changes(client, shards, replicas, prefix)
    expand = Phase.EXPAND
    return [
        Step("index-template", expand, "the template of all indices", changes.put_template, changes.has_template),
        Step("index-fields", expand, "fields that older indices lack", changes.add_fields, changes.has_fields),
    ]


class _Changes:
    def __init__(self, client: Client, shards: int, replicas: int, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._path = f"/_index_template/{prefix.rstrip('-')}"
        template = {"settings": mapping.settings(shards, replicas), "mappings": mapping.mappings()}
        self._digest = hashlib.sha256(_encode(template)).hexdigest()[:16]
        self._body: dict[str, Any] = {
            "index_patterns": [f"{prefix}*"],
            "priority": 500,
            "template": template,
            "_meta": {"digest": self._digest},
        }

    async def has_template(self) -> bool:
        absent = "resource_not_found_exception"
        text = await self._client.call("GET", self._path, {}, expected=absent)
        found = answers.decoded(_templates, text) if text else _Templates()
        return any(each.index_template.meta.digest == self._digest for each in found.index_templates)

    async def put_template(self) -> None:
        """Indices are made with all that it holds; it is for one that is made by mistake, which then takes nothing
        that is no event."""
        await self._client.call("PUT", self._path, {}, _encode(self._body), writes=True)

    async def has_fields(self) -> bool:
        params = {"filter_path": "*.mappings.properties.*.type", "expand_wildcards": "all"}
        text = await self._client.call("GET", f"/{self._prefix}*/_mapping", params)
        needed = mapping.facet_properties().keys()
        return all(needed <= index.mappings.properties.keys() for index in answers.decoded(_indices, text).values())

    async def add_fields(self) -> None:
        body = _encode({"properties": mapping.facet_properties()})
        params = {"allow_no_indices": "true", "ignore_unavailable": "true"}
        await self._client.call("PUT", f"/{self._prefix}*/_mapping", params, body, writes=True)
