"""The words of a text, as the index's analyzer cuts them: what a phrase in `q` or `message` is compared with.

The analyzer is Unicode's word rules (UAX 29) in Lucene's reading, after the characters of `JOINERS` have become spaces
and those of `INVISIBLE` are gone; then lower case. A contract suite compares the two over all of Unicode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

# The characters that Unicode's word rules (UAX 29) leave inside a word. In logs they separate: `user.login` is found
# by `login`, `failed_for` by `failed`.
JOINERS: Final = (
    ".:,;_'\u2018\u2019\u00b7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a\u2024\ufe52\uff07\uff0e\u037e\u0589\u060c\u060d"
    "\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b\u202f\u203f\u2040\u2054\ufe33\ufe34\ufe4d\ufe4e\ufe4f\uff3f"
    "\u200b"
)
# Marks without a glyph, which would make two words of one that looks the same (Windows writes U+200E in messages).
INVISIBLE: Final = (
    "\u00ad\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
MAX_WORD: Final = 255
"""Characters of a word; a longer one is cut into words of this length."""

_PREPARED: Final = str.maketrans({**dict.fromkeys(JOINERS, " "), **dict.fromkeys(INVISIBLE, "")})
_ASCII_WORD: Final = re.compile(r"[a-z0-9]+")

# Each character stands for its class, so that a pattern over classes finds the words:
# L letter or digit, D the digits 0 to 9, N # and *, H Hebrew, Q a straight double quote, K Katakana, R Hiragana,
# I Han, S a script without spaces (Thai, Khmer), T a mark of one, X another mark or a format character, V U+FE0F,
# Y U+FE0E, C U+20E3, Z U+200D, E emoji, F half a flag, O what separates.
_WORD: Final = re.compile(
    r"FX*F[TXVZ]*"
    r"|[DN]V?C[TXVZ]*(?![LDH])"
    r"|E[TXVC]*(?:ZE[TXVC]*)*"
    r"|[IR][TXVYZC]*"
    r"|K[KTXVYZC]*"
    r"|[ST][STXVYZC]*"
    r"|(?:[LD][TXVYZC]*|H[TXVYZC]*(?:Q(?=H))?)+"
)
_BY_CHARACTER: Final = {
    "#": "N",
    "*": "N",
    '"': "Q",
    "\ufe0f": "V",
    "\ufe0e": "Y",
    "\u20e3": "C",
    "\u200d": "Z",
    "\u200c": "X",
}
_LETTERS_TOO: Final = re.compile(
    "[\u02c2-\u02c5\u02d2-\u02d7\u02de\u02df\u02ed\u02ef-\u02ff\u055b\u055c\u055e\u05f3\u066b\u24b6-\u24e9"
    "\ua720\ua721\ua789\ua78a\uab5b\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f172-\U0001f17d\U0001f180-\U0001f189]"
)
_EMOJI: Final = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3"
    "\u23f8-\u23fa\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    "\u2708-\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767"
    "\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e"
    "\U0001f191-\U0001f19a\U0001f1ad-\U0001f1e5\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a"
    "\U0001f23c-\U0001f23f\U0001f249-\U0001f3fa\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff"
    "\U0001f774-\U0001f77f\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f\U0001f848-\U0001f84f\U0001f85a-\U0001f85f"
    "\U0001f888-\U0001f88f\U0001f8ae-\U0001f8ff\U0001f90c-\U0001f93a\U0001f93c-\U0001f945\U0001f947-\U0001fffd]"
)
_KATAKANA: Final = re.compile("[\u3031-\u3035\u309b\u309c\u30a0-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u32d0-\u32fe"
                              "\u3300-\u3357\uff66-\uff9d\U0001b000]")  # fmt: skip
_HAN: Final = ("CJK UNIFIED", "CJK COMPATIBILITY IDEO", "CJK RADICAL", "KANGXI RADICAL", "IDEOGRAPHIC NUMBER ZERO",
               "HANGZHOU NUMERAL")  # fmt: skip
_HIRAGANA: Final = ("HIRAGANA LETTER", "HIRAGANA ITERATION", "HIRAGANA VOICED", "HIRAGANA DIGRAPH", "HENTAIGANA",
                    "SQUARE HIRAGANA")  # fmt: skip
_WITHOUT_SPACES: Final = ("THAI", "LAO", "KHMER", "MYANMAR", "TAI LE", "NEW TAI LUE", "TAI THAM", "TAI VIET", "AHOM")
_NEITHER: Final = ("TANGUT", "NUSHU", "KHITAN", "IDEOGRAPHIC CLOSING MARK")
"""Ideographs that are not Han (some have no name here): no words to the analyzer."""


def words(text: str) -> list[str]:
    """The words of `text` in their order, lower case."""
    if text.isascii() and '"' not in text and "#" not in text and "*" not in text:
        found = _ASCII_WORD.findall(text.lower())
        return found if len(text) <= MAX_WORD else [*_cut(found)]
    text = text.translate(_PREPARED)
    classes = "".join(map(_class_of, text))
    return [*_cut(_lower(text[match.start() : match.end()]) for match in _WORD.finditer(classes))]


def has_phrase(phrase: list[str], said: list[str]) -> bool:
    """Whether the words of `phrase` stand next to each other in `said`; no words stand nowhere."""
    if not phrase:
        return False
    first, length = phrase[0], len(phrase)
    return any(word == first and said[n : n + length] == phrase for n, word in enumerate(said))


def _cut(found: Iterable[str]) -> Iterator[str]:
    for word in found:
        if len(word) <= MAX_WORD:
            yield word
        else:
            yield from (word[n : n + MAX_WORD] for n in range(0, len(word), MAX_WORD))


def _lower(word: str) -> str:
    # Character by character, as the analyzer does: a final sigma is a sigma, and a dotted I becomes an i alone.
    return word.lower() if word.isascii() else "".join(char.lower()[0] for char in word)


@lru_cache(maxsize=8192)
def _class_of(char: str) -> str:
    if char in _BY_CHARACTER:
        return _BY_CHARACTER[char]
    if "0" <= char <= "9":
        return "D"
    if "\U0001f1e6" <= char <= "\U0001f1ff":
        return "F"
    if _EMOJI.match(char):
        return "E"
    if "\U0001f3fb" <= char <= "\U0001f3ff":
        return "E"
    if _LETTERS_TOO.match(char):
        return "L"
    return _class_by_name(char)


def _class_by_name(char: str) -> str:
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if _KATAKANA.match(char):
        return "K"
    if name.startswith(_HAN):
        return "I"
    if name.startswith(_HIRAGANA):
        return "R"
    if name.startswith(_WITHOUT_SPACES) and category != "Nd" and category not in ("Po", "Sc"):
        return "T" if category[0] == "M" else "S"
    if category[0] == "M" or category == "Cf" or char in "\uff9e\uff9f":
        return "X"
    is_letter = category[0] == "L" or category in ("Nd", "Nl")
    if not is_letter or not name or name.startswith(_NEITHER):
        return "O"
    return "H" if name.startswith("HEBREW LETTER") else "L"
