"""What a reader asks for: one type, `EventQuery`, two ways to write it, and a request for a page of it."""

from __future__ import annotations

from core.query import strict_json
from core.query.addresses import cidr_bounds, ip_key
from core.query.bounds import (
    MAX_CLAUSES,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_TEXT,
    MAX_VALUES,
    MAX_WORDS,
    check,
)
from core.query.model import (
    EXACT_FIELDS,
    INDEX_FIELDS,
    TIME_FIELDS,
    And,
    Condition,
    During,
    EventQuery,
    Leaf,
    Match,
    Node,
    Not,
    Or,
    Position,
    Range,
    Text,
    Value,
    depth,
    leaves,
    of_nodes,
)
from core.query.own import NOT_OWN, OWN, is_filtered, without_own
from core.query.page import DEFAULT_LIMIT, MAX_LIMIT, Page, fingerprint, fixed
from core.query.parameters import parse
from core.query.stories import parse_story
from core.query.tree import parse_body, parse_document
from core.query.words import words_of

__all__ = [
    "DEFAULT_LIMIT",
    "EXACT_FIELDS",
    "INDEX_FIELDS",
    "MAX_CLAUSES",
    "MAX_CONDITIONS",
    "MAX_DEPTH",
    "MAX_LIMIT",
    "MAX_TEXT",
    "MAX_VALUES",
    "MAX_WORDS",
    "NOT_OWN",
    "OWN",
    "TIME_FIELDS",
    "And",
    "Condition",
    "During",
    "EventQuery",
    "Leaf",
    "Match",
    "Node",
    "Not",
    "Or",
    "Page",
    "Position",
    "Range",
    "Text",
    "Value",
    "check",
    "cidr_bounds",
    "depth",
    "fingerprint",
    "fixed",
    "ip_key",
    "is_filtered",
    "leaves",
    "of_nodes",
    "parse",
    "parse_body",
    "parse_document",
    "parse_story",
    "strict_json",
    "without_own",
    "words_of",
]
