"""JSON paths: the part of RFC 9535 whose every segment selects by one name, one index or all.

`$.metadata.user.email`, `$.metadata['e-mail']`, `$.metadata.items[0]`, `$.tags[*]`, `$.metadata..ssn`. There are no
slices, filters, lists of selectors or negative indexes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

MAX_SEGMENTS: Final = 32
_SEGMENT: Final = re.compile(
    r"(?P<dots>\.{0,2})"
    r"(?:(?P<name>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)|(?P<all>\*)"
    r"|\[(?:'(?P<single>(?:[^'\\]|\\.)*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"|(?P<every>\*)|(?P<index>0|[1-9][0-9]{0,8}))\])",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One step down: to the member `name`, to the item `index`, or with neither to every child."""

    name: bytes | None
    index: int | None
    anywhere: bool
    """Written with `..`: of the node or of anything below it."""

    def takes(self, name: bytes | None, index: int) -> bool:
        """Whether the step leads to the member `name`, or to the item `index` where `name` is None."""
        if self.name is not None:
            return name == self.name
        return self.index is None or (name is None and index == self.index)


def parse(text: str) -> tuple[Segment, ...]:
    """The segments of a path; raises `ValueError` saying what is wrong with it."""
    if not text.startswith("$"):
        raise ValueError("a path begins with $, such as $.metadata.user.email")
    segments: list[Segment] = []
    at = 1
    while at < len(text):
        found = _SEGMENT.match(text, at)
        if found is None or not _is_dotted_well(found):
            raise ValueError(
                f"not understood at character {at + 1}: a path goes on with .name, ['name'], [0], .*, [*] or ..name"
            )
        segments.append(_segment(found))
        at = found.end()
    if not segments:
        raise ValueError("the path names the whole event")
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"may have {MAX_SEGMENTS} segments")
    if not any(segment.name for segment in segments):
        raise ValueError("must name a member")
    return tuple(segments)


def _is_dotted_well(found: re.Match[str]) -> bool:
    bare = found["name"] is not None or found["all"] is not None
    return len(found["dots"]) in ((1, 2) if bare else (0, 2))


def _segment(found: re.Match[str]) -> Segment:
    anywhere = len(found["dots"]) == 2
    if found["index"] is not None:
        return Segment(None, int(found["index"]), anywhere)
    if found["all"] is not None or found["every"] is not None:
        return Segment(None, None, anywhere)
    name = found["name"]
    if name is None:
        quoted = found["double"]
        if quoted is None:
            quoted = re.sub(r"\\.|\"", _as_double_quoted, found["single"], flags=re.DOTALL)
        try:
            name = msgspec.json.decode(f'"{quoted}"'.encode(), type=str)
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise ValueError(f"a name's quoting is wrong: {found[0]}") from None
    if not name:
        raise ValueError("a name is empty")
    return Segment(name.encode(), None, anywhere)


def _as_double_quoted(found: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])
