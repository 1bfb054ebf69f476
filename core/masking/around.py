"""The object around a place in JSON, found backwards from there: 5 us, where the walk from the beginning takes 200."""

from __future__ import annotations

from typing import Final

from core.masking.screen import Span

_STEPS: Final = 64
"""So many strings back, and so many bytes between two of them, it looks; that keeps hostile events linear."""
_OPEN, _CLOSE = b"{}"


class Surroundings:
    """Of places in one valid document."""

    def __init__(self, document: bytes) -> None:
        # As long as the document, and each quote in it begins or ends a string.
        self._quiet = document
        if b"\\" in document:
            self._quiet = document.replace(b"\\\\", b"__").replace(b'\\"', b"__")

    def object_of(self, place: Span) -> int | None:
        """Where the innermost object that holds all of `place` begins.

        None when that is the outermost, when there is none, or when it would take too long to tell.
        """
        start, end = place
        if b"}" in self._quiet[start:end]:
            return None
        if self._quiet.count(b'"', 0, start) % 2 == 1:
            start = self._quiet.rfind(b'"', 0, start)
        found = self._before(start)
        return found if found is not None and self._quiet[:found].strip() else None

    def _before(self, end: int) -> int | None:
        depth = 0
        for _ in range(_STEPS):
            quote = self._quiet.rfind(b'"', 0, end)
            if end - quote > _STEPS:
                return None
            for at in range(end - 1, quote, -1):
                byte = self._quiet[at]
                if byte == _CLOSE:
                    depth += 1
                elif byte == _OPEN:
                    if depth == 0:
                        return at
                    depth -= 1
            if quote < 0:
                return None
            end = self._quiet.rfind(b'"', 0, quote)
        return None
