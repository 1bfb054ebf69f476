"""The queue on Amazon SQS: a standard queue, long-polled, with the message group as its fairness key."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final, Self

from botocore.exceptions import ClientError

from core.adapters.queue.limits import fault_of
from core.adapters.queue.sqs_client import CALL_SECONDS, connect
from core.errors import Invalid, Unavailable
from core.ports import Depth, Lease, Message

_log = logging.getLogger(__name__)

SQS_MAX_MESSAGE_BYTES: Final = 1024 * 1024
SQS_MAX_BATCH_BYTES: Final = 1024 * 1024
SQS_MAX_BATCH_ENTRIES: Final = 10
SQS_MAX_WAIT_SECONDS: Final = 20
SQS_MAX_LEASE_SECONDS: Final = 12 * 3600
# SQS says when it leased a message only to the second it answered in: the answer is taken to travel no longer.
_TRAVEL_SECONDS: Final = 1.0
_CONCURRENT_BATCHES: Final = 4
# Refusals of one entry that its own content causes. Others that SQS blames on the sender (a key it may not use, a
# throttle) pass, so the message may be sent again.
_CONTENT_FAULTS: Final = ("InvalidMessageContents", "InvalidAttributeValue", "InvalidParameterValue", "MessageTooLong")


class SqsQueue:
    """A `core.ports.Queue` in the SQS queue `url`; dead letters and their `max_receives` are that queue's own.

    Whole seconds only: waits and leases are rounded up. `ack` counts what SQS accepted, which on AWS includes some
    leases lost meanwhile. A message that is not base64 is delivered as the bytes it has. A receive that is cancelled
    may leave messages leased until their leases lapse.
    """

    def __init__(self, url: str, region: str, endpoint: str | None = None, *, deadline: float = CALL_SECONDS) -> None:
        self._url = url
        self._region = region
        self._endpoint = endpoint
        self._deadline = deadline
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._clients: dict[bool, Any] = {}
        self._grouped = True
        self._dead_url: str | None = None
        self._closed = False

    async def open(self) -> None:
        """Make the client now (0.1 s, mostly reading its model of SQS); raises as every call would."""
        await self._client(polls=False)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def send(self, messages: Sequence[Message]) -> list[Exception | None]:
        results: list[Exception | None] = [fault_of(message) for message in messages]
        slots = asyncio.Semaphore(_CONCURRENT_BATCHES)

        async def send_batch(batch: list[int]) -> None:
            async with slots:
                outcome = await self._send_batch([messages[index] for index in batch])
            for index, result in zip(batch, outcome, strict=True):
                results[index] = result

        fit = [index for index, fault in enumerate(results) if fault is None]
        await asyncio.gather(*(send_batch(batch) for batch in _batches(messages, fit)))
        return results

    async def receive(self, count: int, wait: float, lease: float) -> list[Lease]:
        until = time.monotonic() + wait
        while True:
            left = max(0.0, until - time.monotonic())
            seconds = min(math.ceil(left), SQS_MAX_WAIT_SECONDS)
            leases = await self._receive_once(min(count, SQS_MAX_BATCH_ENTRIES), seconds, lease)
            if leases or left <= seconds:
                return leases

    async def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        expires_at = time.monotonic() + lease
        good = await self._for_each(leases, "change_message_visibility_batch", VisibilityTimeout=_lease_seconds(lease))
        return [replace(each, expires_at=expires_at) for each, held in zip(leases, good, strict=True) if held]

    async def ack(self, leases: Sequence[Lease]) -> int:
        return sum(await self._for_each(leases, "delete_message_batch"))

    async def release(self, leases: Sequence[Lease], delay: float = 0) -> None:
        await self._for_each(leases, "change_message_visibility_batch", VisibilityTimeout=_lease_seconds(delay))

    async def depth(self) -> Depth:
        attributes = await self._attributes(self._url)
        return Depth(
            waiting=_number(attributes, "") + _number(attributes, "Delayed"),
            leased=_number(attributes, "NotVisible"),
            dead=await self._dead(attributes.get("RedrivePolicy")),
        )

    async def ping(self) -> None:
        await self._attributes(self._url)

    async def aclose(self) -> None:
        self._closed = True
        async with self._opening:
            self._clients.clear()
            await self._stack.aclose()

    async def _client(self, *, polls: bool) -> Any:
        """The client for receiving (`polls`), whose calls take long on purpose, or the one for everything else."""
        if self._closed:
            raise Unavailable("queue", f"queue {self._url}: closed")
        client = self._clients.get(polls)
        if client is None:
            async with self._opening:
                client = self._clients.get(polls)
                if client is None:
                    wait = SQS_MAX_WAIT_SECONDS if polls else 0
                    try:
                        client = await self._stack.enter_async_context(
                            connect(self._region, self._endpoint, wait + self._deadline)
                        )
                    except Exception as error:
                        raise self._unavailable(error) from error
                    self._clients[polls] = client
        return client

    async def _call(self, operation: str, *, wait: float = 0, polls: bool = False, **arguments: Any) -> dict[str, Any]:
        client = await self._client(polls=polls)
        try:
            async with asyncio.timeout(wait + self._deadline):
                answer: dict[str, Any] = await getattr(client, operation)(**arguments)
                return answer
        except Exception as error:  # besides its own errors, the driver lets through those of aiohttp, ssl and json
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable("queue", f"queue {self._url}: {type(error).__name__}: {error}")

    async def _send_batch(self, messages: Sequence[Message]) -> list[Exception | None]:
        grouped = self._grouped and any(message.group for message in messages)
        entries = [_entry(str(number), message, grouped) for number, message in enumerate(messages)]
        try:
            answer = await self._call("send_message_batch", QueueUrl=self._url, Entries=entries)
        except Unavailable as error:
            if grouped and _refuses_groups(error):
                _log.warning("queue %s takes no message groups: a busy tenant may delay others", self._url)
                self._grouped = False
                return await self._send_batch(messages)
            return [error] * len(messages)
        missing = Unavailable("queue", f"queue {self._url}: no answer for this message")
        results: list[Exception | None] = [missing] * len(messages)
        for taken in answer.get("Successful", ()):
            results[int(taken["Id"])] = None
        for failed in answer.get("Failed", ()):
            text = f"queue {self._url}: {failed.get('Code')}: {failed.get('Message', '')}"
            own = failed.get("SenderFault") and str(failed.get("Code")).rpartition(".")[2] in _CONTENT_FAULTS
            results[int(failed["Id"])] = Invalid(text) if own else Unavailable("queue", text)
        return results

    async def _receive_once(self, count: int, wait: int, lease: float) -> list[Lease]:
        asked_at = time.monotonic()
        answer = await self._call(
            "receive_message",
            wait=wait,
            polls=True,
            QueueUrl=self._url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait,
            VisibilityTimeout=_lease_seconds(lease),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        expires_at = max(asked_at, time.monotonic() - _TRAVEL_SECONDS) + lease
        return [
            Lease(
                _decode(message["Body"]),
                message["ReceiptHandle"],
                int(message["Attributes"]["ApproximateReceiveCount"]),
                expires_at,
            )
            for message in answer.get("Messages", ())
        ]

    async def _for_each(self, leases: Sequence[Lease], operation: str, **arguments: int) -> list[bool]:
        """Whether the operation took effect for each lease; raises `Unavailable` unless SQS knows of every one."""

        async def one_batch(batch: Sequence[Lease]) -> list[bool]:
            entries = [
                {"Id": str(number), "ReceiptHandle": lease.handle, **arguments} for number, lease in enumerate(batch)
            ]
            answer = await self._call(operation, QueueUrl=self._url, Entries=entries)
            good = {taken["Id"] for taken in answer.get("Successful", ())}
            lost = {failed["Id"] for failed in answer.get("Failed", ()) if failed.get("SenderFault")}
            if len(good) + len(lost) < len(batch):
                raise Unavailable("queue", f"queue {self._url}: {operation} failed for some messages")
            return [entry["Id"] in good for entry in entries]

        step = SQS_MAX_BATCH_ENTRIES
        batches = [leases[start : start + step] for start in range(0, len(leases), step)]
        answers = await asyncio.gather(*map(one_batch, batches), return_exceptions=True)
        results: list[bool] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            results += answer
        return results

    async def _attributes(self, url: str) -> dict[str, str]:
        answer = await self._call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
        attributes: dict[str, str] | None = answer.get("Attributes")
        if not attributes:  # the driver makes an empty answer of any text that came with status 200
            raise Unavailable("queue", f"queue {url}: no answer of SQS")
        return attributes

    async def _dead(self, policy: str | None) -> int:
        if not policy:
            return 0
        if self._dead_url is None:
            account, name = json.loads(policy)["deadLetterTargetArn"].split(":")[-2:]
            owner = {} if self._endpoint else {"QueueOwnerAWSAccountId": account}
            self._dead_url = (await self._call("get_queue_url", QueueName=name, **owner))["QueueUrl"]
        attributes = await self._attributes(self._dead_url)
        return sum(_number(attributes, kind) for kind in ("", "NotVisible", "Delayed"))


def _batches(messages: Sequence[Message], indexes: Sequence[int]) -> Iterator[list[int]]:
    """The indexes in runs that one request can carry."""
    batch: list[int] = []
    size = 0
    for index in indexes:
        encoded = -(-len(messages[index].body) // 3) * 4
        if batch and (len(batch) == SQS_MAX_BATCH_ENTRIES or size + encoded > SQS_MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += encoded
    if batch:
        yield batch


def _entry(id_: str, message: Message, grouped: bool) -> dict[str, str]:
    entry = {"Id": id_, "MessageBody": base64.b64encode(message.body).decode()}
    if grouped and message.group:
        entry["MessageGroupId"] = message.group
    return entry


def _decode(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return body.encode()


def _refuses_groups(error: Unavailable) -> bool:
    return isinstance(error.__cause__, ClientError) and "MessageGroupId" in str(error)


def _lease_seconds(seconds: float) -> int:
    return min(math.ceil(seconds), SQS_MAX_LEASE_SECONDS)


def _number(attributes: dict[str, str], kind: str) -> int:
    return int(attributes.get(f"ApproximateNumberOfMessages{kind}", 0))
