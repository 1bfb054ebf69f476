"""JSON string escapes: a string's text, and where each of its bytes stands in the string as written."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Unescaped:
    """`text` is UTF-8, but for each half of a surrogate pair on its own: it is looked through, never kept."""

    __slots__ = ("_raw_at", "_text_at", "text")

    def __init__(self, raw: bytes) -> None:
        pieces: list[bytes] = []
        self._text_at, self._raw_at = [0], [0]
        last = at = 0
        for match in _ESCAPE.finditer(raw):
            start, end = match.span()
            piece = _character(match)
            pieces += (raw[last:start], piece)
            at += start - last
            self._text_at += (at, at + len(piece))
            self._raw_at += (start, end)
            at += len(piece)
            last = end
        pieces.append(raw[last:])
        self.text = b"".join(pieces)

    def raw(self, position: int) -> int:
        """Where the character at `position` of the text begins in the string as written."""
        index = bisect_right(self._text_at, position) - 1
        return self._raw_at[index] + position - self._text_at[index]


def unescape(raw: bytes) -> bytes:
    return Unescaped(raw).text if b"\\" in raw else raw


def escape(text: bytes) -> bytes:
    """ASCII text as the inside of a JSON string."""
    return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _character(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return chr(int(match[1], 16)).encode("utf-8", "surrogatepass")
    return _SHORT.get(match[2], match[2])
