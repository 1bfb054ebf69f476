"""The parts of an import: lines, keys, items, batches, the progress on disk, and bulk requests until all is settled."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cli.context import Context, UserError
from cli.importing.bulk import BulkClient, OutOfPatience
from cli.importing.items import Item, Keys, Refusal, item_of
from cli.importing.lines import Line, Lines
from cli.importing.run import BATCH_BYTES, BATCH_EVENTS, Batch, Hooks, Importer, batches
from cli.importing.state import Progress, state_of
from core import event

NOW = 1_700_000_000_000_000
CONTEXT = Context("http://ocelot.test", "token", "tenant00")


def _lines(*data: bytes) -> Iterator[Line]:
    return (Line(number, one) for number, one in enumerate(data, 1))


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- lines


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_lines_are_the_same_however_packed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(b'\xef\xbb\xbf{"a":1}\r\n\n  \n {"b":2} \n{"c":"\xc3\xa9"}'))
    with Lines(str(path)) as lines:
        assert list(lines) == [Line(1, b'{"a":1}'), Line(4, b'{"b":2}'), Line(5, b'{"c":"\xc3\xa9"}')]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_members_and_frames_one_after_another_are_one_file(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(b'{"a":1}\n') + pack(b'{"a":2}\n'))
    with Lines(str(path)) as lines:
        assert [line.data for line in lines] == [b'{"a":1}', b'{"a":2}']


def test_a_line_longer_than_an_event_is_told_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fits = b'{"a":"' + b"x" * (event.MAX_EVENT_BYTES - 8) + b'"}'
    path.write_bytes(b"y" * 3 * event.MAX_EVENT_BYTES + b"\n" + fits + b"\r\n" + fits + b"x\n" + b"{}")
    with Lines(str(path)) as lines:
        assert list(lines) == [Line(1, None), Line(2, fits), Line(3, None), Line(4, b"{}")]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 20, 500])
def test_a_file_cut_off_is_told_from_one_that_ended(tmp_path: Path, pack: Callable[[bytes], bytes], cut: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(b"".join(b'{"a":%d}\n' % number for number in range(2_000)))[:-cut])
    with Lines(str(path)) as lines, pytest.raises(UserError, match="damaged after line"):
        list(lines)


def test_a_file_that_is_broken_is_told(tmp_path: Path) -> None:
    packed = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(b'{"a":1}\n' * 20_000))
    packed[len(packed) // 2] ^= 0xFF
    with Lines(str(_file(tmp_path / "log", bytes(packed)))) as lines, pytest.raises(UserError, match="damaged"):
        list(lines)


def test_a_file_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        Lines(str(tmp_path / "none"))


# --- keys


def test_a_key_is_the_source_the_log_the_line_and_its_ordinal() -> None:
    keys = Keys("windows")
    one, two = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
    assert [keys.next(line) for line in (b"one", b"two", b"one", b"one")] == [
        f"windows:{one[:16]}:{one}:0",
        f"windows:{one[:16]}:{two}:0",
        f"windows:{one[:16]}:{one}:1",
        f"windows:{one[:16]}:{one}:2",
    ]


def test_two_logs_share_no_key_but_by_a_given_origin() -> None:
    def keys(origin: str | None, *lines: bytes) -> set[str]:
        made = Keys("cloudtrail", origin)
        return {made.next(line) for line in lines}

    assert not keys(None, b"a", b"shared") & keys(None, b"b", b"shared")
    assert len(keys("trail", b"a", b"shared") & keys("trail", b"b", b"shared")) == 1


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"d"])))
def test_keys_are_distinct_repeatable_and_short(data: list[bytes]) -> None:
    first, second = Keys("cloudtrail"), Keys("cloudtrail")
    made = [first.next(line) for line in data]
    assert len(set(made)) == len(made)
    assert made == [second.next(line) for line in data]
    assert all(len(key.encode()) <= event.MAX_KEY_BYTES for key in made)


# --- items


def _item(source: str, data: bytes | None) -> Item | Refusal:
    return item_of(source, Line(7, data), "key:0", NOW)


def test_the_original_goes_into_metadata_byte_for_byte() -> None:
    original = b'{"b" : 1.50, "a":123456789012345678901234567890, "huge":1e400, "esc":"\\u00e9", "eventName":"X"}'
    made = _item("cloudtrail", original)
    assert isinstance(made, Item)
    decoded = event.decode(made.data)
    assert bytes(decoded.metadata) == original  # type: ignore[arg-type]
    assert (decoded.action, decoded.idempotency_key) == ("aws.X", "key:0")


def test_an_event_of_ocelots_own_form_only_gets_its_key() -> None:
    made = _item("ndjson", b'{"action": "user.login", "metadata": {"n": 1.50} }')
    assert made == Item(7, b'{"action": "user.login", "metadata": {"n": 1.50},"idempotency_key":"key:0"}')
    assert _item("ndjson", b"{ }") == Item(7, b'{"idempotency_key":"key:0"}')


def test_a_key_of_its_own_stays_and_a_null_is_none() -> None:
    own = b'{"action":"a","idempotency_key":"mine"}'
    assert _item("ndjson", own) == Item(7, own)
    made = _item("ndjson", b'{"action":"a","idempotency_key":null}')
    assert isinstance(made, Item)
    assert event.decode(made.data).idempotency_key == "key:0"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", "malformed_json"),
        (b"{} {}", "malformed_json"),
        (b'{"a":NaN}', "malformed_json"),
        (b'{"a":"\xff"}', "malformed_json"),
        (b"[1]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "too_deep"),
        (None, "event_too_large"),
    ],
)
@pytest.mark.parametrize("source", ["k8s", "ndjson"])
def test_a_line_that_is_no_object_is_refused_by_its_number(source: str, data: bytes | None, code: str) -> None:
    made = _item(source, data)
    assert isinstance(made, Refusal)
    assert (made.line, made.code) == (7, code)


def test_a_line_near_the_limit_leaves_named_fields_out_rather_than_itself() -> None:
    original = json.dumps({"eventName": "X", "eventTime": "2023-07-10T12:00:00Z", "userAgent": "u" * 8000, "pad": ""})
    original = original[:-2] + "p" * (event.MAX_EVENT_BYTES - len(original) - 200) + '"}'
    made = _item("cloudtrail", original.encode())
    assert isinstance(made, Item)
    decoded = event.decode(made.data)
    assert bytes(decoded.metadata) == original.encode()  # type: ignore[arg-type]
    assert (decoded.action, decoded.timestamp) == ("aws.X", "2023-07-10T12:00:00.000000Z")
    assert decoded.user_agent is None


# --- batches


def _batches(path: Path, done: int = 0) -> list[Batch]:
    with Lines(str(path)) as lines:
        return list(batches(lines, "ndjson", Keys("ndjson"), done, NOW))


def test_a_batch_closes_on_count_and_on_bytes(tmp_path: Path) -> None:
    small = _batches(_file(tmp_path / "small", b'{"action":"a"}\n' * (BATCH_EVENTS * 2 + 1)))
    assert [len(batch.items) for batch in small] == [BATCH_EVENTS, BATCH_EVENTS, 1]
    big = b'{"action":"a","message":"' + b"m" * 60_000 + b'"}\n'
    for batch in _batches(_file(tmp_path / "big", big * 100)):
        assert sum(len(item.data) for item in batch.items) < BATCH_BYTES + event.MAX_EVENT_BYTES


@given(done=st.integers(0, 12), data=st.lists(st.sampled_from([b'{"a":1}', b'{"a":2}', b"", b"bad"]), max_size=12))
def test_going_on_gives_the_same_items_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, done: int, data: list[bytes]
) -> None:
    path = _file(tmp_path_factory.mktemp("lines") / "log", b"\n".join(data))
    whole, rest = _batches(path), _batches(path, done)
    assert [i for b in rest for i in b.items] == [i for b in whole for i in b.items if i.line > done]
    assert [r.line for b in rest for r in b.refusals] == [r.line for b in whole for r in b.refusals if r.line > done]


async def test_a_batch_counts_as_done_only_when_all_before_it_are(tmp_path: Path) -> None:
    state = state_of(str(_file(tmp_path / "log", b"")), "k8s", None, CONTEXT, tmp_path / "note")
    assert state is not None
    importer = Importer(
        CONTEXT, state, Progress(), Hooks(lambda _: None, lambda _, __: None), patience=1.0, in_flight=3
    )
    client = Server(_say(202)).client()
    seen = []
    for number in (1, 2, 0):
        await importer._send(client, number, Batch(items=ITEMS, last_line=10 * (number + 1)))
        seen.append(importer.progress.lines)
    assert seen == [0, 0, 30]
    assert importer.progress.accepted == 3 * len(ITEMS)


# --- progress on disk


def test_progress_is_of_this_file_unchanged_this_tenant_and_this_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCELOT_HOME", str(tmp_path / "home"))
    log = _file(tmp_path / "log", b"{}\n")

    def loaded(context: Context = CONTEXT, source: str = "k8s", origin: str | None = None) -> Progress:
        state = state_of(str(log), source, origin, context, None)
        assert state is not None
        return state.load()

    state = state_of(str(log), "k8s", None, CONTEXT, None)
    assert state is not None
    state.save(Progress(lines=3, accepted=2, refused=1))
    assert loaded() == Progress(3, 2, 1)
    assert loaded(source="okta") == loaded(origin="o") == Progress()
    assert (
        loaded(Context(CONTEXT.api_url, "t", "other000")) == loaded(Context("http://b", "t", "tenant00")) == Progress()
    )
    log.write_bytes(b"{}\n{}\n")
    assert loaded() == Progress()


def test_damaged_progress_counts_as_none_and_that_of_another_file_too(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    one, other = _file(tmp_path / "one", b"{}"), _file(tmp_path / "other", b"{}")

    def state(log: Path) -> Any:
        return state_of(str(log), "k8s", None, CONTEXT, note)

    state(one).save(Progress(5, 5, 0))
    assert state(one).load() == Progress(5, 5, 0)
    assert state(other).load() == Progress()
    note.write_text("{")
    assert state(one).load() == Progress()
    state(one).forget()
    assert not note.exists()


def test_a_pipe_has_no_progress() -> None:
    assert state_of("-", "k8s", None, CONTEXT, None) is None


# --- bulk requests

ITEMS = [Item(number, b'{"action":"a%d"}' % number) for number in range(1, 5)]


class Server:
    """Answers each request by the next of `answers`: a function of the events sent, or an exception."""

    def __init__(self, *answers: Callable[[list[Any]], httpx.Response] | Exception) -> None:
        self.answers = list(answers)
        self.received: list[list[Any]] = []
        self.slept: list[float] = []

    def client(self, patience: float = 60.0) -> BulkClient:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return BulkClient(CONTEXT, http, patience, sleep=sleep, clock=lambda: sum(self.slept))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer token"
        body = zstandard.ZstdDecompressor().decompressobj().decompress(request.content)
        events = [json.loads(line)["action"] for line in body.splitlines()]
        self.received.append(events)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(events)


def _say(status: int, *statuses: str, **headers: str) -> Callable[[list[Any]], httpx.Response]:
    def answer(events: list[Any]) -> httpx.Response:
        items: list[dict[str, Any]] = []
        for index, status in enumerate(statuses or ["accepted"] * len(events)):
            item: dict[str, Any] = {"index": index, "status": status}
            if status == "refused":
                item["error"] = {"code": "invalid_event", "message": "bad", "errors": [
                    {"loc": ["action"], "msg": "bad", "type": "type"}]}  # fmt: skip
            items.append(item)
        return httpx.Response(status_code, json={"items": items}, headers=headers)

    status_code = status
    return answer


def _problem(status: int, **headers: str) -> Callable[[list[Any]], httpx.Response]:
    return lambda _: httpx.Response(status, json={"code": "some_code", "detail": "said"}, headers=headers)


async def test_only_what_is_not_settled_goes_again() -> None:
    server = Server(_say(202, "accepted", "retry", "refused", "retry"), _say(202))
    refused = await server.client().settle(ITEMS)
    assert server.received == [["a1", "a2", "a3", "a4"], ["a2", "a4"]]
    assert [(r.line, r.code, r.errors[0].loc) for r in refused] == [(3, "invalid_event", ("action",))]


async def test_what_is_not_answered_goes_again() -> None:
    server = Server(_say(202, "accepted", "accepted"), _say(202))
    assert await server.client().settle(ITEMS) == []
    assert server.received[1] == ["a3", "a4"]


@pytest.mark.parametrize(
    "busy",
    [
        httpx.ReadError("dropped"),
        httpx.ReadTimeout("slow"),
        _problem(429, **{"Retry-After": "3"}),
        _problem(503, **{"Retry-After": "3"}),
        _say(503, "retry", "retry", "retry", "retry", **{"Retry-After": "3"}),
        lambda _: httpx.Response(502, text="<html>"),
    ],
    ids=["dropped", "timeout", "429", "503", "503 with items", "502"],
)
async def test_a_passing_fault_is_waited_out(busy: Any) -> None:
    server = Server(busy, busy, _say(202))
    assert await server.client().settle(ITEMS) == []
    assert len(server.received) == 3
    assert server.received[2] == ["a1", "a2", "a3", "a4"]
    told = not isinstance(busy, Exception) and busy([0] * 4).headers.get("Retry-After")
    assert all(seconds >= (3 if told else 0.1) for seconds in server.slept)


async def test_patience_ends_without_progress_and_starts_over_with_it() -> None:
    with pytest.raises(OutOfPatience, match="gave up after 60 s"):
        await Server(_problem(503)).client().settle(ITEMS)
    half_a_minute = _say(202, "accepted", "retry", "retry", "retry", **{"Retry-After": "50"})
    server = Server(half_a_minute, _say(202, "accepted", "retry", "retry", **{"Retry-After": "50"}), _say(202))
    assert await server.client().settle(ITEMS) == []
    assert sum(server.slept) > 60


async def test_all_refused_is_an_answer_for_each() -> None:
    refused = await Server(_say(422, *["refused"] * 4)).client().settle(ITEMS)
    assert [refusal.line for refusal in refused] == [1, 2, 3, 4]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_request_refused_whole_is_divided_until_the_culprit_is_alone(status: int) -> None:
    def answer(events: list[Any]) -> httpx.Response:
        return (_problem(status) if "a3" in events else _say(202))(events)

    server = Server(answer)
    refused = await server.client().settle(ITEMS)
    assert [(r.line, r.code, r.message) for r in refused] == [(3, "some_code", "said")]
    assert ["a1", "a2"] in server.received
    assert ["a4"] in server.received


@pytest.mark.parametrize(("status", "said"), [(401, "token is not accepted"), (403, "token"), (404, "is not Ocelot's")])
async def test_what_no_retry_helps_ends_at_once(status: int, said: str) -> None:
    server = Server(_problem(status))
    with pytest.raises(UserError, match=said) as caught:
        await server.client().settle(ITEMS)
    assert len(server.received) == 1
    assert "Bearer" not in str(caught.value)


async def test_another_server_that_refuses_is_no_verdict_on_the_events() -> None:
    server = Server(lambda _: httpx.Response(400, json={"error": "no handler found"}))
    with pytest.raises(UserError, match="is not Ocelot's"):
        await server.client().settle(ITEMS)
    assert len(server.received) == 1


def test_an_http_date_is_a_retry_after_too() -> None:
    from cli.importing.bulk import _retry_after

    def seconds(written: str) -> float | None:
        return _retry_after(httpx.Response(503, headers={"Retry-After": written}))

    assert seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    later = seconds("Fri, 31 Dec 2999 23:59:59 GMT")
    assert later is not None
    assert later > 1e9
    assert seconds("7") == 7.0
    assert seconds("soon") is None
