"""Parquet, written as a stream of row groups; the one module that imports pyarrow, when an export asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import UNSET

from core import instant
from core.event import StoredEvent, decode_stored
from core.export.formats import COLUMNS
from core.ports import Stored

GROUP_ROWS: Final = 50_000
GROUP_BYTES: Final = 16 * 1024 * 1024
"""Bodies that a row group is made of; the writer keeps some 4 KiB of footer for each group."""
_TIMES: Final = ("timestamp", "received_at")
_TYPES: Final = {**dict.fromkeys(_TIMES, pa.timestamp("us", tz="UTC")), "tags": pa.list_(pa.string())}
_REQUIRED: Final = ("id", "tenant_id", *_TIMES, "action", "severity")
SCHEMA: Final = pa.schema(
    [pa.field(name, _TYPES.get(name, pa.string()), nullable=name not in _REQUIRED) for name in COLUMNS]
)


class _Sink:
    """A file that is written forward and taken piece by piece; tells its place as if nothing had been taken."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        return self._place

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class ParquetEncoder:
    """Times are timestamps, `tags` a list, free-form fields JSON text; zstd inside."""

    def __init__(self) -> None:
        self._out = _Sink()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._out, mode="w"), SCHEMA, compression="zstd")
        self._columns: list[list[Any]] = [[] for _ in COLUMNS]
        self._size = 0

    def begin(self) -> bytes:
        return self._out.taken()

    def events(self, events: Sequence[Stored]) -> bytes:
        for event in events:
            decoded = decode_stored(event.body)
            for name, column in zip(COLUMNS, self._columns, strict=True):
                column.append(_cell(decoded, name))
            self._size += len(event.body)
        if len(self._columns[0]) >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self._flush()
        return self._out.taken()

    def end(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._out.taken()

    def _flush(self) -> None:
        if self._columns[0]:
            arrays = [pa.array(column, field.type) for column, field in zip(self._columns, SCHEMA, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), row_group_size=GROUP_ROWS * 2)
        self._columns = [[] for _ in COLUMNS]
        self._size = 0


def _cell(event: StoredEvent, name: str) -> Any:
    value = getattr(event, name)
    if name in _TIMES:
        return instant.from_text(value)
    if value is None or isinstance(value, str | list):
        return value
    return None if value is UNSET else bytes(value).decode()
