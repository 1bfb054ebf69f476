"""What each recorded answer of OpenSearch 3.8 means for a document or a call."""

from __future__ import annotations

import pytest

from core.adapters.index.bulk import Cause
from core.adapters.index.client import error_of
from core.adapters.index.verdict import Verdict, verdict
from core.errors import Blocked, Unavailable

SHARDS = (
    "Validation Failed: 1: this action would add [1] total shards, but this cluster currently has [1000]/[1000]"
    " maximum normal shards open;"
)
IMMENSE = (
    'Document contains at least one immense term in field="metadata._value" (whose UTF8 encoding is longer than the max'
    " length 32766), all of which were skipped."
)
COLUMN = 'DocValuesField "metadata._valueAndPath" is too large, must be <= 32766'
BLOCK = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only]"
DUPLICATE = Cause("json_parse_exception", 'Duplicate Object property "a"')


@pytest.mark.parametrize(
    ("status", "cause", "expected"),
    [
        (201, None, Verdict.CREATED),
        (409, Cause("version_conflict_engine_exception", "document already exists"), Verdict.PRESENT),
        (404, Cause("index_not_found_exception", "is not an alias"), Verdict.NO_ALIAS),
        (400, Cause("validation_exception", SHARDS), Verdict.BLOCKED),
        (400, Cause("illegal_argument_exception", SHARDS), Verdict.BLOCKED),
        (
            403,
            Cause("cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)];"),
            Verdict.BLOCKED,
        ),
        (429, Cause("cluster_block_exception", BLOCK), Verdict.BLOCKED),
        (400, Cause("index_closed_exception", "closed"), Verdict.BLOCKED),
        (
            400,
            Cause("illegal_argument_exception", "number of documents in the index cannot exceed 2147483519"),
            Verdict.BLOCKED,
        ),
        (429, Cause("rejected_execution_exception", "rejected execution of primary operation"), Verdict.UNAVAILABLE),
        (429, Cause("circuit_breaking_exception", "[parent] Data too large"), Verdict.UNAVAILABLE),
        (400, Cause("remote_transport_exception", "", Cause("circuit_breaking_exception", "")), Verdict.UNAVAILABLE),
        (503, Cause("unavailable_shards_exception", "primary shard is not active"), Verdict.UNAVAILABLE),
        (500, Cause("exception", "x"), Verdict.UNAVAILABLE),
        (401, Cause("security_exception", "x"), Verdict.UNAVAILABLE),
        (413, None, Verdict.UNAVAILABLE),
        (400, Cause("mapper_parsing_exception", "failed to parse field", DUPLICATE), Verdict.REFUSED),
        (
            400,
            Cause("mapper_parsing_exception", "field 'maximum normal shards open read-only'"),
            Verdict.REFUSED,
        ),
        (400, Cause("strict_dynamic_mapping_exception", "mapping set to strict"), Verdict.REFUSED),
        (400, Cause("illegal_argument_exception", IMMENSE), Verdict.REFUSED),
        (400, Cause("illegal_argument_exception", COLUMN), Verdict.REFUSED),
        (400, Cause("illegal_argument_exception", "something new"), Verdict.DOUBTFUL),
        (400, None, Verdict.DOUBTFUL),
    ],
)
def test_only_what_the_document_causes_is_the_documents(status: int, cause: Cause | None, expected: Verdict) -> None:
    assert verdict(status, cause) is expected


def test_a_chain_of_causes_has_an_end() -> None:
    cause = Cause("mapper_parsing_exception")
    for _ in range(1000):
        cause = Cause("wrapper", "", cause)
    assert verdict(400, cause) is Verdict.DOUBTFUL


def test_a_block_is_told_from_an_outage() -> None:
    assert type(error_of(Verdict.BLOCKED)) is Blocked
    assert type(error_of(Verdict.UNAVAILABLE)) is type(error_of(Verdict.NO_ALIAS)) is Unavailable
