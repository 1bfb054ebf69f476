"""What becomes of a file that is to stay: synced in a folder, locked in a bucket."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Keeping:
    """S3's storage class and object lock of files that stay; 0 days: no lock."""

    storage_class: str | None = None
    lock_days: int = 0
    lock_mode: str = "GOVERNANCE"

    @property
    def attributes(self) -> dict[str, str]:
        return {"Storage-Class": self.storage_class} if self.storage_class else {}


class SyncedFolder:
    """Writes a file of the folder, and the folders down to it, to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, name: str) -> None:
        await asyncio.to_thread(self._sync, self._folder / name)

    def _sync(self, path: Path) -> None:
        for each in (path, *path.parents):
            number = os.open(each, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
            if each == self._folder:
                return


class LockedBucket:
    """Puts S3's object lock on a file. The bucket must have been made with object lock, which it then has for good."""

    def __init__(self, bucket: str, prefix: str | None, region: str, endpoint: str | None, keeping: Keeping) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._region = region
        self._endpoint = endpoint
        self._keeping = keeping

    async def __call__(self, name: str) -> None:
        if not self._keeping.lock_days:
            return
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session
        from botocore.exceptions import BotoCoreError, ClientError

        until = datetime.now(UTC) + timedelta(days=self._keeping.lock_days)
        config = AioConfig(connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"})
        key = f"{self._prefix}/{name}" if self._prefix else name
        session = get_session()
        try:
            async with session.create_client(
                "s3", endpoint_url=self._endpoint, region_name=self._region, config=config
            ) as client:
                await client.put_object_retention(
                    Bucket=self._bucket, Key=key, Retention={"Mode": self._keeping.lock_mode, "RetainUntilDate": until}
                )
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("archive", f"archive: no lock: {type(error).__name__}") from error
