"""The forms of a bulk body: a JSON array, an object with `events`, a lone event, or NDJSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from core.errors import FieldError, Invalid, TooLarge

MAX_EVENTS: Final = 10_000
T = TypeVar("T")


class Form(StrEnum):
    JSON = "json"
    LINES = "lines"


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    events: list[Raw]


_decode_list: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_wrapped: Final = msgspec.json.Decoder(_Wrapped).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


@dataclass(frozen=True, slots=True)
class Bulk:
    """A bulk's body, UTF-8 already checked."""

    body: bytes
    form: Form

    @property
    def is_array(self) -> bool:
        return self.form is Form.JSON and self.body[:256].lstrip()[:1] == b"["

    def items(self) -> list[bytes]:
        """Each event as sent. Raises `Invalid` when the body as a whole is not one of the forms.

        Items of JSON forms are valid JSON; lines may be anything.
        """
        if self.form is Form.LINES:
            return bounded([line for line in self.body.split(b"\n") if line.strip()])
        try:
            if self.is_array:
                return bounded([bytes(item) for item in _decode_list(self.body)])
            if "events" in _decode_fields(self.body):
                return bounded([bytes(item) for item in _decode_wrapped(self.body).events])
        except msgspec.ValidationError as error:
            raise Invalid(f'a bulk is an array, {{"events": [...]}} or lines: {error}', code="bad_bulk") from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            fault = FieldError(("body",), str(error), "malformed_json")
            raise Invalid(f"the body is not JSON: {error}", code="malformed_json", errors=[fault]) from None
        return [self.body]


def bounded(items: list[T]) -> list[T]:
    """`items`, if they are 1 to `MAX_EVENTS`."""
    if not items:
        raise Invalid("no event was sent", code="empty_bulk")
    if len(items) > MAX_EVENTS:
        raise TooLarge(f"a bulk may hold {MAX_EVENTS} events", code="too_many_events")
    return items
