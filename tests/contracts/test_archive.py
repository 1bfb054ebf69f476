"""`Archive` in a folder and, where one is named, in a real S3."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from core.adapters.archive.absent import NoArchive
from core.adapters.archive.keeping import Keeping
from core.adapters.archive.objects import ObjectArchive, open_archive
from core.errors import NotFound, Unavailable, Unset
from tests.conftest import LIVE_S3, s3_bucket

REGION = "us-east-1"
MIB = 1024 * 1024
LOCKED = "ocelot-tests-locked"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.live)])
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectArchive:
    if request.param == "folder":
        return open_archive((tmp_path / "made" / "archive").as_uri(), region=REGION)
    if not LIVE_S3:
        pytest.skip("no OCELOT_TEST_S3_ENDPOINT_URL")
    return open_archive(f"s3://{s3_bucket()}/{uuid.uuid4().hex}", region=REGION, endpoint=LIVE_S3)


async def pieces(count: int, size: int = MIB) -> AsyncIterator[bytes]:
    for n in range(count):
        yield bytes([n]) * size


async def content(archive: ObjectArchive, name: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in archive.read(name, start, end)])


async def test_a_file_is_read_as_it_was_put(archive: ObjectArchive) -> None:
    await archive.put("a/b/one", b"first")
    await archive.put("a/b/one", b"the second")
    await archive.put("a/b/none", b"")
    assert (await archive.size("a/b/one"), await content(archive, "a/b/one")) == (10, b"the second")
    assert (await archive.size("a/b/none"), await content(archive, "a/b/none")) == (0, b"")
    assert await archive.size("a/b/two") is None
    assert await archive.size("a/b") is None


@pytest.mark.parametrize("count", [0, 1, 21])
async def test_a_stream_is_one_file_of_any_size(archive: ObjectArchive, count: int) -> None:
    await archive.put_stream("big", pieces(count), count * MIB)
    whole = b"".join([piece async for piece in pieces(count)])
    assert await archive.size("big") == len(whole)
    assert await content(archive, "big") == whole


async def test_a_part_of_a_file(archive: ObjectArchive) -> None:
    await archive.put_stream("big", pieces(9), 9 * MIB)
    whole = b"".join([piece async for piece in pieces(9)])
    for start, end in ((5, None), (MIB - 1, MIB + 1), (8 * MIB, 9 * MIB), (0, 1), (9 * MIB - 1, None)):
        assert await content(archive, "big", start, end) == whole[start:end]


async def test_a_file_of_nothing_and_a_part_of_nothing(archive: ObjectArchive) -> None:
    await archive.put("t/empty", b"")
    await archive.put("t/file", b"0123")
    for name, start, end in (("t/empty", 0, 0), ("t/empty", 0, None), ("t/file", 2, 2)):
        assert b"".join([piece async for piece in archive.read(name, start, end)]) == b""
    with pytest.raises(NotFound):
        async for _ in archive.read("t/missing", 0, 0):
            pass


async def test_a_stream_that_fails_leaves_nothing(archive: ObjectArchive) -> None:
    async def failing() -> AsyncIterator[bytes]:
        async for piece in pieces(20):
            yield piece
        raise NotFound("a part is gone")

    with pytest.raises(NotFound):
        await archive.put_stream("x/big", failing(), 20 * MIB)
    assert await archive.size("x/big") is None


async def test_what_is_not_there_is_not_found(archive: ObjectArchive) -> None:
    with pytest.raises(NotFound):
        await content(archive, "none")


async def test_a_folder_is_removed_and_its_namesakes_stay(archive: ObjectArchive) -> None:
    for name in ("t/job/file", "t/job/parts/1", "t/job2/file", "t/job-file"):
        await archive.put(name, b"x")
    await archive.remove("t/job")
    await archive.remove("t/job")
    left = [await archive.size(name) for name in ("t/job/file", "t/job/parts/1", "t/job2/file", "t/job-file")]
    assert left == [None, None, 1, 1]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "", "a/../b", "a/.", "a\\b", "a b"])
async def test_no_name_leaves_the_archive(archive: ObjectArchive, name: str) -> None:
    with pytest.raises(AssertionError):
        await archive.put(name, b"x")
    with pytest.raises(AssertionError):
        await archive.remove(name)


async def test_an_archive_that_is_away_is_unavailable_and_names_no_host() -> None:
    away = open_archive("s3://bucket", region=REGION, endpoint="http://127.0.0.1:1")
    for call in (away.put("x", b"x"), away.size("x"), away.put_stream("x", pieces(1), MIB), content(away, "x")):
        with pytest.raises(Unavailable) as caught:
            await call
        assert "127.0.0.1" not in caught.value.message + caught.value.public


@pytest.mark.live
@pytest.mark.skipif(not LIVE_S3, reason="no OCELOT_TEST_S3_ENDPOINT_URL")
async def test_no_such_bucket_is_unavailable() -> None:
    away = open_archive(f"s3://none-{uuid.uuid4().hex}", region=REGION, endpoint=LIVE_S3)
    with pytest.raises(Unavailable):
        await away.put("x", b"x")


@pytest.mark.parametrize("url", ["http://x/y", "file://host/x", "s3://", "ftp://x", "/tmp/x", ""])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        open_archive(url, region=REGION)


async def test_no_archive_refuses_all() -> None:
    none = NoArchive()
    for call in (none.put("x", b""), none.size("x"), none.remove("x"), none.put_stream("x", pieces(1), 1)):
        with pytest.raises(Unset):
            await call
    with pytest.raises(Unset):
        await anext(none.read("x"))


async def test_a_file_that_is_kept_is_read_as_it_was_put(archive: ObjectArchive) -> None:
    await archive.keep("archive/t/2026/one/events", b"kept")
    assert await content(archive, "archive/t/2026/one/events") == b"kept"
    await archive.remove("archive/t/2026/one")
    assert await archive.size("archive/t/2026/one/events") is None


@pytest.mark.live
@pytest.mark.parametrize("storage_class", [None, "STANDARD_IA"])
async def test_a_file_that_is_kept_is_locked(storage_class: str | None) -> None:
    if not LIVE_S3:
        pytest.skip("no OCELOT_TEST_S3_ENDPOINT_URL")
    prefix = uuid.uuid4().hex
    async with get_session().create_client("s3", endpoint_url=LIVE_S3, region_name=REGION) as client:
        if LOCKED not in [bucket["Name"] for bucket in (await client.list_buckets())["Buckets"]]:
            await client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
        keeping = Keeping(storage_class, 1, "GOVERNANCE")
        archive = open_archive(f"s3://{LOCKED}/{prefix}", region=REGION, endpoint=LIVE_S3, keeping=keeping)
        await archive.keep("a/one", b"kept")
        assert await content(archive, "a/one") == b"kept"
        lock = (await client.get_object_retention(Bucket=LOCKED, Key=f"{prefix}/a/one"))["Retention"]
        assert lock["Mode"] == "GOVERNANCE"
        assert 0.9 < (lock["RetainUntilDate"] - datetime.now(UTC)).total_seconds() / 86_400 <= 1
        await archive.put("a/two", b"not kept")
        with pytest.raises(ClientError):
            await client.get_object_retention(Bucket=LOCKED, Key=f"{prefix}/a/two")


@pytest.mark.live
async def test_without_a_lock_nothing_is_kept() -> None:
    """A bucket that has no lock is a mistake of the settings, and no file of it is good for what is to stay."""
    if not LIVE_S3:
        pytest.skip("no OCELOT_TEST_S3_ENDPOINT_URL")
    keeping = Keeping(None, 1, "GOVERNANCE")
    archive = open_archive(f"s3://{s3_bucket()}/{uuid.uuid4().hex}", region=REGION, endpoint=LIVE_S3, keeping=keeping)
    with pytest.raises(Unavailable, match="no lock"):
        await archive.keep("a/one", b"kept")
