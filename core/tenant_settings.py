"""What is set for each tenant: limits, masking, how reads are recorded, what becomes of events that are at fault."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_RETENTION_DAYS: Final = 90
MAX_RETENTION_DAYS: Final = 36_500


class AccessAudit(StrEnum):
    """What becomes of a read that cannot be recorded in the tenant's log."""

    STRICT = "strict"
    """It is refused."""
    BEST_EFFORT = "best_effort"
    """It is answered all the same."""


class MaskBy(StrEnum):
    """How a masking rule finds what to mask; `MaskingRule.match` is that."""

    KEY = "key"
    """The name of a field, at any depth."""
    PATH = "path"
    """A JSON path."""
    PATTERN = "pattern"
    """A regular expression over text."""


class MaskAction(StrEnum):
    REMOVE = "remove"
    REDACT = "redact"
    HASH = "hash"
    """Keyed, so that equal values stay equal."""


@dataclass(frozen=True, slots=True)
class MaskingRule:
    """One rule of a tenant on top of the built-in ones."""

    by: MaskBy
    match: str
    action: MaskAction


@dataclass(frozen=True, slots=True)
class Quotas:
    """The most that is taken in a second and in a (UTC) day; None: no limit. Bytes are those of the bodies."""

    requests_per_second: int | None = None
    events_per_second: int | None = None
    bytes_per_second: int | None = None
    requests_per_day: int | None = None
    events_per_day: int | None = None
    bytes_per_day: int | None = None


UNLIMITED: Final = Quotas()
