"""The forms of an export. An encoder makes bytes of events, batch by batch, and holds no more than a batch.

`ndjson` and `json` hold the exact stored bytes, one event a line. `csv` and `parquet` have a column for each named
field; free-form fields are JSON text in them, token for token.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from core.event import FREE_FIELDS, StoredEvent, decode_stored
from core.ports import Stored

COLUMNS: Final = (
    "id", "tenant_id", "timestamp", "received_at", "action", "severity", "outcome", "message", "user_id", "session_id",
    "ip_address", "user_agent", "resource_type", "resource_id", "request_id", "trace_id", "source", "tags",
    *FREE_FIELDS,
)  # fmt: skip
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", "'")
"""What a spreadsheet may take for a formula or swallow, the four signs in full width too, as in East Asian locales.

And the mark itself, so that one leading ' is always ours.
"""


class Encoder(Protocol):
    """Called in the order `begin`, `events` again and again, `end`; what they return, joined, is the file."""

    def begin(self) -> bytes: ...

    def events(self, events: Sequence[Stored]) -> bytes: ...

    def end(self) -> bytes: ...


class NdjsonEncoder:
    def begin(self) -> bytes:
        return b""

    def events(self, events: Sequence[Stored]) -> bytes:
        return b"".join([part for event in events for part in (event.body, b"\n")])

    def end(self) -> bytes:
        return b""


class JsonEncoder:
    """An array, one event a line. `continued`: events of the same array were written before."""

    def __init__(self, *, continued: bool = False) -> None:
        self._lead = b",\n" if continued else b"[\n"

    def begin(self) -> bytes:
        return b""

    def events(self, events: Sequence[Stored]) -> bytes:
        if not events:
            return b""
        lead, self._lead = self._lead, b",\n"
        return lead + b",\n".join([event.body for event in events])

    def end(self) -> bytes:
        return b"[]\n" if self._lead == b"[\n" else b"\n]\n"


class CsvEncoder:
    """RFC 4180 in UTF-8, safe to open in a spreadsheet."""

    def __init__(self, *, header: bool = True) -> None:
        self._header = header

    def begin(self) -> bytes:
        return (",".join(COLUMNS) + "\r\n").encode() if self._header else b""

    def events(self, events: Sequence[Stored]) -> bytes:
        out = io.StringIO(newline="")
        csv.writer(out).writerows([_safe(text) for text in texts_of(event.body)] for event in events)
        return out.getvalue().encode()

    def end(self) -> bytes:
        return b""


def texts_of(body: bytes) -> list[str | None]:
    """An event's columns as text: tags as a JSON array, free-form fields as they are stored."""
    event = decode_stored(body)
    return [_text(event, name) for name in COLUMNS]


def _text(event: StoredEvent, name: str) -> str | None:
    value = getattr(event, name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return None if value is msgspec.UNSET else bytes(value).decode()


def _safe(text: str | None) -> str | None:
    return "'" + text if text is not None and text.startswith(FORMULA_STARTS) else text


def _parquet() -> Encoder:
    from core.export.parquet import ParquetEncoder

    return ParquetEncoder()


@dataclass(frozen=True, slots=True)
class Format:
    """`resumed` makes the rest of a file that was begun; None: such a file cannot be gone on with.

    `threaded`: a batch takes some ms to encode.
    """

    name: str
    media_type: str
    fresh: Callable[[], Encoder]
    resumed: Callable[[], Encoder] | None
    threaded: bool = False


FORMATS: Final = {
    made.name: made
    for made in (
        Format("ndjson", "application/x-ndjson", NdjsonEncoder, NdjsonEncoder),
        Format("json", "application/json", JsonEncoder, lambda: JsonEncoder(continued=True)),
        Format("csv", "text/csv; charset=utf-8", CsvEncoder, lambda: CsvEncoder(header=False), True),
        Format("parquet", "application/vnd.apache.parquet", _parquet, None, True),
    )
}
