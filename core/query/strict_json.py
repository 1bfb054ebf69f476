"""JSON read without forgiving anything: no name twice, no NaN, no half of a surrogate pair; numbers as written."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from core.errors import Invalid, InvalidQuery


class Number(str):
    """A number's own text: `1.0` is not `1`, and 30 digits stay 30."""

    __slots__ = ()


def read(body: bytes) -> Any:
    """The document; raises `Invalid` when it is no JSON, `InvalidQuery` when it says something twice."""
    try:
        text = body.decode()
        document = json.loads(
            text, object_pairs_hook=_members, parse_int=Number, parse_float=Number, parse_constant=_refused
        )
        if "\\u" in text:
            _check_text(document)
    except RecursionError:
        raise InvalidQuery("the query nests too deep") from None
    except UnicodeDecodeError:
        raise Invalid("the body is not UTF-8", code="invalid_utf8") from None
    except ValueError as error:
        raise Invalid(f"the body is not JSON: {error}", code="malformed_json") from None
    return document


def plain(document: Any) -> Any:
    """The document with its numbers as strings, which every encoder knows."""
    if isinstance(document, dict):
        return {name: plain(value) for name, value in document.items()}
    if isinstance(document, list):
        return [plain(value) for value in document]
    return str(document) if isinstance(document, Number) else document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise InvalidQuery(f"{ascii(twice)[1:-1][:100]} stands twice in one object")
    return members


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _check_text(document: Any) -> None:
    """Raise for a string that no encoding has."""
    if isinstance(document, dict):
        for name, value in document.items():
            _check_text(name)
            _check_text(value)
    elif isinstance(document, list):
        for value in document:
            _check_text(value)
    elif isinstance(document, str):
        try:
            document.encode()
        except UnicodeEncodeError:
            raise Invalid("a string holds half of a surrogate pair", code="lone_surrogate") from None
