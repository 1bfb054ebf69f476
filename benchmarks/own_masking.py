"""What a tenant's own masking rules cost an event, in microseconds, against a masker as one would write it.

    python -m benchmarks.own_masking

The rules are typical ones: three by key, one by path, one by pattern. The peer decodes the event with msgspec, walks
over all of it, and encodes it again: it does not keep bytes, or look into JSON in strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from benchmarks.data import cloudtrail
from benchmarks.masking import EVENTS, ROUNDS, best, lines
from core.masking.own import OwnMasker
from core.masking.own.pseudonyms import Pseudonyms
from core.tenant_settings import MaskAction, MaskBy, MaskingRule

SECRET: Final = bytes(32)
RULES: Final = (
    MaskingRule(MaskBy.KEY, "*email", MaskAction.HASH),
    MaskingRule(MaskBy.KEY, "ssn", MaskAction.REMOVE),
    MaskingRule(MaskBy.KEY, "phone*", MaskAction.REDACT),
    MaskingRule(MaskBy.PATH, "$.metadata.patient.name", MaskAction.REDACT),
    MaskingRule(MaskBy.PATTERN, r"\b\d{3}-\d{2}-\d{4}\b", MaskAction.REDACT),
)
USER: Final = (MaskingRule(MaskBy.PATH, "$.user_id", MaskAction.HASH),)
_PATTERN: Final = re.compile(r"\b\d{3}-\d{2}-\d{4}\b")


def run() -> list[dict[str, Any]]:
    """Rows of `name`, `ours`, `peer`, `ratio` (peer over ours), `goal` (none), `met` and `unit`."""
    windows = [line for line in lines("windows_large") if len(line) in range(1350, 1450)][:EVENTS]
    trail = cloudtrail(EVENTS)
    return [
        _row("own masking rules, Windows event of 1.4 KB with escapes, nothing to mask", RULES, windows),
        _row("own masking rules, CloudTrail event, nothing to mask", RULES, trail),
        _row(
            "own masking rules, CloudTrail event of which each rule masks something",
            RULES,
            [_with_secrets(item) for item in trail],
        ),
        _row("own masking rules, user_id hashed in each CloudTrail event", USER, [_with_user(item) for item in trail]),
    ]


def _row(name: str, rules: tuple[MaskingRule, ...], events: list[bytes]) -> dict[str, Any]:
    ours = best(OwnMasker(rules, SECRET).mask, events, ROUNDS)
    peer = best(_plain(rules), events, 3)
    return {
        "name": name, "ours": round(ours, 2), "peer": round(peer, 2), "ratio": round(peer / ours, 1),
        "goal": None, "met": True, "unit": "us/event",
    }  # fmt: skip


def _with_secrets(item: bytes) -> bytes:
    planted = b',"email":"ana@example.com","ssn":"1","phone":[1,2],"patient":{"name":"Ana"},"note":"123-45-6789"}}'
    return b'{"action":"a","severity":"INFO","metadata":' + item.rstrip()[:-1] + planted


def _with_user(item: bytes) -> bytes:
    return b'{"action":"a","severity":"INFO","user_id":"ana","metadata":' + item.rstrip() + b"}"


def _plain(rules: tuple[MaskingRule, ...]) -> Callable[[bytes], object]:
    by_pattern = any(rule.by is MaskBy.PATTERN for rule in rules)
    hash_ = Pseudonyms(SECRET)

    def walk(value: Any, at: str) -> Any:
        if isinstance(value, dict):
            return {name: _member(name, item, at) for name, item in value.items() if name.lower() != "ssn"}
        if isinstance(value, list):
            return [walk(item, at) for item in value]
        return _PATTERN.sub("[masked]", value) if by_pattern and isinstance(value, str) else value

    def _member(name: str, item: Any, at: str) -> Any:
        lower, path = name.lower(), f"{at}.{name}"
        if path == ".user_id" or (by_pattern and lower.endswith("email")):
            return hash_.of(str(item).encode()).decode()
        if by_pattern and (lower.startswith("phone") or path == ".metadata.patient.name"):
            return "[masked]"
        return walk(item, path)

    return lambda event: msgspec.json.encode(walk(msgspec.json.decode(event), ""))


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:75} {row['ours']:7} us, decoded and encoded again {row['peer']:8} us")
