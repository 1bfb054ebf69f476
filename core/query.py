"""`EventQuery`: the one type that says which events a reader asks for, whichever store answers it.

A query as a URL:

- `field=value` for each named field; repeated means or. `field=!value` or `field!=value` means not (an event without
  the field matches). A value that ends in `*` is a prefix; `*` alone means that the field is there. `\\!` and `\\*`
  write those characters themselves.
- `ip_address` also takes a CIDR; `metadata.<path>`, `before_state.<path>` and `after_state.<path>` take values too;
  `changed_paths` takes JSON Pointers of what differs between the two states.
- `q` is full text; `from` and `to` bound `timestamp` (`received_from`, `received_to` bound `received_at`), from
  inclusive, to exclusive: RFC 3339, or relative to now, such as `-1h`.
- `sort` is `timestamp` or `received_at`, newest first with `-` before it; the default is `-timestamp`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from core import instant
from core.errors import FieldError, InvalidQuery
from core.event import FREE_FIELDS, KEYWORD_FIELDS

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000
MAX_CONDITIONS: Final = 64
MAX_VALUES: Final = 256
MAX_TEXT: Final = 1024
EXACT_FIELDS: Final = ("id", *KEYWORD_FIELDS)
INDEX_FIELDS: Final = ("message", "changed_paths")
"""What only the index knows, beside free-form paths: the words of the message, and JSON Pointers of what changed."""
TIME_FIELDS: Final = ("timestamp", "received_at")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_RELATIVE: Final = re.compile(r"-(\d{1,9})([smhdw])", re.ASCII)
_PARAMETERS: Final = frozenset({"q", "from", "to", "received_from", "received_to", "sort", "limit", "cursor"})


class Match(StrEnum):
    """How a `Value` is compared."""

    EQUAL = "equal"
    PREFIX = "prefix"
    EXISTS = "exists"
    CIDR = "cidr"


class Value(msgspec.Struct, frozen=True, array_like=True):
    """One value of a condition; `text` is empty for EXISTS."""

    text: str
    match: Match = Match.EQUAL


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """`field` has one of `values`; `negated`: it has none of them (or is not there).

    `field` is one of `EXACT_FIELDS`, `ip_address`, `message` (a phrase), `changed_paths`, or a path such as
    `metadata.user.name`, which holds for the leaf values at that path, arrays and dotted keys included.
    """

    field: str
    values: tuple[Value, ...]
    negated: bool = False

    @property
    def is_free(self) -> bool:
        """Whether the field is a path into a free-form field."""
        return self.field.split(".", 1)[0] in FREE_FIELDS


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Microseconds, `start` inclusive, `end` exclusive."""

    start: int | None = None
    end: int | None = None


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one tenant (named by the scope, never here) that meet every condition."""

    text: str | None = None
    conditions: tuple[Condition, ...] = ()
    timestamp: Range = Range()
    received_at: Range = Range()
    sort: str = "timestamp"
    descending: bool = True

    @property
    def needs_index(self) -> bool:
        """Whether only the index can answer: full text and free-form paths are not in the store's own fields."""
        return self.text is not None or any(c.is_free or c.field in INDEX_FIELDS for c in self.conditions)


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the sort field's microseconds and the id of its last event."""

    us: int
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A parsed request for one page. `fingerprint` names the query as written, relative times unresolved."""

    query: EventQuery
    limit: int
    cursor: str | None
    fingerprint: bytes
    from_store: bool = False
    """The page before it was answered by the store."""

    def at(self, timestamp: Range, received_at: Range, *, from_store: bool) -> Page:
        """The same page with the time ranges that its first page resolved to."""
        query = msgspec.structs.replace(self.query, timestamp=timestamp, received_at=received_at)
        return replace(self, query=query, from_store=from_store)


def parse(parameters: Sequence[tuple[str, str]], now: int) -> Page:
    """A page request from URL parameters in their order; raises `InvalidQuery` naming each fault's parameter."""
    single = _single(parameters)
    text = single.get("q")
    if text is not None and not 0 < len(text.strip()) <= MAX_TEXT:
        raise _fault("q", f"must have 1 to {MAX_TEXT} characters")
    sort = single.get("sort", "-timestamp")
    if sort.removeprefix("-") not in TIME_FIELDS:
        raise _fault("sort", "must be timestamp or received_at, with - before it for newest first")
    query = EventQuery(
        text=text,
        conditions=_conditions([(k, v) for k, v in parameters if k not in _PARAMETERS]),
        timestamp=Range(_moment(single, "from", now), _moment(single, "to", now)),
        received_at=Range(_moment(single, "received_from", now), _moment(single, "received_to", now)),
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
    )
    return Page(query, _limit(single.get("limit")), single.get("cursor"), _fingerprint(parameters))


def cidr_bounds(text: str) -> tuple[str, str]:
    """The first and last address of a CIDR as 32 hex digits (IPv4 as mapped IPv6), the form of `ip_key`."""
    network = ipaddress.ip_network(text, strict=False)
    return ip_key(str(network.network_address)), ip_key(str(network.broadcast_address))


@lru_cache(maxsize=8192)
def ip_key(text: str) -> str:
    """An address as 32 hex digits, IPv4 as IPv4-mapped IPv6: sorts as addresses do. Raises ValueError for no address.

    Cached, for `ipaddress` takes 9 us.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return f"{0xFFFF_0000_0000 | int(address):032x}"
    return f"{int(address):032x}"


def _single(parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    single: dict[str, str] = {}
    for key, value in parameters:
        if key in _PARAMETERS:
            if key in single:
                raise _fault(key, "may be given once")
            single[key] = value
    return single


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT and len(text) < 9):
        raise _fault("limit", f"must be 1 to {MAX_LIMIT}")
    return int(text)


def _moment(single: dict[str, str], name: str, now: int) -> int | None:
    text = single.get(name)
    if text is None:
        return None
    if text == "now":
        return now
    if relative := _RELATIVE.fullmatch(text):
        return max(0, now - int(relative[1]) * _UNITS[relative[2]] * 1_000_000)
    try:
        # A + in a URL that was not escaped arrives as a space.
        return instant.from_text(text[:10] + text[10:].replace(" ", "+"))
    except ValueError as error:
        raise _fault(name, f"{error}; or relative to now, such as -1h") from None


def _conditions(parameters: Sequence[tuple[str, str]]) -> tuple[Condition, ...]:
    grouped: dict[tuple[str, bool], list[Value]] = {}
    for key, written in parameters:
        field = key.removesuffix("!")
        _check_field(key, field)
        negated = field != key
        if written.startswith("!"):
            negated, written = not negated, written[1:]
        grouped.setdefault((field, negated), []).append(_value(field, written))
    if len(grouped) > MAX_CONDITIONS or sum(map(len, grouped.values())) > MAX_VALUES:
        raise InvalidQuery(f"a query may have {MAX_CONDITIONS} conditions and {MAX_VALUES} values")
    return tuple(Condition(field, tuple(values), negated) for (field, negated), values in grouped.items())


def _check_field(key: str, field: str) -> None:
    if field in EXACT_FIELDS or field in INDEX_FIELDS or field == "ip_address":
        return
    root, _, path = field.partition(".")
    if root in FREE_FIELDS and path and not path.startswith(".") and not path.endswith("."):
        return
    raise _fault(key, "is neither a named field nor a path such as metadata.user.name", "unknown_parameter")


def _value(field: str, written: str) -> Value:
    if written == "*":
        return Value("", Match.EXISTS)
    if field == "ip_address":
        return _address(written)
    if written.endswith("*") and not written.endswith("\\*"):
        if field in ("id", "message"):
            raise _fault(field, "takes no prefix")
        return Value(_unescaped(field, written[:-1]), Match.PREFIX)
    return Value(_unescaped(field, written))


def _address(written: str) -> Value:
    try:
        if "/" in written:
            return Value(str(ipaddress.ip_network(written, strict=False)), Match.CIDR)
        if "%" in written:
            raise ValueError
        return Value(str(ipaddress.ip_address(written)))
    except ValueError:
        raise _fault("ip_address", "must be an IP address or a CIDR such as 10.0.0.0/8") from None


def _unescaped(field: str, text: str) -> str:
    if text.startswith("\\!"):
        text = text[1:]
    if text.endswith("\\*"):
        text = text[:-2] + "*"
    if not text:
        raise _fault(field, "must have a value")
    return text


def _fingerprint(parameters: Sequence[tuple[str, str]]) -> bytes:
    asked = sorted((k, v) for k, v in parameters if k not in ("cursor", "limit"))
    return hashlib.sha256(msgspec.json.encode(asked)).digest()[:16]


def _fault(parameter: str, message: str, kind: str = "parameter") -> InvalidQuery:
    return InvalidQuery(f"{parameter} {message}", errors=[FieldError(("query", parameter), message, kind)])
