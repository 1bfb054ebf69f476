"""What full text means.

It is cut at white space into words; `"two words"` between white space is one phrase. An event matches when each word
or phrase is found, or when the whole text is the exact value of a field. A word or phrase is found when

- `message` holds its words next to each other, in that order: case does not count, and what is neither letter nor
  digit separates (`10.0.0.1` is four words in a row; `login` is found in `user.login`); or
- it is the exact value, case included, of a named field or of any value in `metadata`, `before_state`, `after_state`.

A word without a letter or digit (`-`, `***`) is passed over, unless it is the whole text.
"""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = re.compile(r'(?<!\S)"([^"]*)"(?!\S)|(\S+)')


def words_of(text: str) -> tuple[list[str], str | None]:
    """The words and phrases that must be found, and the whole text unless it is the only one of them."""
    written = [phrase or word for phrase, word in _WORDS.findall(text)]
    words = list(dict.fromkeys(word for word in written if any(map(str.isalnum, word))))
    whole = text.strip()
    return words, None if words == written == [whole] else whole
