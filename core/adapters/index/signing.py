"""Requests to an OpenSearch domain that carry AWS's signature (Signature Version 4) instead of a password."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiobotocore.session import get_session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from core.errors import Unavailable

_SERVICE: Final = "es"
_DIGEST: Final = "X-Amz-Content-SHA256"


class Signature:
    """Signs with the credentials that AWS's own tools would find: variables, a task's or an instance's role.

    The driver asks for a signature where nothing can be awaited, so `refresh` goes before each request: it renews
    credentials that are about to lapse, and costs nothing otherwise.
    """

    def __init__(self, region: str, deadline: float) -> None:
        self._region = region
        self._deadline = deadline
        self._session = get_session()
        self._signer: SigV4Auth | None = None

    async def refresh(self) -> None:
        """Raise `Unavailable` unless there are credentials to sign with."""
        try:
            async with asyncio.timeout(self._deadline):
                credentials = await self._session.get_credentials()
                if credentials is None:
                    raise Unavailable("index", "there are no AWS credentials to sign requests to the index with")
                frozen = await credentials.get_frozen_credentials()
        except (BotoCoreError, TimeoutError, OSError) as error:
            raise Unavailable("index", f"no AWS credentials for the index: {type(error).__name__}") from error
        self._signer = SigV4Auth(frozen, _SERVICE, self._region)

    def __call__(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of the request, with its signature."""
        assert self._signer is not None  # noqa: S101 - `refresh` goes before
        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
        # A header that begins with x-amz has to be among the signed ones, so the digest is there before.
        request.headers[_DIGEST] = self._signer.payload(request)
        self._signer.add_auth(request)
        return dict(request.headers.items())
