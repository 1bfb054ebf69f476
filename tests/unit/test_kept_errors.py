"""What was wrong with an event is kept as a value, and holds nothing of the request that it was found in.

An error's traceback has the frames that it passed, and these those that called them: where one of those holds the
error, all of it waits for the collector, which may not come for long. So a few hundred bytes a request took the API's
memory.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType

import pytest

from core.bulk import Bulk, Form
from core.errors import InvalidEvent, OcelotError, as_value
from core.prepare import decoded, encoded, stamped
from tests.unit.test_taking import LIMIT, NOW, TENANT

LONG = b"x" * LIMIT


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left_behind(work: Callable[[], object]) -> list[str]:
    """The functions of the core whose frames only the collector could free. (A weak proxy may have no class.)"""
    before = {id(each) for each in gc.get_objects()}
    work()
    left = [each for each in gc.get_objects() if type(each) is FrameType and id(each) not in before]
    return [each.f_code.co_name for each in left if "/core/" in each.f_code.co_filename]


BAD = {
    "too large": b'{"action":"a","message":"' + LONG + b'"}',
    "no UTF-8": b'{"action":"a","message":"\xff' + LONG[:1000] + b'"}',
    "no JSON": b'{"action":"a","message":',
    "too deep": b'{"action":"a","metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "of another type": b'{"action":1}',
    "an unknown field": b'{"action":"a","colour":1}',
    "half of a surrogate pair": b'{"action":"a","user_id":"\\ud800"}',
    "reserved": b'{"action":"ocelot.a"}',
    "no address": b'{"action":"a","ip_address":"x"}',
    "a bad time": b'{"action":"a","timestamp":"x"}',
    "a long name": b'{"action":"a","user_id":"' + LONG[:9000] + b'"}',
    "an empty key": b'{"action":"a","idempotency_key":""}',
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_event_is_gone_with_its_request(kind: str) -> None:
    def take() -> int:
        entries = [decoded(BAD[kind], is_utf8=False), decoded(b'{"action":"good"}')]
        faults = 0
        for run in encoded(entries, NOW):
            faults += len(stamped(TENANT, run, NOW, {}).faults)
        return faults

    assert take() == 1
    assert left_behind(take) == []


@pytest.mark.parametrize("form", Form)
def test_a_bad_bulk_is_gone_with_its_request(form: Form) -> None:
    def take() -> None:
        for body in (b"[" + LONG, LONG, b"\n".join([BAD["too large"]] * 3), b'{"events":1}', b"[" * 9000):
            with suppress(OcelotError):
                for item in Bulk(body, form).items():
                    decoded(item)

    assert left_behind(take) == []


def test_an_error_as_a_value_is_as_it_was_and_remembers_nobody() -> None:
    try:
        try:
            raise ValueError("inside")
        except ValueError:
            raise InvalidEvent("outside", code="too_deep") from None
    except InvalidEvent as error:
        kept = as_value(error)
    assert (kept.message, kept.code) == ("outside", "too_deep")
    assert (kept.__traceback__, kept.__context__, kept.__cause__) == (None, None, None)
