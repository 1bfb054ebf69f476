"""Files of archived events: every byte comes back, and a file that changed is never believed."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.adapters.archive.objects import ObjectArchive, open_archive
from core.archiving.files import SegmentFiles
from core.archiving.parquet import decoded, encoded
from core.errors import Conflict
from core.ports import Stored
from core.tenant import for_system
from tests.contracts.stores import START, body_of
from tests.queries import events

SCOPE = for_system("aaaaaaaa", "test")


def stored(fields: dict[str, Any], n: int, content: bytes | None = None) -> Stored:
    body = body_of(SCOPE.tenant_id, fields, at=START + n)
    named = msgspec.json.decode(body)
    return Stored(
        named["id"], "202605", START - n, START + n, hashlib.sha256(body).digest(), body, content, f"envelope-{n}"
    )


@given(st.lists(st.tuples(events(), st.none() | st.binary(min_size=32, max_size=32)), min_size=1, max_size=8))
def test_every_event_comes_back_whole(some: list[tuple[dict[str, Any], bytes | None]]) -> None:
    given_ = [stored(fields, n, content) for n, (fields, content) in enumerate(some)]
    assert decoded(encoded(given_, 3)) == given_


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no file at all" * 9])
def test_what_is_no_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a file of events"):
        decoded(data)


def written(folder: Path) -> tuple[SegmentFiles, list[Stored], Any]:
    archive = open_archive(folder.as_uri(), region="us-east-1")
    files = SegmentFiles(archive, 3)
    some = [stored({"user_id": "ana", "tags": ["a"], "metadata": {"n": n}}, n) for n in range(50)]
    return files, some, asyncio.run(files.write(SCOPE, "s1", some, at=START, left=4))


def test_a_segment_says_what_is_in_its_file(tmp_path: Path) -> None:
    files, some, segment = written(tmp_path)
    assert (segment.events, segment.bytes, segment.left) == (50, sum(len(each.body) for each in some), 4)
    assert (segment.first.us, segment.last.us) == (START, START + 49)
    assert segment.hours == {START // 3_600_000_000: 50}
    data = (tmp_path / segment.name).read_bytes()
    assert (segment.size, segment.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert asyncio.run(files.read(segment)) == some
    table = pq.read_table(tmp_path / segment.name)  # what anyone's tools see
    assert table.column("user_id").to_pylist() == ["ana"] * 50
    assert table.column("received_at")[0].as_py().timestamp() == START / 1e6
    assert pq.ParquetFile(tmp_path / segment.name).metadata.row_group(0).column(0).compression == "ZSTD"
    asyncio.run(files.remove(SCOPE, "s1", START))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_that_changed_is_never_believed(tmp_path: Path) -> None:
    files, some, segment = written(tmp_path)
    path = tmp_path / segment.name
    data = path.read_bytes()
    forged = [*some[:-1], stored({"user_id": "eve"}, 49)]
    changed = [data[:-1], data[:99] + bytes([data[99] ^ 1]) + data[100:], b"", encoded(forged, 3)]
    for each in changed:
        path.write_bytes(each)
        with pytest.raises(Conflict, match="not as it was written"):
            asyncio.run(files.read(segment))
    path.unlink()
    with pytest.raises(Conflict):
        asyncio.run(files.read(segment))
    # Even one whose checksum is right must hold events that are as their hashes say.
    torn = [*some[:-1], Stored(some[-1].id, "202605", 1, 2, b"h" * 32, some[-1].body)]
    path.write_bytes(lie := encoded(torn, 3))
    with pytest.raises(Conflict):
        asyncio.run(files.read(replace(segment, sha256=hashlib.sha256(lie).hexdigest())))


def test_what_the_archive_does_not_give_back_is_not_archived(tmp_path: Path) -> None:
    class Forgetful:
        """Answers well and keeps something else."""

        def __init__(self, archive: ObjectArchive) -> None:
            self.archive = archive

        def __getattr__(self, name: str) -> Any:
            return getattr(self.archive, name)

        async def keep(self, name: str, data: bytes) -> None:
            await self.archive.keep(name, data[:-10])

    archive = open_archive(tmp_path.as_uri(), region="us-east-1")
    files = SegmentFiles(Forgetful(archive), 3)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        asyncio.run(files.write(SCOPE, "s1", [stored({}, 1)], at=START))
