"""A tenant's own masking of anything: against a plain rewriting of the rules in Python, and with itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.masking.own import OwnMasker
from core.masking.own.pseudonyms import Pseudonyms
from core.masking.own.sieve import unescaped
from core.tenant_settings import MaskAction, MaskBy, MaskingRule

SECRET = b"s" * 32
HASH = Pseudonyms(SECRET)
NAMES = ["ssn", "S-S_N", "email", "user", "in", "é", 'q"']
PATTERN = r"x\d+"
words = st.text(st.sampled_from('xy019 "\\\n/é😀{[]}:,-'), max_size=8)
numbers = st.integers(-(10**9), 10**9) | st.sampled_from([1.5, -0.25])
leaves = st.none() | st.booleans() | numbers | words
names = st.sampled_from(NAMES) | words
objects = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=25
)
events = st.dictionaries(names, objects, max_size=4).map(lambda found: {"action": "ssn", "metadata": found})
actions = st.sampled_from(list(MaskAction))


def replaced(action: MaskAction, value: Any) -> Any:
    """What takes a value's place when it is masked as a whole."""
    if isinstance(value, dict):
        return {name: replaced(action, item) for name, item in value.items()}
    if isinstance(value, list):
        return [replaced(action, item) for item in value]
    if value is None or value == "":
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return HASH.of(text.encode()).decode() if action is MaskAction.HASH else "[masked]"


def is_ssn(name: str) -> bool:
    return re.sub(r"[-_. :*\[\]]", "", name).lower() == "ssn"


def by_key(action: MaskAction, value: Any) -> Any:
    """The rule for the key `ssn` over a decoded document; strings of JSON are left alone."""
    if isinstance(value, list):
        return [by_key(action, item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        if not is_ssn(name):
            found[name] = by_key(action, item)
        elif action is not MaskAction.REMOVE:
            found[name] = replaced(action, item)
    return found


def written(document: Any, ascii_only: bool, indent: int | None) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()


def masker(by: MaskBy, match: str, action: MaskAction) -> OwnMasker:
    return OwnMasker([MaskingRule(by, match, action)], SECRET)


MASKERS = {
    (by, action): masker(by, match, action)
    for by, match in (
        (MaskBy.KEY, "ssn"),
        (MaskBy.PATH, "$.metadata..user['é']"),
        (MaskBy.PATTERN, PATTERN),
    )
    for action in MaskAction
}


@given(events, actions, st.booleans(), st.sampled_from([None, 0, 2]))
def test_agrees_with_a_rule_by_key_written_plainly(
    event: Any, action: MaskAction, ascii_only: bool, indent: int | None
) -> None:
    kept = MASKERS[MaskBy.KEY, action].mask(written(event, ascii_only, indent))
    # A string that is JSON by chance is what the next test is about.
    if not any(text in json.dumps(event) for text in ('"{', '"[', '" ', '"\\n')):
        assert json.loads(kept) == by_key(action, event)


@given(st.dictionaries(names, objects, max_size=4), actions, st.booleans())
def test_json_in_a_string_is_masked_as_json_is(inside: Any, action: MaskAction, ascii_only: bool) -> None:
    for by in (MaskBy.KEY, MaskBy.PATTERN):
        own = MASKERS[by, action]
        sent = {"action": "a", "metadata": {"body": json.dumps([inside], ensure_ascii=ascii_only)}}
        body = json.loads(own.mask(written(sent, ascii_only, None)))["metadata"]["body"]
        plain = json.loads(own.mask(written({"action": "a", "metadata": {"body": [inside]}}, ascii_only, None)))
        assert json.loads(body) == plain["metadata"]["body"]


@given(events, st.sampled_from(list(MASKERS)), st.booleans(), st.sampled_from([None, 2]))
def test_the_fast_way_finds_all_and_twice_is_once(
    event: Any, rule: tuple[MaskBy, MaskAction], ascii_only: bool, indent: int | None
) -> None:
    own, sent = MASKERS[rule], written(event, ascii_only, indent)
    kept = own.mask(sent)
    assert kept == own.mask_slowly(sent)
    json.loads(kept)
    if rule != (MaskBy.PATTERN, MaskAction.REMOVE):  # what is left on both sides of a hole may be one more
        assert own.mask(kept) == kept


@given(words, st.booleans())
def test_no_text_of_the_pattern_is_left(text: str, ascii_only: bool) -> None:
    kept = json.loads(
        MASKERS[MaskBy.PATTERN, MaskAction.REDACT].mask(written({"metadata": {"a": text}}, ascii_only, None))
    )
    assert kept["metadata"]["a"] == re.sub(PATTERN, "[masked]", text) or text[:1] in "{["


@given(st.dictionaries(words, words, max_size=3), st.booleans())
def test_unescaped_json_holds_every_string(document: dict[str, str], ascii_only: bool) -> None:
    text = unescaped(written(document, ascii_only, None))
    assert text is not None
    for name, value in document.items():
        assert f'"{name}"'.encode() in text
        assert f'"{value}"'.encode() in text


@pytest.mark.parametrize("match", [r"^x+$", r"\bx\B", r"(?m)^y$", r"[x^$]y", r"\Qx^\E", r"x\z|\Ay", r"\p{^Greek}9"])
@given(text=words, ascii_only=st.booleans())
def test_anchored_patterns_are_found_by_the_fast_way_too(match: str, text: str, ascii_only: bool) -> None:
    own = masker(MaskBy.PATTERN, match, MaskAction.REDACT)
    sent = written({"metadata": {"a": text, "b": [text, 9]}}, ascii_only, None)
    assert own.mask(sent) == own.mask_slowly(sent)
