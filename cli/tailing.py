"""Follows `GET /api/v1/logs/stream` and goes on where it was when the connection breaks."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import httpx
import msgspec

from cli import searching
from cli.context import Context, UserError

PATH: Final = "/api/v1/logs/stream"
SILENCE: Final = 60.0
"""Seconds without a heartbeat after which the connection counts as broken."""
_BACK_OFF: Final = (0.5, 30.0)
_AGAIN: Final = frozenset({"server_stopping", "slow_reader", "internal"})
Print = Callable[[bytes], None]


@dataclass(slots=True)
class Message:
    """One server-sent event."""

    name: str = ""
    id: str | None = None
    data: str = ""


class _Notice(msgspec.Struct, frozen=True):
    reason: str = ""
    detail: str = ""
    backfilled_from: str = ""


class _Broken(Exception):
    """The connection broke, or the server asks to come again."""


_notice: Final = msgspec.json.Decoder(_Notice).decode


def follow(target: Context, asked: Sequence[tuple[str, str]], show: Print) -> None:
    """Show each event for as long as it lasts: for ever, unless the server refuses; raises `UserError` then."""
    last: str | None = None
    delay = _BACK_OFF[0]
    timeout = httpx.Timeout(10.0, read=SILENCE)
    with httpx.Client(headers=target.headers, timeout=timeout) as http:
        while True:
            try:
                for message in _messages(http, target.api_url + PATH, asked, last):
                    # Before the place moves on: an event that could not be shown is asked for again.
                    _take(message, show)
                    last, delay = message.id or last, _BACK_OFF[0]
            except (_Broken, httpx.TransportError) as error:
                print(f"ocelot: {error or type(error).__name__}; trying again", file=sys.stderr)
            time.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads those who were cut off together
            delay = min(2 * delay, _BACK_OFF[1])


def print_line(body: bytes) -> None:
    """The exact bytes of an event as a line."""
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()


def row_printer() -> Print:
    """Prints events as rows of a table, with its head above the first."""
    shown = False

    def show(body: bytes) -> None:
        nonlocal shown
        searching.print_rows([msgspec.Raw(body)], header=not shown)
        sys.stdout.flush()
        shown = True

    return show


def parse(lines: Iterator[str]) -> Iterator[Message]:
    """Server-sent events from their lines (HTML Standard, section 9.2.6)."""
    message = Message()
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                message.data = "\n".join(data)
                yield message
            message, data = Message(), []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            message.name = value
        elif field == "id":
            message.id = value


def _messages(http: httpx.Client, url: str, asked: Sequence[tuple[str, str]], last: str | None) -> Iterator[Message]:
    headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
    with http.stream("GET", url, params=list(asked), headers=headers) as response:
        if response.status_code in (429, 502, 503, 504):
            raise _Broken(f"{response.status_code} {response.reason_phrase}")
        if response.status_code != 200:
            response.read()
            raise UserError(searching.said(response))
        yield from parse(lines_of(response.iter_bytes()))
    raise _Broken("the connection ended")


def lines_of(pieces: Iterator[bytes]) -> Iterator[str]:
    """Lines that end with a line feed alone: an event's text may hold what other readers of lines cut at."""
    rest = bytearray()
    for piece in pieces:
        rest += piece
        *whole, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in whole:
            yield line.decode()


def _take(message: Message, show: Print) -> None:
    if message.name == "":
        show(message.data.encode())
    elif message.name == "gap":
        since = _notice(message.data).backfilled_from
        print(f"ocelot: the server has lost its place; all accepted since {since} follows", file=sys.stderr)
    elif message.name == "end":
        notice = _notice(message.data)
        if notice.reason not in _AGAIN:
            raise UserError(f"the stream has ended: {notice.detail or notice.reason}")
