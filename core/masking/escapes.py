"""JSON string escapes: a string's text, and where each of its bytes stands in the string as written."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\(?:u([dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|[0-9a-fA-F]{4})|(.))", re.DOTALL
)
_HALF: Final = 4
_SHORT: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Unescaped:
    """`text` is UTF-8, but for half of a surrogate pair without the other: it is looked through, never kept."""

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
    code = match[1]
    if code is None:
        return _SHORT.get(match[2], match[2])
    if len(code) == _HALF:
        return chr(int(code, 16)).encode("utf-8", "surrogatepass")
    # A character beyond the first plane is written as two.
    return chr(0x10000 + ((int(code[:4], 16) & 0x3FF) << 10) + (int(code[-4:], 16) & 0x3FF)).encode()
