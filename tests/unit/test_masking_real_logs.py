"""Masking of real audit logs: what it changes is known, and nothing else changes."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.masking import DEFAULT, mask

FILES = [
    "azure_activity", "azure_signin", "cloudtrail", "cloudtrail_rule_tests", "cloudtrail_stratus", "gcp_audit",
    "github", "gsuite", "k8s", "k8s_rule_tests", "okta", "slack", "windows", "windows_large",
]  # fmt: skip
CHANGED = {"cloudtrail": 79, "cloudtrail_rule_tests": 9, "cloudtrail_stratus": 12, "k8s": 6, "windows": 2}
CHANGED_LARGE = {"windows_large": 4}


def lines(folder: Path, name: str) -> Iterator[bytes]:
    with gzip.open(folder / f"{name}.ndjson.gz") as file:
        for line in file:
            yield line.rstrip(b"\n")


@pytest.mark.parametrize("name", FILES)
def test_real_events_differ_in_masked_spans_alone(audit_logs: Path, name: str) -> None:
    changed = 0
    for line in lines(audit_logs, name):
        kept = mask(line)
        if kept is line:
            continue
        changed += 1
        between = [re.escape(piece) for piece in kept.split(b"[masked]")]
        assert re.fullmatch(b".+?".join(between), line, re.DOTALL)
        json.loads(kept)
        assert mask(kept) == kept
    assert changed == {**CHANGED, **CHANGED_LARGE}.get(name, 0)


@pytest.mark.parametrize("name", FILES)
def test_the_fast_way_misses_nothing_in_real_events(audit_logs: Path, name: str) -> None:
    """Every seventh event that the fast way passes goes the slow way as well."""
    passed = [line for line in lines(audit_logs, name) if not DEFAULT.may_hold(line)]
    assert passed
    for line in passed[::7]:
        assert DEFAULT.mask_slowly(line) is line


def test_no_session_token_of_cloudtrail_survives(audit_logs: Path) -> None:
    tokens = 0
    for line in lines(audit_logs, "cloudtrail"):
        for token in re.findall(rb'"sessionToken":"([^"]+)"', line):
            tokens += 1
            assert token not in mask(line)
    assert tokens > 30
