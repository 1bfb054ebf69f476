"""Events as a Parquet file and back, byte for byte; it imports pyarrow, so it is imported in a job's thread alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.event import KEYWORD_FIELDS, decode_stored
from core.ports import Stored

_TIME: Final = pa.timestamp("us", tz="UTC")
_NAMED: Final = (*KEYWORD_FIELDS, "ip_address")
_OWN: Final = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("placement", pa.string(), nullable=False),
    pa.field("timestamp", _TIME, nullable=False),
    pa.field("received_at", _TIME, nullable=False),
    pa.field("hash", pa.binary(32), nullable=False),
    pa.field("body", pa.binary(), nullable=False),
    pa.field("content", pa.binary()),
    pa.field("envelope", pa.string(), nullable=False),
)
"""What an event is made of again, as `Stored` has it in this order; `body` is its exact bytes."""
SCHEMA: Final = pa.schema(
    [*_OWN, *(pa.field(name, pa.list_(pa.string()) if name == "tags" else pa.string()) for name in _NAMED)],
    metadata={"ocelot": "events 1"},
)
"""The named fields come after it, for whoever asks the files themselves."""


def encoded(events: Sequence[Stored], level: int) -> bytes:
    """The file, packed by zstd at this level."""
    decoded = [decode_stored(event.body) for event in events]
    columns: list[list[Any]] = [[getattr(event, each.name) for event in events] for each in _OWN]
    columns += [[getattr(event, name) for event in decoded] for name in _NAMED]
    arrays = [pa.array(column, each.type) for column, each in zip(columns, SCHEMA, strict=True)]
    out = io.BytesIO()
    # Ids, hashes and bodies differ from event to event: a dictionary of them would be a second copy.
    plain = [each.name for each in SCHEMA if each.name not in ("id", "hash", "content", "body")]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=SCHEMA), out, compression="zstd", compression_level=level,
        use_dictionary=plain, write_statistics=["received_at", "timestamp", "action", "user_id"],
    )  # fmt: skip
    return out.getvalue()


def decoded(data: bytes) -> list[Stored]:
    """The events of a file; raises ValueError for one that is damaged or another's."""
    try:
        table = pq.read_table(io.BytesIO(data), columns=[each.name for each in _OWN])
        columns = [_values(table.column(each.name)) for each in _OWN]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ValueError(f"not a file of events: {type(error).__name__}") from None
    return list(map(Stored, *columns))


def _values(column: Any) -> list[Any]:
    return list((column.cast(pa.int64()) if column.type == _TIME else column).to_pylist())
