"""The slow way: a walk over an event's JSON that collects what a tenant's rules change.

One match a member or item, 0.5 us each. Objects and arrays that no rule can reach into are passed over in one go.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from core.masking.escapes import Unescaped, unescape
from core.masking.masker import MAX_NESTING
from core.masking.own.program import ADDRESS, NEVER, Pattern
from core.masking.own.pseudonyms import STANDING
from core.masking.own.steps import NO_RULE, NOWHERE, States, Steps
from core.masking.own.text import Change, Replacements, found_in
from core.masking.rules import MASKED

_TOKEN: Final = re.compile(
    rb'[\s,]*+(?:(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+:\s*+)?'
    rb'(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^\s,\[\]{}":]++)|([{\[]))|([}\]]))',
    re.DOTALL,
)
_KEY, _STRING, _BARE, _OPEN, _CLOSE = 1, 2, 3, 4, 5
_TO_BRACKET: Final = re.compile(rb'(?:[^{}\[\]"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(?:([{\[])|[}\]])', re.DOTALL)
_NO_PLACE: Final = (sys.maxsize, sys.maxsize)
_COMMA_AFTER: Final = re.compile(rb"[ \t\r\n]*+,")
_NAMED_NEVER: Final = frozenset(name.encode() for name in NEVER)
_ADDRESS: Final = ADDRESS.encode()
_TAGS: Final = b"tags"
_NULL: Final = b"null"
_BETWEEN: Final = b" \t\r\n,"
_MAY_BE_JSON: Final = b"{[ \t\r\n\\"
_decode: Final = msgspec.json.Decoder(msgspec.Raw).decode


Places = Callable[[bytes], Iterable[tuple[int, int]]]


class Rules(NamedTuple):
    """What a walk goes by: of a tenant's rules those that the sieve named."""

    steps: Steps
    keys: bool
    """Whether any rule by key is among them."""
    patterns: Sequence[Pattern]
    places: Places
    """Where in raw JSON, but for strings with escapes, the patterns may find something."""
    replacements: Replacements


class _Frame:
    """An object or array that the walk is in."""

    __slots__ = ("array", "count", "fields", "is_open", "kept", "names", "rule", "states", "tags")

    def __init__(self, array: bool, states: States, rule: int, *, fields: bool = False, tags: bool = False) -> None:
        self.array = array
        self.states = states
        self.rule = rule  # that applies to everything in it, or NO_RULE
        self.fields = fields  # its members are an event's named fields
        self.is_open = rule == NO_RULE and not states  # what it is in or where calls for no rule in it,
        self.names: Collection[bytes | None] = ()  # but for members with these names
        self.tags = tags  # its items are an event's tags, which have to stay strings
        self.count = 0  # items so far
        self.kept = False  # whether a member so far stays


class Walk:
    """Over one valid document. The stack is a list, so depth costs memory and nothing else."""

    def __init__(self, document: bytes, rules: Rules, nesting: int = 0) -> None:
        self._document = document
        self._rules = rules
        self._nesting = nesting
        self._deep = rules.keys or bool(rules.patterns)
        self._changes: list[Change] = []
        self._places = iter(rules.places(document)) if rules.patterns else iter(())
        self._place = next(self._places, _NO_PLACE)

    def changes(self, states: States, *, event: bool) -> list[Change]:
        """What to change in it, in order and apart from each other. `states` are those at the document itself."""
        frame = root = _Frame(True, NOWHERE, NO_RULE)
        stack: list[_Frame] = []
        match, document, at = _TOKEN.match, self._document, 0
        keys, named = self._rules.keys, self._rules.steps.named.get
        while (token := match(document, at)) is not None:
            at = token.end()
            kind = token.lastindex
            if kind == _CLOSE:
                frame = stack.pop()
                if not stack:
                    break
                continue
            if frame is root:
                stack.append(frame)
                frame = self._frame(token, states, NO_RULE, fields=event)
                continue
            # Most members by far are no rule's business; told here, without a call, they cost half as much.
            name, raw = token.group(_KEY, _STRING)
            if (
                frame.is_open
                and at < self._place[0]
                and (
                    name is None
                    or (name not in frame.names and b"\\" not in name and (not keys or named(name) == NO_RULE))
                )
                and not (raw and (raw[0] in _MAY_BE_JSON or b"\\" in raw))
                and (kind != _OPEN or (self._deep and not frame.fields))
            ):
                frame.kept = True
                frame.count += 1
                if kind == _OPEN:
                    stack.append(frame)
                    frame = _Frame(token[_OPEN] == b"[", NOWHERE, NO_RULE)
                continue
            at, inner = self._member(token, frame)
            if inner is not None:
                stack.append(frame)
                frame = inner
        return self._changes

    def _frame(
        self, token: re.Match[bytes], states: States, rule: int, *, fields: bool = False, tags: bool = False
    ) -> _Frame:
        frame = _Frame(token[_OPEN] == b"[", states, rule, fields=fields, tags=tags)
        if states and rule == NO_RULE and not frame.array and self._rules.steps.need_a_name(states):
            frame.is_open, frame.names = True, self._rules.steps.names
        return frame

    def _is_found(self, start: int, end: int) -> bool:
        """Whether a pattern may find something there. The places that are asked for come in order."""
        while self._place[1] < start:
            self._place = next(self._places, _NO_PLACE)
        return self._place[0] <= end

    def _member(self, token: re.Match[bytes], frame: _Frame) -> tuple[int, _Frame | None]:
        """Take one member or item: where the walk goes on, and in what, if that is in it."""
        name = token[_KEY]
        field = unescape(name) if frame.fields and name is not None else None
        if field in _NAMED_NEVER:
            frame.kept = True
            return self._past(token), None
        states, rule = self._asked(frame, name)
        removed = rule != NO_RULE and self._rules.replacements.removes(rule)
        if name is not None and field is None and not removed and self._rules.patterns:
            rule, removed = self._name(token, rule)
        if field == _ADDRESS and token.lastindex == _STRING and not removed:
            rule, removed = self._address(token, rule)
        if removed:
            start, end = token.end() - len(token[0].lstrip(_BETWEEN)), self._past(token)
            if frame.array:
                self._empty(frame, start, end, rule)
            else:
                self._remove(start, end, rule, first=not frame.kept)
            return end, None
        frame.kept = True
        if token.lastindex == _OPEN:
            if rule == NO_RULE and not states and not self._deep:
                return self._past(token), None
            return token.end(), self._frame(token, states, rule, tags=field == _TAGS)
        if field != _ADDRESS or token.lastindex == _BARE:
            self._value(token, states, rule)
        return token.end(), None

    def _asked(self, frame: _Frame, name: bytes | None) -> tuple[States, int]:
        """The states at a member or item, and the first rule for it; for it alone, or for what it is in."""
        steps = self._rules.steps
        states, rule = NOWHERE, frame.rule
        if frame.states:
            states, own = steps.into(frame.states, name, frame.count)
            rule = min(rule, own)
        if name is None:
            frame.count += 1
        elif self._rules.keys:
            rule = min(rule, steps.of_name(name))
        return states, rule

    def _past(self, token: re.Match[bytes]) -> int:
        """Where the member's or item's value ends."""
        at, depth = token.end(), int(token.lastindex == _OPEN)
        while depth:
            found = _TO_BRACKET.match(self._document, at)
            assert found is not None  # noqa: S101 - the document is valid
            at = found.end()
            depth += 1 if found[1] else -1
        return at

    def _empty(self, frame: _Frame, start: int, end: int, rule: int) -> None:
        """What is left of an item that is removed, so that the others keep their places."""
        new = b'""' if frame.tags else _NULL
        if self._document[start:end] != new:
            self._changes.append(Change(start, end, new, rule))

    def _remove(self, start: int, end: int, rule: int, *, first: bool) -> None:
        """Take out a member with one comma: the one before it, or after it where it is the first that is left."""
        if not first:
            start = self._document.rindex(b",", 0, start)
        elif (comma := _COMMA_AFTER.match(self._document, end)) is not None:
            end = comma.end()
        self._changes.append(Change(start, end, b"", rule))

    def _name(self, token: re.Match[bytes], rule: int) -> tuple[int, bool]:
        """Look for patterns in a member's name; the rule for the member then, and whether it takes the member away."""
        found = self._in_text(*token.span(_KEY))
        for change in found:
            if self._rules.replacements.removes(change.rule):
                return change.rule, True
        self._changes += found
        return rule, False

    def _address(self, token: re.Match[bytes], rule: int) -> tuple[int, bool]:
        """Mask the field that has to stay an address; the rule for it, and whether it goes since it would be none."""
        text, replacements = unescape(token[_STRING]), self._rules.replacements
        if rule == NO_RULE:
            rule = min((found.rule for found in found_in(text, self._rules.patterns, replacements)), default=NO_RULE)
        if rule == NO_RULE:
            return rule, False
        new = replacements.of_address(rule, text)
        if new is not None and new != text:
            self._changes.append(Change(*token.span(_STRING), new, rule))
        return rule, new is None

    def _value(self, token: re.Match[bytes], states: States, rule: int) -> None:
        """Mask a string, number or literal."""
        if token.lastindex == _STRING:
            raw, (start, end) = token[_STRING], token.span(_STRING)
            if rule == NO_RULE:
                if states or self._deep:
                    self._changes += self._in_string(raw, start, states)
            elif raw and not STANDING.fullmatch(raw):
                self._changes.append(Change(start, end, self._rules.replacements.of(rule, unescape(raw)), rule))
            return
        bare, (start, end) = token[_BARE], token.span(_BARE)
        if bare == _NULL:
            return
        if rule == NO_RULE:
            if bare[0] in b"tf" or not self._is_found(start, end):
                return
            found = found_in(bare, self._rules.patterns, self._rules.replacements)
            rule = min((change.rule for change in found), default=NO_RULE)
            if rule == NO_RULE:
                return
        new = self._rules.replacements.of(rule, bare)
        self._changes.append(Change(start, end, b'"' + new + b'"' if new else _NULL, rule))

    def _in_string(self, raw: bytes, start: int, states: States) -> list[Change]:
        """What to change inside a string that is not masked whole; `start` is where it begins."""
        if raw[:1] and raw[0] in _MAY_BE_JSON:
            string = Unescaped(raw)
            if is_json(string.text):
                return self._in_json(string, start, states)
        return self._in_text(start, start + len(raw))

    def _in_json(self, string: Unescaped, start: int, states: States) -> list[Change]:
        if self._nesting >= MAX_NESTING:
            whole = string.raw(len(string.text))
            return [Change(start, start + whole, MASKED, NO_RULE)]
        found = Walk(string.text, self._rules, self._nesting + 1).changes(states, event=False)
        return [_placed(change, string, start) for change in found]

    def _in_text(self, start: int, end: int) -> list[Change]:
        """What patterns change in the string that stands there."""
        raw, rules = self._document[start:end], self._rules
        if b"\\" not in raw:
            if not self._is_found(start, end):
                return []
            found = found_in(raw, rules.patterns, rules.replacements)
            return [Change(start + c.start, start + c.end, c.new, c.rule) for c in found]
        if not rules.patterns:
            return []
        string = Unescaped(raw)
        return [_placed(change, string, start) for change in found_in(string.text, rules.patterns, rules.replacements)]


def _placed(change: Change, string: Unescaped, start: int) -> Change:
    """A change of a string's text as one of the document that holds the string from `start` on."""
    new = change.new.replace(b'"', b'\\"')
    return Change(start + string.raw(change.start), start + string.raw(change.end), new, change.rule)


def is_json(text: bytes) -> bool:
    """Whether text is a JSON object or array, by the parser that decodes events."""
    if not text.lstrip(b" \t\r\n").startswith((b"{", b"[")):
        return False
    try:
        _decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True
