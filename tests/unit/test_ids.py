"""Ids and salts: their form, their order, and what they depend on."""

from __future__ import annotations

import base64
import uuid

from hypothesis import given
from hypothesis import strategies as st

from core import ids

NOW = 1_795_261_200_123_456


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(1, 50))
def test_uuid7_holds_its_millisecond(at, count):
    made = [uuid.UUID(text) for text in ids.uuid7s(at, count)]
    assert all(each.version == 7 and each.variant == uuid.RFC_4122 for each in made)
    assert {each.int >> 80 for each in made} == {at // 1000}


def test_uuid7s_of_one_call_ascend_and_differ():
    made = ids.uuid7s(NOW, 4096)
    assert made == sorted(made)
    assert len(set(made) | set(ids.uuid7s(NOW, 4096))) == 8192
    assert all(str(uuid.UUID(text)) == text for text in made)


@given(st.binary(min_size=32, max_size=32), st.text(min_size=1, max_size=50))
def test_a_key_always_gives_the_same_uuid8(secret, key):
    made = ids.uuid8_of_key(secret, key)
    assert made == ids.uuid8_of_key(secret, key)
    assert uuid.UUID(made).version == 8
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_the_id_of_a_key_depends_on_tenant_and_key():
    one, two = bytes(32), bytes(31) + b"\1"
    assert len({ids.uuid8_of_key(one, "a"), ids.uuid8_of_key(two, "a"), ids.uuid8_of_key(one, "b")}) == 3


@given(st.integers(0, 200))
def test_salts_are_sixteen_random_bytes_each(count):
    made = ids.salts(count)
    assert len(set(made)) == count
    for salt in made:
        raw = base64.urlsafe_b64decode(salt + "==")
        assert len(raw) == 16
        assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == salt
