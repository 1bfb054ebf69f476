"""One request to OpenSearch: its deadline, no retries, and the port's errors in place of the driver's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as NotConnected
from opensearchpy.exceptions import ConnectionTimeout, OpenSearchException, TransportError
from opensearchpy.serializer import JSONSerializer

from core.adapters.index.bulk import Cause
from core.adapters.index.signing import Signature
from core.adapters.index.verdict import Verdict, verdict
from core.adapters.index.wire import WireConnection
from core.errors import Blocked, TimedOut, Unavailable

DEADLINE: Final = 5.0
WRITE_DEADLINE: Final = 15.0
CONNECTIONS: Final = 16
_logger: Final = logging.getLogger(__name__)


class _Verbatim(JSONSerializer):
    """Bodies go and come as they are: the adapter encodes and decodes them itself, by type."""

    def dumps(self, data: Any) -> Any:
        return data

    def loads(self, s: str) -> Any:
        return s


class Client:
    """Calls to one cluster. A call that does not succeed within its deadline raises `Unavailable` or `Blocked`.

    `sign_for` is the AWS region of a domain that wants signed requests; without it, the URL's account is sent, if any.
    A server's certificate is checked against `ca_file`, or else against the public authorities.
    """

    def __init__(
        self,
        url: str,
        deadline: float = DEADLINE,
        write_deadline: float = WRITE_DEADLINE,
        *,
        sign_for: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.deadline = deadline
        self.write_deadline = write_deadline
        self._signature = None if sign_for is None else Signature(sign_for, deadline)
        self._driver = AsyncOpenSearch(
            hosts=[url],
            connection_class=WireConnection,
            http_auth=self._signature,
            ca_certs=None if ca_file is None else str(ca_file),
            serializer=_Verbatim(),
            max_retries=0,
            retry_on_status=(),
            sniff_on_start=False,
            sniff_on_connection_fail=False,
            timeout=deadline,
            maxsize=CONNECTIONS,
            # gzip of a bulk takes 18 us of CPU an event of 1.5 KB, as much again as the rest of the sending.
            http_compress=False,
        )

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: bytes | None = None,
        *,
        writes: bool = False,
        content_type: str = "application/json",
        expected: str | None = None,
    ) -> str:
        """The answer's JSON as text. An error of the type `expected` is an answer too, an empty one.

        What `writes` has the longer deadline.
        """
        deadline = self.write_deadline if writes else self.deadline
        if self._signature is not None:
            await self._signature.refresh()
        try:
            # A copy, because the driver takes entries out of what it is given.
            answer = await self._driver.transport.perform_request(
                method, path, params=dict(params), body=body, timeout=deadline, headers={"content-type": content_type}
            )
        except OpenSearchException as error:
            if isinstance(error, TransportError) and expected is not None and error.error == expected:
                return ""
            raise _translated(error) from error
        return str(answer)

    async def aclose(self) -> None:
        await self._driver.close()


def error_of(bad: Verdict) -> Unavailable:
    """The exception for a verdict that is no document's fault."""
    return Blocked("index") if bad is Verdict.BLOCKED else Unavailable("index")


def _translated(error: OpenSearchException) -> Unavailable:
    """The port's error for the driver's. The cause is for the log alone: it may quote events."""
    if isinstance(error, ConnectionTimeout):
        return TimedOut("index", "the index gave no answer in time")
    if not isinstance(error, TransportError) or isinstance(error, NotConnected):
        return Unavailable("index", f"the index cannot be reached: {type(error).__name__}")
    status, cause = error.status_code, Cause(type=str(error.error))
    if isinstance(error.info, dict):
        with suppress(msgspec.ValidationError):  # a proxy's own idea of an error
            cause = msgspec.convert(error.info.get("error"), Cause)
    _logger.warning("the index answered %s: %s: %s", status, cause.type, cause.reason[:500])
    return error_of(verdict(status, cause) if isinstance(status, int) else Verdict.UNAVAILABLE)
