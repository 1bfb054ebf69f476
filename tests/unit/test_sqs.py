"""What only a stub can make SQS do: refuse single messages, refuse groups, answer nonsense, answer nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from core.adapters.queue.sqs import SQS_MAX_BATCH_BYTES, SQS_MAX_BATCH_ENTRIES, SqsQueue
from core.errors import Invalid, Unavailable
from core.ports import Lease, Message

Answer = dict[str, Any] | web.Response
Call = tuple[str, dict[str, Any]]


@asynccontextmanager
async def stub(answer: Callable[[str, dict[str, Any]], Answer]) -> AsyncIterator[tuple[SqsQueue, list[Call]]]:
    """A queue on an SQS that answers as `answer` says, and the calls that reached it."""
    calls: list[Call] = []

    async def handle(request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        body = await request.json()
        calls.append((operation, body))
        made = answer(operation, body)
        return web.json_response(made, content_type="application/x-amz-json-1.0") if isinstance(made, dict) else made

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with SqsQueue(f"{url}/0/queue", "us-east-1", url, deadline=1) as queue:
            yield queue, calls
    finally:
        await runner.cleanup()


def taken(body: dict[str, Any]) -> Answer:
    return {"Successful": [{"Id": entry["Id"]} for entry in body["Entries"]], "Failed": []}


def refusal(message: str, status: int = 400) -> web.Response:
    text = json.dumps({"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": message})
    return web.Response(status=status, text=text, content_type="application/x-amz-json-1.0")


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials anywhere, and no search for them on the network."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


async def test_each_message_has_its_own_result() -> None:
    def answer(_: str, body: dict[str, Any]) -> Answer:
        failed = [
            {"Id": "1", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "m"},
            {"Id": "2", "SenderFault": False, "Code": "InternalError"},
            {"Id": "3", "SenderFault": True, "Code": "KMS.AccessDeniedException"},
        ]
        return {"Successful": [{"Id": "4"}, {"Id": "0"}], "Failed": failed}

    async with stub(answer) as (queue, _):
        results = await queue.send([Message(b"x")] * 6)
    assert [type(result) for result in results] == [
        type(None), Invalid, Unavailable, Unavailable, type(None), Unavailable,
    ]  # fmt: skip


async def test_batches_keep_to_the_wire_limits() -> None:
    sizes = [3, *[300_000] * 7, *[1] * 25, 768 * 1024, 5, 768 * 1024]

    async with stub(lambda _, body: taken(body)) as (queue, calls):
        results = await queue.send([Message(bytes([number]) * size) for number, size in enumerate(sizes)])
    assert results == [None] * len(sizes)
    sent = []
    for _, body in calls:
        bodies = [entry["MessageBody"] for entry in body["Entries"]]
        assert len(bodies) <= SQS_MAX_BATCH_ENTRIES
        assert sum(map(len, bodies)) <= SQS_MAX_BATCH_BYTES
        sent += [base64.b64decode(body) for body in bodies]
    assert sorted(sent) == sorted(bytes([number]) * size for number, size in enumerate(sizes))


async def test_the_group_goes_with_the_message() -> None:
    async with stub(lambda _, body: taken(body)) as (queue, calls):
        await queue.send([Message(b"x", "tenant01"), Message(b"y")])
    assert [entry.get("MessageGroupId") for entry in calls[0][1]["Entries"]] == ["tenant01", None]


async def test_an_sqs_without_groups_is_sent_none() -> None:
    def answer(_: str, body: dict[str, Any]) -> Answer:
        if any("MessageGroupId" in entry for entry in body["Entries"]):
            return refusal("The request includes MessageGroupId, which is not valid for this queue type")
        return taken(body)

    async with stub(answer) as (queue, calls):
        assert await queue.send([Message(b"x", "tenant01")]) == [None]
        assert await queue.send([Message(b"y", "tenant01")]) == [None]
    assert len(calls) == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        refusal("no", 400),
        refusal("no", 503),
        web.Response(text="<html>proxy</html>", content_type="text/html"),
        web.Response(status=500),
        web.Response(status=200, text="{", content_type="application/x-amz-json-1.0"),
    ],
    ids=["refused", "throttled", "html", "error", "cut off"],
)
async def test_every_other_answer_is_unavailable_and_not_retried(nonsense: web.Response) -> None:
    def answer(*_: object) -> Answer:
        return web.Response(status=nonsense.status, body=nonsense.body, content_type=nonsense.content_type)

    async with stub(answer) as (queue, calls):
        (result,) = await queue.send([Message(b"x")])
        assert isinstance(result, Unavailable)
        assert len(calls) == 1
        with pytest.raises(Unavailable):
            await queue.depth()
        assert len(calls) == 2


async def test_silence_is_unavailable() -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with SqsQueue(f"{url}/0/queue", "us-east-1", url, deadline=0.3) as queue:
        (result,) = await queue.send([Message(b"x")])
        assert isinstance(result, Unavailable)
        with pytest.raises(Unavailable):
            await queue.receive(1, 0, 30)
    assert len(silent) == 2
    for writer in silent:
        writer.close()
    server.close()


async def test_leases_are_handled_ten_at_a_time() -> None:
    def answer(_: str, body: dict[str, Any]) -> Answer:
        lost = [entry["Id"] for entry in body["Entries"] if entry["ReceiptHandle"].endswith("7")]
        good = [{"Id": entry["Id"]} for entry in body["Entries"] if entry["Id"] not in lost]
        return {"Successful": good, "Failed": [{"Id": id_, "SenderFault": True, "Code": "x"} for id_ in lost]}

    leases = [Lease(b"x", str(number), 1, 0.0) for number in range(25)]
    async with stub(answer) as (queue, calls):
        assert await queue.ack(leases) == 23
        kept = await queue.extend(leases, 30.2)
    assert [lease.handle for lease in kept] == [str(number) for number in range(25) if number % 10 != 7]
    assert sorted(len(body["Entries"]) for _, body in calls) == [5, 5, 10, 10, 10, 10]
    assert {entry["VisibilityTimeout"] for _, body in calls[3:] for entry in body["Entries"]} == {31}


async def test_an_ack_that_sqs_itself_failed_is_unavailable() -> None:
    failed = {"Successful": [], "Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]}
    async with stub(lambda *_: failed) as (queue, _):
        with pytest.raises(Unavailable):
            await queue.ack([Lease(b"x", "h", 1, 0.0)])


async def test_a_message_that_is_not_base64_is_delivered_as_it_is() -> None:
    def answer(_: str, body: dict[str, Any]) -> Answer:
        attributes = {"ApproximateReceiveCount": "3"}
        bodies = ["not base64 é", base64.b64encode(b"ours").decode()]
        return {"Messages": [{"Body": each, "ReceiptHandle": each, "Attributes": attributes} for each in bodies]}

    async with stub(answer) as (queue, _):
        leases = await queue.receive(10, 0, 30)
    assert [(lease.body, lease.receives) for lease in leases] == [("not base64 é".encode(), 3), (b"ours", 3)]


async def test_a_long_wait_is_split() -> None:
    async with stub(lambda *_: {}) as (queue, calls):
        assert await queue.receive(10, 0, 30) == []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await queue.receive(50, 45, 30)
    assert [body["WaitTimeSeconds"] for _, body in calls[:2]] == [0, 20]
    assert {body["MaxNumberOfMessages"] for _, body in calls} == {10}


async def test_a_queue_without_dead_letters_has_none() -> None:
    async with stub(lambda *_: {"Attributes": {"ApproximateNumberOfMessages": "4"}}) as (queue, _):
        depth = await queue.depth()
    assert (depth.waiting, depth.leased, depth.dead) == (4, 0, 0)
