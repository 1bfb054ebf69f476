"""A tenant's rules, checked and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import re2

from core.errors import FieldError, Invalid
from core.event import FREE_FIELDS, KEYWORD_FIELDS
from core.masking.own.limits import MAX_MATCH, MAX_PATTERNS, MAX_PROGRAM, MAX_RULES
from core.masking.own.names import KeyName, quoted
from core.masking.own.paths import Segment, parse
from core.masking.own.sieve import re2_options, unanchored
from core.tenant_settings import MaskAction, MaskBy, MaskingRule

NEVER: Final = frozenset(
    {"id", "tenant_id", "action", "timestamp", "received_at", "severity", "outcome", "salt", "idempotency_key"}
)
"""Named fields that no rule touches: what was done, when, how grave, with what outcome, and the service's own."""
ADDRESS: Final = "ip_address"
MASKABLE: Final = frozenset({*KEYWORD_FIELDS, "message", ADDRESS, *FREE_FIELDS}) - NEVER
_Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A rule by pattern."""

    rule: int
    finditer: Callable[[bytes], Any]


@dataclass(slots=True)
class Program:
    """Rules by their numbers in the order that they were given in; a smaller number goes first."""

    actions: list[MaskAction] = field(default_factory=list)
    keys: list[tuple[int, Callable[[bytes], bool]]] = field(default_factory=list)
    paths: dict[int, tuple[Segment, ...]] = field(default_factory=dict)
    patterns: list[Pattern] = field(default_factory=list)
    screens: list[str] = field(default_factory=list)
    """For each rule a pattern that finds whatever it may mask in unescaped JSON."""
    needed: dict[int, list[bytes]] = field(default_factory=dict)
    """For rules by path what unescaped JSON has to hold besides."""
    size: int = 0
    """Of the patterns, in instructions."""

    def add(self, rule: MaskingRule) -> None:
        """Compile one more rule; raises `ValueError` saying why it is none."""
        number = len(self.actions)
        if len(rule.match) > MAX_MATCH:
            raise ValueError(f"may have {MAX_MATCH} characters")
        if not _is_text(rule.match):
            raise ValueError("has half a surrogate pair")
        if rule.by is MaskBy.KEY:
            name = KeyName.parse(rule.match)
            self.keys.append((number, name.takes()))
            self.screens.append(name.pattern())
        elif rule.by is MaskBy.PATH:
            segments = parse(rule.match)
            _check_root(segments[0])
            self.paths[number] = segments
            *before, last = [segment.name for segment in segments if segment.name]
            self.screens.append(f'"{quoted(last.decode())}"\\s*:')
            self.needed[number] = [b'"%s"' % name for name in before]
        else:
            self._add_pattern(number, rule.match)
        self.actions.append(rule.action)

    def _add_pattern(self, number: int, text: str) -> None:
        if len(self.patterns) == MAX_PATTERNS:
            raise ValueError(f"there may be {MAX_PATTERNS} rules by pattern")
        compiled = _compiled(text)
        if compiled.search(b"") is not None:
            raise ValueError("finds nothing at all, in any text: it must take at least one character")
        size = compiled.programsize
        if self.size + size > MAX_PROGRAM:
            raise ValueError(
                f"the patterns are too large: this one has {size} instructions, and all may have {MAX_PROGRAM}; "
                "classes such as \\p{L} and long repetitions take many"
            )
        self.size += size
        self.patterns.append(Pattern(number, compiled.finditer))
        self.screens.append(_screen(text))


def compiled(rules: Sequence[MaskingRule], at: _Location = ("body", "rules")) -> Program:
    """The program of these rules; raises `Invalid` naming each rule that is at fault by its place below `at`."""
    program = Program()
    faults: list[FieldError] = []
    if len(rules) > MAX_RULES:
        faults.append(FieldError(at, f"there may be {MAX_RULES} rules", "too_many_rules"))
    seen: set[tuple[MaskBy, str]] = set()
    for n, rule in enumerate(rules[:MAX_RULES]):
        try:
            if (rule.by, rule.match) in seen:
                raise ValueError("is there twice: the first alone would count")
            seen.add((rule.by, rule.match))
            program.add(rule)
        except ValueError as error:
            faults.append(FieldError((*at, n, "match"), f"{rule.by.value} {rule.match!r}: {error}", "masking_rule"))
    if faults:
        detail = "; ".join(f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults)
        raise Invalid(detail, code="invalid_request", errors=faults)
    return program


def check_rules(rules: Sequence[MaskingRule], at: _Location = ("body", "rules")) -> None:
    """Raise `Invalid` naming each rule that is at fault by its place below `at`."""
    compiled(rules, at)


def _check_root(root: Segment) -> None:
    if root.index is not None:
        raise ValueError("an event is an object: the path begins with a field's name")
    if root.name is None or root.anywhere:
        return
    name = root.name.decode()
    if name in NEVER:
        raise ValueError(f"{name} is never masked")
    if name not in MASKABLE:
        raise ValueError(f"an event has no field {name}; what is free-form is in metadata, before_state, after_state")


def _compiled(text: str) -> Any:
    try:
        return re2.compile(text.encode(), re2_options())
    except re2.error as error:
        [reason] = error.args
        told = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"no RE2 pattern: {told}") from None


def _screen(text: str) -> str:
    screen = f"(?:{unanchored(text)})"
    try:
        _compiled(screen)
    except ValueError:
        return "."  # every event goes the slow way
    return screen


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
