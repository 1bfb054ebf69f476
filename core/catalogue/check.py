"""Checking events by a catalogue: as they were sent, before masking, and without a word of their values in an answer.

What a client sends is what the schema describes; masking is the service's own doing, and an integer that it replaced
by `[masked]` is no fault of the client's. A fault quotes the schema and names, never a value; names are masked.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from core import telemetry
from core.catalogue.model import Action, Catalogue, Mode
from core.catalogue.schemas import BadSchema, Cost, compile_schema, cost_of
from core.errors import FieldError, InvalidEvent
from core.event import MAX_DEPTH, depth_of
from core.masking import mask

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

log = logging.getLogger(__name__)
MAX_PAIRS: Final = 400_000
"""Schema nodes times values that one event may cost: under half a second at the worst, 20 us for most."""
_DETAIL_PAIRS: Final = 2000
"""Up to here every fault is told. The library gathers all of them, with each alternative's, before it gives the first:
100 alternatives of 2,000 values took 5 s."""
_MAX_FAULTS: Final = 10
_LONGEST_NAME: Final = 100
_LARGEST: Final = 1.7976931348623157e308
_BRANCHES: Final = ("anyOf", "oneOf")
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class _Compiled:
    """An action's schema, compiled by its first event."""

    def __init__(self, action: Action) -> None:
        self.action = action.name
        self._schema = action.schema
        self._validator: Draft202012Validator | None = None
        self._cost = Cost()
        self._branches = False

    def fault(self, event: dict[str, Any], values: int) -> InvalidEvent | None:
        """What is wrong with an event of about so many values."""
        if self._schema is None:
            return None
        if self._validator is None:
            self._validator = compile_schema(self._schema)
            self._cost = cost_of(self._schema)
            text = _encode(self._schema)
            self._branches = any(f'"{word}"'.encode() in text for word in _BRANCHES)
        pairs = self._cost.once + self._cost.each * values
        if pairs > MAX_PAIRS:
            return _fault(self.action, (), "has too many values to be checked by its schema", "schema_cost")
        if self._validator.is_valid(event):
            return None
        return self._told(self._validator, event, pairs)

    def _told(self, validator: Draft202012Validator, event: dict[str, Any], pairs: int) -> InvalidEvent:
        if pairs <= _DETAIL_PAIRS:
            errors = [error for found in validator.iter_errors(event) for error in _errors(found)][:_MAX_FAULTS]
        elif not self._branches:
            try:
                validator.validate(event)
                errors = []
            except ValueError as error:
                errors = list(_errors(error))[:_MAX_FAULTS]  # type: ignore[arg-type]
        else:
            errors = []
        if not errors:
            return _fault(self.action, (), "does not fit the schema of its action", "schema")
        first = errors[0]
        place = ".".join(map(str, first.loc))
        detail = f"{place}: {first.msg} (the catalogue's schema of {self.action})"
        return InvalidEvent(detail, errors=errors)


class Checker:
    """One version of a tenant's catalogue at work."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.version = catalogue.version
        self.mode = catalogue.mode
        self._exact: dict[str, _Compiled] = {}
        beginnings: list[tuple[str, _Compiled]] = []
        for action in catalogue.actions:
            compiled = _Compiled(action)
            if action.name.endswith("*"):
                beginnings.append((action.name[:-1], compiled))
            else:
                self._exact[action.name] = compiled
        self._beginnings = sorted(beginnings, key=lambda each: -len(each[0]))

    def fault(self, item: bytes) -> InvalidEvent | None:
        """Why `enforce` refuses an event as it was sent; None as well for what is no event, which others tell."""
        event = _event(item)
        action = event.get("action") if event is not None else None
        if event is None or not isinstance(action, str):
            return None
        compiled = self._of(action)
        if compiled is None:
            fault = _fault(action, ("action",), "is not in the tenant's catalogue", "unknown_action")
        else:
            try:
                found = compiled.fault(event, item.count(b",") + item.count(b"[") + item.count(b"{"))
            except BadSchema as error:
                # It was taken once, by another release of the library: no ground to lose events.
                log.error("the schema of %r does not compile any more: %s", compiled.action, error)
                found = None
            if found is None:
                return None
            fault = found
        telemetry.CATALOGUE_FAULTS.labels(self.mode.value).inc()
        return fault

    def faults(self, items: Sequence[bytes]) -> dict[int, InvalidEvent]:
        """What is wrong with each of the items at fault, by its place."""
        return {n: fault for n, item in enumerate(items) if (fault := self.fault(item)) is not None}

    @property
    def enforces(self) -> bool:
        return self.mode is Mode.ENFORCE

    def _of(self, action: str) -> _Compiled | None:
        if (exact := self._exact.get(action)) is not None:
            return exact
        return next((compiled for beginning, compiled in self._beginnings if action.startswith(beginning)), None)


def _event(item: bytes) -> dict[str, Any] | None:
    """The event as its schema sees it: without the key, and without fields that are null, which are as if not there."""
    if item.count(b"{") + item.count(b"[") > MAX_DEPTH and depth_of(item) > MAX_DEPTH:
        return None
    try:
        event = _decode(item)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            # A number that no float holds is one all the same.
            event = json.loads(item, parse_int=_integer, parse_float=_float)
        except (ValueError, RecursionError):
            return None
    if not isinstance(event, dict):
        return None
    return {name: value for name, value in event.items() if value is not None and name != "idempotency_key"}


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 40 else _float(text)


def _float(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else math.copysign(_LARGEST, number)


def _errors(error: ValidationError) -> Iterator[FieldError]:
    """The library's fault as ours; one for each name that should not be there."""
    loc = tuple(error.instance_path)
    word = error.kind.name
    kind = f"schema_{word}"
    match word:
        case "additionalProperties" | "unevaluatedProperties":
            for name in error.kind.value[:_MAX_FAULTS]:
                yield _clean((*loc, name), "is not in the schema", kind)
        case "required":
            yield _clean((*loc, error.kind.value), "is required", kind)
        case "propertyNames":
            yield _clean(loc, "has a name that its schema does not allow", kind)
        case _:
            yield _clean(loc, error.message[:300], kind)


def _fault(action: str, loc: tuple[str | int, ...], message: str, kind: str) -> InvalidEvent:
    error = _clean(loc, message, kind)
    shown = _clean((action,), "", "").loc[0]
    return InvalidEvent(f"{shown}: {message}", errors=[error])


def _clean(loc: tuple[str | int, ...], message: str, kind: str) -> FieldError:
    """A fault whose names are cut, and masked as an event's would be: a client may put a secret into a name."""
    steps = [step[:_LONGEST_NAME] if isinstance(step, str) else step for step in loc]
    masked = _decode(mask(_encode({"loc": steps, "message": message})))
    return FieldError(tuple(masked["loc"]), masked["message"], kind)
