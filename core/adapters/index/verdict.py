"""What a refusal of the index means: a pure function of its status and cause, for a document and a whole call alike.

Only what the event itself causes may cost an event anything; what the cluster causes is tried again.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from core.adapters.index.bulk import Cause


class Verdict(StrEnum):
    CREATED = "created"
    PRESENT = "present"
    NO_ALIAS = "no_alias"
    """The placement's alias is not there yet."""
    BLOCKED = "blocked"
    """The cluster takes no writes until a person, or a watermark, lets it."""
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    """The document's own fault, for certain."""
    DOUBTFUL = "doubtful"
    """A 400 of a kind not known here: worth trying a simpler document, no ground to give the event up."""


_BLOCKED_TYPES: Final = frozenset(
    {"cluster_block_exception", "index_closed_exception", "validation_exception", "index_create_block_exception"}
)
_BLOCKED_REASON: Final = re.compile(
    r"maximum (normal |frozen )?shards open|number of documents in the (index|shard) cannot exceed"
    r"|flood.stage|read.?only", re.IGNORECASE
)  # fmt: skip
_DOCUMENT_TYPES: Final = frozenset(
    {
        "mapper_parsing_exception", "document_parsing_exception", "strict_dynamic_mapping_exception",
        "parsing_exception", "json_parse_exception", "stream_read_exception", "stream_constraints_exception",
        "x_content_parse_exception", "not_x_content_exception", "max_bytes_length_exceeded_exception",
    }
)  # fmt: skip
_DOCUMENT_REASON: Final = re.compile(r"immense term|DocValuesField .* is too large", re.DOTALL)
_DEEPEST_CAUSE: Final = 8


def verdict(status: int, cause: Cause | None = None) -> Verdict:
    """What to make of an answer; `status` is HTTP's."""
    if status < 300:
        return Verdict.CREATED
    if status == 409:
        return Verdict.PRESENT
    causes = _chain(cause)
    types = [link.type for link in causes]
    if "index_not_found_exception" in types:
        return Verdict.NO_ALIAS
    if status in (400, 403, 429) and any(
        link.type in _BLOCKED_TYPES or (link.type not in _DOCUMENT_TYPES and _BLOCKED_REASON.search(link.reason))
        for link in causes
    ):
        return Verdict.BLOCKED
    if status != 400 or "circuit_breaking_exception" in types or "rejected_execution_exception" in types:
        return Verdict.UNAVAILABLE
    if any(link.type in _DOCUMENT_TYPES or _DOCUMENT_REASON.search(link.reason) for link in causes):
        return Verdict.REFUSED
    return Verdict.DOUBTFUL


def _chain(cause: Cause | None) -> list[Cause]:
    chain: list[Cause] = []
    while cause is not None and len(chain) < _DEEPEST_CAUSE:
        chain.append(cause)
        cause = cause.caused_by
    return chain
