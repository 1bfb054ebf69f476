"""How an event that the index refuses gets in all the same: a little less of it at each rung, flagged.

OpenSearch refuses a term of over 32,766 bytes, a key of over 50,000, a key that an object has twice, a number of over
1,000 digits, and may refuse more. The store has the event whole.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from msgspec import Raw

from core.adapters.index import bulk, derived
from core.adapters.index.mapping import FLAG
from core.event import FREE_FIELDS

# Of 32,766; the rest is for what the index puts in front of a path in its columns.
MAX_TERM_BYTES: Final = 32_000
# 64 levels of such keys leave a value 6 KB of the term that it shares with its path.
MAX_KEY_BYTES: Final = 400

_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def shortened(event_id: str, body: bytes, facets: bytes = b"") -> bytes:
    """The entry of the first rung: every value still there, cut where it is too long. Raises ValueError if not JSON.

    A long string keeps its beginning, so that prefixes find it; a number is its text, which is what filters compare; a
    key that stands twice holds both values. `facets` are the members of `derived.facet_fields`, small as they are.
    """
    fields = _members(body)
    trees: dict[str, Any] = {}
    for name in FREE_FIELDS:
        raw = fields.get(name)
        if raw is not None:
            trees[name] = _cut(_tolerant(bytes(raw)), len(name))
            fields[name] = Raw(json.dumps(trees[name], separators=(",", ":")).encode())
    fields[FLAG] = Raw(b'"shortened"')
    added = derived.members(derived.paths_of(trees), derived.changed_of(body)) + facets
    return bulk.entry(event_id, _encode(fields), added)


def named_only(event_id: str, body: bytes, facets: bytes = b"") -> bytes:
    """The entry of the last rung: the named fields alone, without facets. Raises ValueError if not JSON."""
    fields = _members(body)
    for name in FREE_FIELDS:
        fields.pop(name, None)
    fields[FLAG] = Raw(b'"named_only"')
    return bulk.entry(event_id, _encode(fields))


RUNGS: Final = (shortened, named_only)


def _tolerant(document: bytes) -> Any:
    return json.loads(document, object_pairs_hook=_merged, parse_int=str, parse_float=str)


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    for key, value in pairs:
        key = _prefix(key, MAX_KEY_BYTES)
        if key not in merged:
            merged[key] = value
        elif key in repeated:
            repeated[key].append(value)
        else:
            merged[key] = repeated[key] = [merged[key], value]
    return merged


def _cut(node: Any, path_bytes: int) -> Any:
    """`node` with its strings cut so that each fits a term together with its path and the `=` between."""
    if isinstance(node, dict):
        return {key: _cut(value, path_bytes + 1 + len(key.encode())) for key, value in node.items()}
    if isinstance(node, list):
        return [_cut(element, path_bytes) for element in node]
    return _prefix(node, MAX_TERM_BYTES - path_bytes - 1) if isinstance(node, str) else node


def _prefix(text: str, size: int) -> str:
    """The longest beginning of `text` within `size` bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore")
