"""Asks `GET /api/v1/logs` page by page and prints what comes, as a table or as the exact bytes of each event."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import httpx
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.context import MISUSED, Context, UserError

PATH: Final = "/api/v1/logs"
_PAGE: Final = 1000
_COLOURS: Final = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_OUTCOMES: Final = {"failure": "red", "denied": "bold red"}


class Page(msgspec.Struct, frozen=True):
    """A page of the answer; the events stay as they came."""

    data: list[msgspec.Raw]
    next_cursor: str | None = None
    total: int | None = None
    total_relation: str = "exact"


class Row(msgspec.Struct, frozen=True):
    """The fields of an event that the table shows."""

    timestamp: str = ""
    severity: str = ""
    outcome: str | None = None
    action: str = ""
    user_id: str | None = None
    ip_address: str | None = None
    resource_id: str | None = None
    message: str | None = None


class _Problem(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""
    code: str = ""


_decode_page: Final = msgspec.json.Decoder(Page).decode
_decode_row: Final = msgspec.json.Decoder(Row).decode


def parameters(q: str | None, filters: Sequence[str], rest: dict[str, str | None]) -> list[tuple[str, str]]:
    """The URL parameters of what was asked; a filter is `field=value`, where `field!=value` is not."""
    asked = [("q", q)] if q is not None else []
    for written in filters:
        name, sign, value = written.partition("=")
        if not sign or not name:
            raise UserError(f"--filter takes field=value, not {written!r}", MISUSED)
        asked.append((name, value))
    return asked + [(name, value) for name, value in rest.items() if value is not None]


def pages(target: Context, asked: Sequence[tuple[str, str]], limit: int | None) -> Iterator[Page]:
    """The pages of the answer, `limit` events in all (None: every one); raises `UserError`."""
    cursor: str | None = None
    with httpx.Client(headers=target.headers, timeout=60.0) as http:
        while True:
            size = _PAGE if limit is None else min(limit, _PAGE)
            more = [("limit", str(size)), *([("cursor", cursor)] if cursor else [])]
            try:
                response = http.get(target.api_url + PATH, params=[*asked, *more])
            except httpx.TransportError as error:
                raise UserError(f"{target.api_url} does not answer: {error}") from None
            page = _page_of(response)
            yield page
            limit = None if limit is None else limit - len(page.data)
            cursor = page.next_cursor
            if cursor is None or limit == 0:
                return


def print_lines(found: Iterator[Page]) -> None:
    """The exact bytes of each event, a line each."""
    for page in found:
        for event in page.data:
            sys.stdout.buffer.write(bytes(event) + b"\n")
    sys.stdout.buffer.flush()


def print_tables(found: Iterator[Page]) -> None:
    """A table for each page, columns in line, and the total at the end."""
    console = Console()
    shown = 0
    last: Page | None = None
    for last in found:
        if last.data:
            console.print(_table(last, header=shown == 0))
        shown += len(last.data)
    if last is not None:
        total = last.total if last.total is not None else shown
        bound = "at least " if last.total_relation == "at_least" else ""
        console.print(f"{shown:,} of {bound}{total:,} events", style="dim", highlight=False)


def print_rows(events: Sequence[msgspec.Raw], *, header: bool) -> None:
    """Some events as rows; the columns of all calls are in line."""
    Console().print(_table(Page(list(events)), header=header))


def _table(page: Page, *, header: bool) -> Table:
    # Fixed or proportional widths: the tables of all pages line up.
    table = Table(box=None, show_header=header, expand=True, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("time (UTC)", width=19, no_wrap=True)
    table.add_column("severity", width=8, no_wrap=True)
    for name, ratio in (("action", 4), ("actor", 4), ("source ip", 2), ("resource", 4), ("message", 6)):
        table.add_column(name, ratio=ratio, no_wrap=True, overflow="ellipsis")
    for event in page.data:
        row = _decode_row(event)
        table.add_row(
            Text(row.timestamp[:19].replace("T", " ")),
            Text(row.severity, _COLOURS.get(row.severity, "")),
            Text(_printable(row.action), _OUTCOMES.get(row.outcome or "", "")),
            *(Text(_printable(cell or "")) for cell in (row.user_id, row.ip_address, row.resource_id, row.message)),
        )
    return table


def _printable(value: str) -> str:
    """One line without control characters: an event's text must not move the reader's cursor."""
    return "".join(c if c.isprintable() else " " for c in value)


def _page_of(response: httpx.Response) -> Page:
    if response.status_code != 200:
        raise UserError(said(response))
    try:
        return _decode_page(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UserError(f"{response.request.url.copy_with(query=None)} is not Ocelot's search") from None


def said(response: httpx.Response) -> str:
    """What a problem says, for people."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()
    said = problem.detail or problem.title or response.reason_phrase
    if response.status_code == 401:
        return f"the token is not accepted: {said}"
    return f"{response.status_code} {said}"
