"""How much of rules a tenant may have."""

from __future__ import annotations

from typing import Final

MAX_RULES: Final = 50
MAX_PATTERNS: Final = 10
MAX_MATCH: Final = 256
"""Characters of a rule's `match`."""
MAX_PROGRAM: Final = 500
"""Instructions of all of a tenant's patterns together, as RE2 compiles them. A pattern that outruns its cache of states
costs 13 ns a byte for each, the only cost that is not the same for every pattern."""
PATTERN_MEMORY: Final = 1024 * 1024
"""Bytes that RE2 may use for a pattern, and for the screen of them all."""
MAX_HITS: Final = 1000
"""A string in which patterns find more than this is masked whole, as by the default rules."""

LIMITS: Final = {"rules": MAX_RULES, "patterns": MAX_PATTERNS, "match": MAX_MATCH, "program": MAX_PROGRAM}
