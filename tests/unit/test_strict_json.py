"""JSON that is read without forgiving anything."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InvalidQuery
from core.query import strict_json


class Compared(str):
    """A name that counts how often it is compared."""

    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)


def test_a_name_that_stands_twice_is_found_in_one_pass() -> None:
    names = [*(f"n{n}" for n in range(5000)), "last", "last"]
    pairs: list[tuple[str, Any]] = [(Compared(name), 1) for name in names]
    with pytest.raises(InvalidQuery, match="last stands twice"):
        strict_json._members(pairs)
    # One look into a table for each name, where a list of them would be gone through again and again.
    assert Compared.times < 4 * len(names)


def test_the_first_name_that_stands_twice_is_told() -> None:
    with pytest.raises(InvalidQuery, match=r"^b stands twice in one object$"):
        strict_json.read(b'{"a": 1, "b": {}, "c": [], "b": 2, "c": 3}')
