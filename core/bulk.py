"""The forms of a bulk body: a JSON array, an object with `events`, a lone event, or NDJSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from core.errors import FieldError, Invalid, TooLarge
from core.splitting import split

MAX_EVENTS: Final = 10_000
# An event takes a brace and 250 bytes once decoded, an item a comma and 100: more of them are counted before that,
# in a body that is large enough to matter (a count takes 0.5 ns a byte).
_DENSE_BYTES: Final = 4 * 1024 * 1024
_MAX_BRACES: Final = 20 * MAX_EVENTS
_MAX_COMMAS: Final = 60 * MAX_EVENTS
T = TypeVar("T")


class Form(StrEnum):
    JSON = "json"
    LINES = "lines"


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    events: list[Raw]


_decode_list: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_wrapped: Final = msgspec.json.Decoder(_Wrapped).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_ARRAY: Final = re.compile(rb"[ \t\r\n]*+\[")
_LINE: Final = re.compile(rb"\S[^\n]*")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Bulk:
    """A bulk's body. One that is not UTF-8 is cut into items all the same: it is the fault of some of them."""

    body: bytes
    form: Form
    is_utf8: bool = True

    @property
    def is_array(self) -> bool:
        return self.form is Form.JSON and _ARRAY.match(self.body) is not None

    @property
    def is_dense(self) -> bool:
        """Whether decoding all of it at once could take many times its size."""
        return len(self.body) > _DENSE_BYTES and self.body.count(b"{") > _MAX_BRACES

    @property
    def _has_many_items(self) -> bool:
        return len(self.body) > _DENSE_BYTES and self.body.count(b",") > _MAX_COMMAS

    def items(self) -> list[bytes]:
        """Each event as sent. Raises `Invalid` when the body as a whole is not one of the forms.

        Items of JSON forms are valid JSON; lines may be anything.
        """
        if self.form is Form.LINES:
            lines = islice(_LINE.finditer(self.body), MAX_EVENTS + 1)
            return bounded([line[0] for line in lines])
        if not self.is_utf8:
            return self._cut(Invalid("the body is not UTF-8", code="invalid_utf8"))
        if self._has_many_items and (found := split(self.body, MAX_EVENTS)) is not None:
            return bounded(found)
        try:
            if self.is_array:
                return [bytes(item) for item in bounded(_decode_list(self.body))]
            if "events" in _decode_fields(self.body):
                return [bytes(item) for item in bounded(_decode_wrapped(self.body).events)]
        except msgspec.ValidationError as error:
            raise Invalid(f'a bulk is an array, {{"events": [...]}} or lines: {error}', code="bad_bulk") from None
        except RecursionError as error:
            return self._cut(_malformed(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if _SURROGATE.search(self.body) is None:
                raise _malformed(error) from None
            return self._cut(_malformed(error))
        return [self.body]

    def _cut(self, error: Invalid) -> list[bytes]:
        """The items of a body that the parser refuses for what is inside of one of them; raises `error` for none."""
        found = split(self.body, MAX_EVENTS)
        if found is not None:
            return bounded(found)
        if self.is_array or not self.body.lstrip().startswith(b"{"):
            try:
                raise error
            finally:
                del error  # this frame, which the error has from here on, would hold it
        return [self.body]


def _malformed(error: Exception) -> Invalid:
    fault = FieldError(("body",), str(error), "malformed_json")
    return Invalid(f"the body is not JSON: {error}", code="malformed_json", errors=[fault])


def bounded(items: list[T]) -> list[T]:
    """`items`, if they are 1 to `MAX_EVENTS`."""
    if not items:
        raise Invalid("no event was sent", code="empty_bulk")
    if len(items) > MAX_EVENTS:
        raise TooLarge(f"a bulk may hold {MAX_EVENTS} events", code="too_many_events")
    return items
