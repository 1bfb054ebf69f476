"""A query as a URL:

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

from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from core.errors import FieldError, InvalidQuery
from core.query import values
from core.query.bounds import check
from core.query.model import Condition, EventQuery, Match, Range, Value
from core.query.page import DEFAULT_LIMIT, MAX_LIMIT, Page, fingerprint

_PARAMETERS: Final = frozenset({"q", "from", "to", "received_from", "received_to", "sort", "limit", "cursor"})
_T = TypeVar("_T")


def parse(parameters: Sequence[tuple[str, str]], now: int) -> Page:
    """A page request from URL parameters in their order; raises `InvalidQuery` naming each fault's parameter."""
    single = single_of(parameters, _PARAMETERS)
    asked = sorted((k, v) for k, v in parameters if k not in ("cursor", "limit"))

    def resolve(now: int) -> EventQuery:
        return _query(parameters, single, now)

    query = resolve(now)
    check(query)
    limit = limit_of(single.get("limit"))
    return Page(query, limit, single.get("cursor"), fingerprint(asked), now, resolve)


def limit_of(text: str | None) -> int:
    """`limit` of a URL; raises `InvalidQuery`."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT and len(text) < 9):
        raise parameter_fault("limit", f"must be 1 to {MAX_LIMIT}")
    return int(text)


def _query(parameters: Sequence[tuple[str, str]], single: dict[str, str], now: int) -> EventQuery:
    text = single.get("q")
    sort, descending = read_parameter("sort", values.order, single.get("sort", "-timestamp"))
    return EventQuery(
        text=None if text is None else read_parameter("q", values.full_text, text),
        conditions=_conditions([(k, v) for k, v in parameters if k not in _PARAMETERS]),
        timestamp=Range(_moment(single, "from", now), _moment(single, "to", now)),
        received_at=Range(_moment(single, "received_from", now), _moment(single, "received_to", now)),
        sort=sort,
        descending=descending,
    )


def single_of(parameters: Sequence[tuple[str, str]], names: Collection[str]) -> dict[str, str]:
    """The parameters among `names`, which may each be given once; raises `InvalidQuery`."""
    single: dict[str, str] = {}
    for key, value in parameters:
        if key in names:
            if key in single:
                raise parameter_fault(key, "may be given once")
            single[key] = value
    return single


def _moment(single: dict[str, str], name: str, now: int) -> int | None:
    text = single.get(name)
    if text is None:
        return None
    # A + in a URL that was not escaped arrives as a space.
    return read_parameter(name, lambda text: values.moment(text, now), text[:10] + text[10:].replace(" ", "+"))


def _conditions(parameters: Sequence[tuple[str, str]]) -> tuple[Condition, ...]:
    grouped: dict[tuple[str, bool], list[Value]] = {}
    for key, written in parameters:
        field = key.removesuffix("!")
        if not values.is_field(field):
            raise parameter_fault(
                key, "is neither a named field nor a path such as metadata.user.name", "unknown_parameter"
            )
        negated = field != key
        if written.startswith("!"):
            negated, written = not negated, written[1:]
        grouped.setdefault((field, negated), []).append(_value(field, written))
    return tuple(Condition(field, tuple(found), negated) for (field, negated), found in grouped.items())


def _value(field: str, written: str) -> Value:
    if written == "*":
        return Value("", Match.EXISTS)
    if field == "ip_address":
        return read_parameter(field, values.address, written)
    if written.endswith("*") and not written.endswith("\\*"):
        if field in values.NO_PREFIX:
            raise parameter_fault(field, "takes no prefix")
        return Value(_unescaped(field, written[:-1]), Match.PREFIX)
    return Value(_unescaped(field, written))


def _unescaped(field: str, text: str) -> str:
    if text.startswith("\\!"):
        text = text[1:]
    if text.endswith("\\*"):
        text = text[:-2] + "*"
    if not text:
        raise parameter_fault(field, "must have a value")
    return text


def read_parameter(parameter: str, read: Callable[[str], _T], text: str) -> _T:
    """What `read` makes of a parameter's text; its ValueError becomes the parameter's fault."""
    try:
        return read(text)
    except ValueError as error:
        raise parameter_fault(parameter, str(error)) from None


def parameter_fault(parameter: str, message: str, kind: str = "parameter") -> InvalidQuery:
    """What is wrong with a parameter of the URL; `message` goes on after its name."""
    return InvalidQuery(f"{parameter} {message}", errors=[FieldError(("query", parameter), message, kind)])
