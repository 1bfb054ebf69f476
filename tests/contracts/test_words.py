"""`core.words` against the analyzer of the index: the same words for every character there is, in every company.

On OpenSearch alone: osmem's own analyzer differs in long words, final sigmas and Thai (see test_event_index_search).
"""

from __future__ import annotations

import bisect
import secrets
import unicodedata
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.adapters.index import mapping
from core.words import words
from tests.conftest import LIVE_OPENSEARCH

pytestmark = pytest.mark.skipif(not LIVE_OPENSEARCH, reason="no OCELOT_TEST_OPENSEARCH_URL")
# Of the characters that came after Unicode 3.2, the analyzer knows some and this Python others.
KNOWN = [
    chr(n)
    for n in range(0x20, 0x30000)
    if unicodedata.ucd_3_2_0.category(chr(n)) not in ("Cn", "Cs", "Co")
    and (n % 97 == 0 or not unicodedata.name(chr(n), "").startswith(("CJK UNIFIED", "HANGUL SYLLABLE")))
]
COMPANY = ["{0}", "q{0}q", "カ{0}カ", "א{0}א", "{0}{0}", "1{0}2", "漢{0}", "ก{0}ก", "😀{0}😀", "ひ{0}"]
STEP = 3000


@pytest.fixture(scope="module")
def analyzer() -> Iterator[httpx.Client]:
    name = f"test-words-{secrets.token_hex(6)}"
    with httpx.Client(base_url=f"{LIVE_OPENSEARCH}/{name}", timeout=60) as http:
        assert http.put("", json={"settings": mapping.settings(1, 0)}).status_code == 200
        yield http
        http.delete("")


def analyzed(http: httpx.Client, texts: list[str]) -> list[list[str]]:
    """The words of each text, which must not hold a line break."""
    answer = http.post("/_analyze", json={"analyzer": mapping.ANALYZER, "text": "\n".join(texts)})
    starts, offset = [], 0
    for text in texts:
        starts.append(offset)
        offset += len(text.encode("utf-16-le", "surrogatepass")) // 2 + 1
    found: list[list[str]] = [[] for _ in texts]
    for token in answer.json()["tokens"]:
        found[bisect.bisect_right(starts, token["start_offset"]) - 1].append(token["token"])
    return found


@pytest.mark.parametrize("company", COMPANY)
def test_every_character_makes_the_same_words(analyzer: httpx.Client, company: str) -> None:
    different = []
    for start in range(0, len(KNOWN), STEP):
        texts = [company.format(char) for char in KNOWN[start : start + STEP]]
        different += [
            (text, words(text), there)
            for text, there in zip(texts, analyzed(analyzer, texts), strict=True)
            if words(text) != there
        ]
    assert different == []


PIECES = ["user", "login", ".", "_", " ", "'", '"', "é", "É", "ß", "Σ", "İ", "ก", "ำ", "漢", "字", "か", "゙", "カ", "ー"]
PIECES += [
    "한",
    "א",
    "ב",
    "\u05b0",
    "1",
    "23",
    "١",
    "#",
    "*",
    "\ufe0f",
    "\u20e3",
    "\u200d",
    "👩",
    "💻",
    "🏽",
    "🇩",
    "🇪",
    "©",
]
PIECES += ["\u200b", "\u200e", "\u00ad", "-", "/", "x" * 256]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), min_size=200, max_size=400))
def test_every_mixture_makes_the_same_words(analyzer: httpx.Client, texts: list[str]) -> None:
    there = analyzed(analyzer, texts)
    assert [(text, words(text)) for text in texts] == list(zip(texts, there, strict=True))
