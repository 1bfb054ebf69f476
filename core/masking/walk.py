"""The slow way: a walk over the tokens of an event's JSON that collects the spans to replace.

A token costs 1 us, so `edits` walks through the objects alone that hold a hit of the screen, and looks into the strings
alone that a hit touches. That finds all there is: whatever is masked has a match of the screen that begins in the token
which is to blame (the string, or the name of what is masked), and what the screen finds in its place overlaps that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from core.masking.around import Surroundings
from core.masking.rules import MASKED, Verdict
from core.masking.screen import Span

_QUOTED_MASK: Final = b'"' + MASKED + b'"'
_TOKEN: Final = re.compile(
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"([ \t\r\n]*:)?|(-?[0-9][0-9.eE+-]*+)|([{\[])|([}\]])', re.DOTALL
)
# Asking the enum for a member takes 0.1 us, a tenth of a token.
_PLAIN, _COUNT, _OPENED, _SEALED = Verdict.PLAIN, Verdict.COUNT, Verdict.OPEN, Verdict.SEALED
_STRING, _KEY, _NUMBER, _OPEN = 1, 2, 3, 4
_FLAG: Final = re.compile(rb"--?[A-Za-z0-9_.-]+")
_NAME_MEMBERS: Final = frozenset({b"name", b"key", b"field", b"header"})
_NO_HIT: Final = (sys.maxsize, sys.maxsize)
_LABEL_FIELDS: Final = frozenset({b"action", b"resource_type", b"resource_id", b"source", b"tags"})


class Edit(NamedTuple):
    """`new` takes the place of the bytes from `start` to `end`."""

    start: int
    end: int
    new: bytes


class Name(NamedTuple):
    """A name and what the rules say of it."""

    lower: bytes
    verdict: Verdict
    edits: list[Edit]
    """Inside the name itself: a card number may be one."""


class Judges(NamedTuple):
    """What the walk asks the rules."""

    name: Callable[[bytes], Name]
    """Of a name as written between its quotes."""
    string: Callable[[bytes, bool], list[Edit]]
    """The edits inside a string as written between its quotes; whether it is a label, where `token:x` is no secret."""
    number: Callable[[bytes], bool]
    """Whether a number is a secret by itself."""


class _Frame:
    """An object or array that the walk is in."""

    __slots__ = ("array", "label", "named", "sealed", "value", "verdict")

    def __init__(self, array: bool, sealed: bool, verdict: Verdict, label: bool) -> None:
        self.array = array
        self.sealed = sealed
        self.verdict = verdict  # of the member being read; in an array, of every item
        self.label = label
        self.named = False  # its `name` says that its `value` is a secret; in an array, the last item was such a flag
        self.value: Edit | None = None  # what would replace its `value`


def edits(document: bytes, judges: Judges, hits: Sequence[Span], *, event: bool) -> list[Edit]:
    """What to replace in valid JSON: in order and apart from each other. `event`: it is a whole event."""
    found: list[Edit] = []
    around = Surroundings(document)
    begin = end = 0
    for hit in hits:
        if hit[1] <= end:
            continue
        start = around.object_of(hit)
        # An object around one that is walked already: from the beginning, lest each of many around it walks it again.
        if start is None or start < begin:
            return Walk(document, judges, hits, event=event).edits()
        walk = Walk(document, judges, hits, event=False)
        found += walk.edits(start)
        begin, end = start, walk.end
    return found


class Walk:
    """Over valid JSON. The stack is a list, so depth costs memory and nothing else."""

    def __init__(self, document: bytes, judges: Judges, hits: Sequence[Span], *, event: bool) -> None:
        self._document = document
        self._judges = judges
        self._event = event
        self._edits: list[Edit] = []
        self._stack: list[_Frame] = []
        self._frame = _Frame(True, False, _PLAIN, False)
        self._in_order = True
        self._member = b""
        self._hits = iter(hits)
        self._hit: Span = next(self._hits, _NO_HIT)
        self.end = 0
        """Where the last walk ended."""

    def edits(self, start: int = 0) -> list[Edit]:
        """Of the value that begins at `start`, in order and apart from each other."""
        token = None
        for token in _TOKEN.finditer(self._document, start):
            kind = token.lastindex
            if kind == _STRING:
                self._string(token)
            elif kind == _KEY:
                self._key(token)
            elif kind == _NUMBER:
                self._number(token)
            elif kind == _OPEN:
                self._open(array=token[_OPEN] == b"[")
            else:
                self._close()
                if not self._stack:
                    break
        self.end = token.end() if token else start
        return self._edits if self._in_order else _apart(self._edits)

    def _key(self, token: re.Match[bytes]) -> None:
        name, frame = self._judges.name(token[_STRING]), self._frame
        frame.verdict = name.verdict
        self._member = name.lower
        if self._event and len(self._stack) == 1:
            frame.label = self._member in _LABEL_FIELDS
        if name.edits:
            self._inside(token, name.edits)

    def _string(self, token: re.Match[bytes]) -> None:
        frame, raw = self._frame, token[_STRING]
        start, end = token.span(_STRING)
        secret = frame.verdict > _PLAIN or (frame.sealed and frame.verdict == _PLAIN)
        if frame.array:
            flag = raw.startswith(b"-")
            secret |= frame.named and not flag
            frame.named = flag and _FLAG.fullmatch(raw) is not None and self._judges.name(raw).verdict > _PLAIN
        elif self._member == b"value":
            frame.value = Edit(start, end, MASKED)
        elif self._member in _NAME_MEMBERS and b'"' not in raw:
            frame.named |= self._judges.name(raw).verdict > _PLAIN
        if secret:
            self._replace(Edit(start, end, MASKED))
        elif self._is_hit(start, end):
            self._inside(token, self._judges.string(raw, frame.label))

    def _is_hit(self, start: int, end: int) -> bool:
        while self._hit[1] < start:
            self._hit = next(self._hits, _NO_HIT)
        return self._hit[0] <= end

    def _number(self, token: re.Match[bytes]) -> None:
        frame = self._frame
        secret = frame.verdict > _COUNT or (frame.sealed and frame.verdict >= _PLAIN)
        if secret or self._judges.number(token[_NUMBER]):
            self._edits.append(Edit(*token.span(_NUMBER), _QUOTED_MASK))
        if self._member == b"value" and not frame.array:
            frame.value = Edit(*token.span(_NUMBER), _QUOTED_MASK)

    def _open(self, *, array: bool) -> None:
        parent = self._frame
        sealed = parent.sealed or parent.verdict in (_SEALED, _COUNT)
        verdict = _SEALED if sealed else _OPENED if parent.verdict == _OPENED else _PLAIN
        self._stack.append(parent)
        self._frame = _Frame(array, sealed, verdict if array else _PLAIN, parent.label and array)

    def _close(self) -> None:
        frame = self._frame
        if not frame.array and frame.named and frame.value is not None:
            self._replace(frame.value)
            self._in_order = False
        self._frame = self._stack.pop()

    def _replace(self, edit: Edit) -> None:
        if self._document[edit.start : edit.end] not in (b"", MASKED):
            self._edits.append(edit)

    def _inside(self, token: re.Match[bytes], edits: list[Edit]) -> None:
        offset = token.start(_STRING)
        for start, end, new in edits:
            self._edits.append(Edit(start + offset, end + offset, new))


def applied(document: bytes, edits: list[Edit]) -> bytes:
    """The document with its edits made; every other byte as it was."""
    pieces: list[bytes] = []
    last = 0
    for start, end, new in edits:
        pieces += (document[last:start], new)
        last = end
    pieces.append(document[last:])
    return b"".join(pieces)


def _apart(edits: list[Edit]) -> list[Edit]:
    """In order, without those inside another: a pair's `value` is replaced when its object ends, with all inside it."""
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if not kept or edit.start >= kept[-1].end:
            kept.append(edit)
    return kept
