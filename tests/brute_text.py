"""Full text by brute force: what `q` and a condition on `message` mean, computed from an event's bytes."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any

from core.event import KEYWORD_FIELDS
from tests import brute

JOINS = "\u200c\u200d"


MAX_WORD = 255


@lru_cache(maxsize=8192)
def tokens(text: str) -> tuple[str, ...]:
    """The words of a text: runs of letters, digits and marks; each Han or Hiragana character is one by itself.

    A run of more than `MAX_WORD` characters is cut into words of that length.
    """
    words: list[str] = []
    previous = ""
    for char in text:
        category = unicodedata.category(char)
        if category == "Cf" and char not in JOINS and char != "\u200b":
            continue
        if char not in JOINS and category[0] not in "LM" and category not in ("Nd", "Nl"):
            previous = ""
            continue
        script = previous if category[0] == "M" or char in JOINS else _script(char)
        if script == previous != "single" or (previous and category[0] == "M"):
            words[-1] += _lower(char)
        else:
            words.append(_lower(char))
        previous = script
    return tuple(word[n : n + MAX_WORD] for word in words for n in range(0, len(word), MAX_WORD))


def matches_text(text: str, body: bytes) -> bool:
    """Whether an event has every word and phrase of `text`, or the whole of it as an exact value."""
    event = json.loads(body)
    exact = set(brute.named_texts(event, ("id", *KEYWORD_FIELDS)))
    exact |= {leaf for _, leaf in brute.leaves(body)}
    address = event.get("ip_address")

    def is_value(part: str) -> bool:
        return part in exact or (address is not None and _same_address(part, address))

    parts = [phrase or word for phrase, word in re.findall(r'(?<!\S)"([^"]*)"(?!\S)|(\S+)', text)]
    parts = [part for part in parts if any(char.isalnum() for char in part)]
    said = event.get("message")
    if parts and all(is_value(part) or (said is not None and has_phrase(part, said)) for part in parts):
        return True
    return is_value(text.strip())


def has_phrase(phrase: str, message: str) -> bool:
    """Whether the words of `phrase` stand next to each other in `message`."""
    wanted, there = tokens(phrase), tokens(message)
    return bool(wanted) and any(there[n : n + len(wanted)] == wanted for n in range(len(there) - len(wanted) + 1))


def _script(char: str) -> str:
    name = unicodedata.name(char, "")
    if name.startswith(("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA LETTER")):
        return "single"
    return "katakana" if "KATAKANA" in name else "letters"


def _lower(char: str) -> str:
    lower = char.lower()
    return lower if len(lower) == 1 else lower[0]


def _same_address(text: str, address: Any) -> bool:
    try:
        return "%" not in text and brute.address_key(text) == brute.address_key(address)
    except ValueError:
        return False
