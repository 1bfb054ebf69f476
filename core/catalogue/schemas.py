"""Which schemas are taken, what they may cost, and how they are compiled.

A schema is a tenant's own text that runs in a process of everybody's, on events of anybody with that tenant's key. So
nothing is ever fetched: a reference is a JSON Pointer into the same schema. References make no circle, and what they
unfold to is counted, for ten of them in a row double as easily a thousandfold. Patterns run in an engine without
backtracking. (Measured: a check costs up to 1 us for each pair of schema node and value that it looks at.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from core.catalogue.model import Action
from core.errors import FieldError, Invalid
from core.event import depth_of

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MAX_ACTIONS: Final = 500
MAX_SCHEMA_BYTES: Final = 32 * 1024
MAX_SCHEMA_DEPTH: Final = 32
MAX_NODES: Final = 2000
"""Of one schema, its references unfolded."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
FORMATS: Final = frozenset({
    "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "json-pointer", "time", "uri",
    "uri-reference", "uuid",
})  # fmt: skip
_NAME: Final = re.compile(r"[^\s*\x00-\x1f\x7f]{1,200}(?:\.\*)?|\*")
_FORBIDDEN: Final = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")
_MANY: Final = frozenset({
    "items", "prefixItems", "contains", "additionalProperties", "patternProperties", "propertyNames",
    "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
})  # fmt: skip
"""Keywords whose parts are looked at once for each value of the event."""
_REGEX_BYTES: Final = 64 * 1024
_DFA_BYTES: Final = 1024 * 1024
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Cost:
    """Schema nodes that an event meets once, and those that each of its values may meet."""

    once: int = 0
    each: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.once + other.once, self.each + other.each)


class BadSchema(Exception):
    """Why a schema is not taken, for the tenant's eyes."""


def check_actions(actions: Mapping[str, Action]) -> None:
    """Raise `Invalid` naming each action that cannot be taken, and why."""
    if len(actions) > MAX_ACTIONS:
        raise Invalid(f"a catalogue may have {MAX_ACTIONS} actions", code="bad_catalogue")
    faults = []
    for name, action in actions.items():
        try:
            _check(action)
        except BadSchema as error:
            faults.append(FieldError(("actions", name, "schema"), str(error), "schema"))
        if not _NAME.fullmatch(name) or name.lower().startswith("ocelot."):
            message = "must be an action, or a beginning and .*, and not the service's own ocelot.*"
            faults.append(FieldError(("actions", name), message, "action"))
    if faults:
        raise Invalid("; ".join(f"{f.loc[1]}: {f.msg}" for f in faults[:3]), code="bad_catalogue", errors=faults[:20])


def compile_schema(schema: dict[str, Any]) -> Draft202012Validator:
    """The schema ready to check; raises `BadSchema`. Takes up to 10 ms."""
    # 15 MB of library, for tenants that have a catalogue.
    from jsonschema_rs import Draft202012Validator, RegexOptions

    try:
        return Draft202012Validator(
            schema,
            validate_formats=True,
            offline=True,
            mask="the value",
            # Without look-around and back references, so in time that grows with the text alone.
            pattern_options=RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_DFA_BYTES),
        )
    except ValueError as error:
        place = "/".join(map(str, getattr(error, "instance_path", [])))
        reason = str(getattr(error, "message", error))
        raise BadSchema(f"not a JSON Schema of 2020-12, at {place or 'its root'}: {reason[:300]}") from None


def cost_of(schema: Any) -> Cost:
    """What checking by a schema may cost, references unfolded; raises `BadSchema` beyond the bounds."""
    return _cost(schema, schema, (), {})


def _check(action: Action) -> None:
    if action.schema is None:
        return
    encoded = _encode(action.schema)
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise BadSchema(f"may have {MAX_SCHEMA_BYTES} bytes")
    if depth_of(encoded) > MAX_SCHEMA_DEPTH:
        raise BadSchema(f"may nest {MAX_SCHEMA_DEPTH} levels deep")
    dialect = action.schema.get("$schema", DIALECT)
    if dialect != DIALECT:
        raise BadSchema(f"$schema must be {DIALECT}")
    cost_of(action.schema)
    compile_schema(action.schema)


def _cost(root: Any, node: Any, path: tuple[str, ...], known: dict[str, Cost]) -> Cost:
    """`path` holds the references that are being unfolded; `known` what those unfolded already cost."""
    if isinstance(node, list):
        return _within(sum((_cost(root, part, path, known) for part in node), Cost()))
    if not isinstance(node, dict):
        return Cost(once=1)
    _check_words(node)
    total = Cost(once=1)
    for word, part in node.items():
        if word == "$ref" and isinstance(part, str):
            cost = _referred(root, part, path, known)
        else:
            cost = _cost(root, part, path, known)
        total += Cost(each=cost.once + cost.each) if word in _MANY else cost
        _within(total)
    return total


def _referred(root: Any, pointer: str, path: tuple[str, ...], known: dict[str, Cost]) -> Cost:
    if pointer in path:
        raise BadSchema(f"$ref {pointer[:100]} leads back to itself")
    if pointer not in known:
        known[pointer] = _cost(root, _resolved(root, pointer), (*path, pointer), known)
    return known[pointer]


def _resolved(root: Any, pointer: str) -> Any:
    if not pointer.startswith("#/"):
        raise BadSchema("a $ref must be a JSON Pointer into the same schema, such as #/$defs/name")
    node = root
    for step in unquote(pointer[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(name)] if isinstance(node, list) else node[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadSchema(f"$ref {pointer[:100]} leads nowhere") from None
    return node


def _check_words(node: dict[str, Any]) -> None:
    for word in _FORBIDDEN:
        if isinstance(node.get(word), str):
            raise BadSchema(f"{word} is not taken: a schema stands for itself")
    format_ = node.get("format")
    if isinstance(format_, str) and format_ not in FORMATS:
        raise BadSchema(f"format must be one of {', '.join(sorted(FORMATS))}")


def _within(cost: Cost) -> Cost:
    if cost.once + cost.each > MAX_NODES:
        raise BadSchema(f"may have {MAX_NODES} parts, its references unfolded")
    return cost
