"""The forms of an export, read back by other readers than their writers; names of files; links."""

from __future__ import annotations

import csv
import io
import json
import re

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Forbidden
from core.export import links
from core.export.formats import COLUMNS, FORMATS
from core.export.naming import file_name
from core.export.parquet import ParquetEncoder
from core.ports import Stored
from core.query import EventQuery, Range
from core.tenant import Tenant

TENANT = Tenant("aaaaaaaa", "Acme", b"s" * 32, 0)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
events = st.fixed_dictionaries(
    {"action": texts.filter(bool)},
    optional={
        "message": texts
        | st.sampled_from(["=1+1", "+x", "-", "@a", "\uff1d1", "\uff20a", "\t", "\r", "\n=", "'", "''", ",", '"']),
        "user_id": texts,
        "tags": st.lists(texts, max_size=3),
        "metadata": st.dictionaries(texts, texts, max_size=3),
    },
)
batches = st.lists(st.lists(events, max_size=4), max_size=4)


def stored(event: dict[str, object], n: int) -> Stored:
    at = "2026-11-21T11:40:00.123456Z"
    named = {"id": f"id-{n}", "tenant_id": "aaaaaaaa", "salt": "s", "severity": "INFO"}
    body = msgspec.json.encode({**named, "timestamp": at, "received_at": at, **event})
    return Stored(f"id-{n}", "", 0, 0, b"", body)


def written(form: str, given_batches: list[list[dict[str, object]]]) -> tuple[bytes, list[dict[str, object]]]:
    encoder, out, whole = FORMATS[form].fresh(), [], []
    out.append(encoder.begin())
    for batch in given_batches:
        made = [stored(event, len(whole) + n) for n, event in enumerate(batch)]
        whole += [json.loads(event.body) for event in made]
        out.append(encoder.events(made))
    out.append(encoder.end())
    return b"".join(out), whole


@given(batches)
def test_a_spreadsheet_reads_every_cell_and_sees_no_formula(some: list[list[dict[str, object]]]) -> None:
    file, whole = written("csv", some)
    header, *table = csv.reader(io.StringIO(file.decode(), newline=""))
    assert header == list(COLUMNS)
    assert len(table) == len(whole)
    for cells, event in zip(table, whole, strict=True):
        assert not [cell for cell in cells if re.match(r"[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]", cell)]
        for name, cell in zip(COLUMNS, cells, strict=True):
            value = event.get(name)
            text = cell[1:] if cell.startswith("'") else cell
            assert (json.loads(text) if isinstance(value, list | dict) else text) == ("" if value is None else value)


@given(batches)
def test_json_and_ndjson_hold_the_same_bytes(some: list[list[dict[str, object]]]) -> None:
    array, whole = written("json", some)
    lines, _ = written("ndjson", some)
    assert json.loads(array) == whole
    assert [json.loads(line) for line in lines.split(b"\n")[:-1]] == whole


@given(batches, st.integers(1, 5))
def test_parquet_in_row_groups_holds_every_row(some: list[list[dict[str, object]]], rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.export.parquet.GROUP_ROWS", rows)
        file, whole = written("parquet", some)
    read = pq.ParquetFile(io.BytesIO(file))
    assert read.num_row_groups >= (1 if whole else 0)
    found = [{name: row[name] for name in ("action", "message", "tags")} for row in read.read().to_pylist()]
    assert found == [{name: event.get(name) for name in ("action", "message", "tags")} for event in whole]


def test_parquet_keeps_no_more_than_a_row_group() -> None:
    encoder = ParquetEncoder()
    encoder.begin()
    event = stored({"action": "x", "metadata": {"x": "y" * 100_000}}, 0)
    given_out = [len(encoder.events([event] * 10)) for _ in range(60)]
    assert len([size for size in given_out if size]) >= 3


@given(texts, st.none() | st.integers(-(2**60), 2**61), st.none() | st.integers(-(2**60), 2**61))
def test_a_files_name_is_plain(name: str, start: int | None, end: int | None) -> None:
    tenant = Tenant("aaaaaaaa", name, b"", 0)
    made = file_name(tenant, EventQuery(received_at=Range(start, end)), "csv.gz")
    assert re.fullmatch(r"[a-z0-9-]*aaaaaaaa_[0-9A-Za-z]+_[0-9A-Za-z]+\.csv\.gz", made)
    assert len(made) < 120


@given(st.integers(0, 2**40), st.integers(0, 200), st.integers(1, 255))
def test_a_link_that_was_changed_is_none(expires: int, place: int, change: int) -> None:
    link = links.seal(TENANT, "job", expires)
    if expires > 5:
        assert links.verify(TENANT, link, 5).job_id == "job"
    other = Tenant("aaaaaaaa", "Acme", b"t" * 32, 0)
    with pytest.raises(Forbidden):
        links.verify(other, link, 5)
    raw = bytearray(link.encode())
    raw[place % len(raw)] ^= change
    with pytest.raises(Forbidden):
        links.verify(TENANT, raw.decode("latin-1"), 5)


@pytest.mark.parametrize("now", [10, 11, 1000])
def test_a_link_ends(now: int) -> None:
    link = links.seal(TENANT, "job", 10)
    with pytest.raises(Forbidden) as caught:
        links.verify(TENANT, link, now)
    assert caught.value.code == "link_expired"
