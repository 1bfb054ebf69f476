"""Cutting a JSON array into its items without parsing them: for arrays that the parser does not take as a whole.

One item nested 100,000 deep, or with a lone surrogate, makes the parser refuse the array, and an array of millions of
items would fill the memory before it could be counted. Cut this way, each item is judged, and refused, alone.
"""

from __future__ import annotations

import re
from typing import Final

_WRAPPED: Final = re.compile(rb'\s*+\{\s*+"events"\s*+:\s*+(?=\[)')
_END_OF_WRAPPED: Final = re.compile(rb"\s*+\}\s*+\Z")
_END: Final = re.compile(rb"\s*+\Z")
_STRING: Final = rb'"(?:[^"\\]|\\.)*+"'
_OUTSIDE: Final = re.compile(_STRING + rb'|["{}\[\],]', re.DOTALL)
_INSIDE: Final = re.compile(_STRING + rb'|["{}\[\]]', re.DOTALL)
_WHITE: Final = b" \t\r\n"


def split(body: bytes, most: int) -> list[bytes] | None:
    """The items of `[...]` or `{"events": [...]}`, `most` and one at most; None when `body` is not of that shape.

    Only brackets, strings and the commas between items are looked at: an item may still be anything.
    """
    wrapped = _WRAPPED.match(body)
    start = wrapped.end() if wrapped else len(body) - len(body.lstrip(_WHITE))
    if body[start : start + 1] != b"[":
        return None
    items: list[bytes] = []
    depth, begin, position = 1, start + 1, start + 1
    while len(items) <= most:
        token = (_OUTSIDE if depth == 1 else _INSIDE).search(body, position)
        if token is None:
            return None
        position = token.end()
        match token[0]:
            case b"{" | b"[":
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if depth == 0:
                    items.append(body[begin : token.start()].strip(_WHITE))
                    ending = _END_OF_WRAPPED if wrapped else _END
                    return _whole(items) if token[0] == b"]" and ending.match(body, position) else None
            case b'"':  # a string without an end
                return None
            case b",":
                items.append(body[begin : token.start()].strip(_WHITE))
                begin = position
    return items


def _whole(items: list[bytes]) -> list[bytes] | None:
    """No item is empty but the only one of an empty array."""
    if items == [b""]:
        return []
    return items if all(items) else None
