"""Who is let in: bounded bytes, a fair share, and less of all while what was let in has to wait."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.admission import FLOOR, TARGET, Admission
from core.errors import Overloaded

MIB = 1024 * 1024


def test_what_is_in_flight_is_bounded_and_a_lone_request_gets_in() -> None:
    admission = Admission(100, 50)
    # Alone, whatever its size.
    with admission.admit("a", 500), pytest.raises(Overloaded), admission.admit("b", 1):
        pass
    assert admission.in_flight == 0
    with admission.admit("a", 30):
        with pytest.raises(Overloaded, match="this tenant"), admission.admit("a", 30):
            pass
        with admission.admit("b", 50):
            with pytest.raises(Overloaded), admission.admit("c", 21):
                pass
            with admission.admit("c", 20):
                assert admission.in_flight == 100
        with pytest.raises(ZeroDivisionError), admission.admit("b", 1):
            raise ZeroDivisionError
    assert admission.in_flight == 0


def test_a_body_is_held_as_large_as_it_turned_out() -> None:
    admission = Admission(100, 100)
    with admission.admit("a", 50) as known:
        known(3)
        assert admission.in_flight == 3
        with admission.admit("a", 40):
            assert admission.in_flight == 43
    assert admission.in_flight == 0


@given(st.integers(1, 12))
def test_each_of_many_greedy_tenants_gets_the_same_and_a_new_one_finds_as_much(greedy: int) -> None:
    admission = Admission(1000 * MIB, 1000 * MIB)
    shares = dict.fromkeys(range(greedy), 0)
    with ExitStack() as stack:
        hungry = set(shares)
        while hungry:
            for n in sorted(hungry):
                try:
                    stack.enter_context(admission.admit(f"greedy{n}", MIB))
                    shares[n] += 1
                except Overloaded:
                    hungry.discard(n)
        fair = 1000 // (greedy + 1)
        assert all(abs(share - fair) <= 1 for share in shares.values())
        for _ in range(fair // 2):  # half of what is free, as for whoever comes last
            stack.enter_context(admission.admit("new", MIB))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.booleans()), max_size=60))
def test_no_byte_is_held_for_ever(steps: list[tuple[str, int, bool]]) -> None:
    admission = Admission(100, 60)
    held: list[tuple[int, AbstractContextManager[Any]]] = []
    for tenant, size, leaves in steps:
        if leaves and held:
            held.pop(0)[1].__exit__(None, None, None)
        turn = admission.admit(tenant, size)
        try:
            turn.__enter__()
        except Overloaded:
            continue
        held.append((size, turn))
        assert admission.in_flight == sum(size for size, _ in held)
        assert admission.in_flight <= 100 or len(held) == 1
    for _, turn in held:
        turn.__exit__(None, None, None)
    assert admission.in_flight == 0


@dataclass
class Served:
    """A server that works off `rate` bytes a second, the oldest first, in moments of 10 ms."""

    rate: int
    admission: Admission
    now: float = 0.0
    waiting: deque[list[Any]] = field(default_factory=deque)
    waits: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def offer(self, tenant: str, size: int) -> None:
        turn = self.admission.admit(tenant, size)
        try:
            turn.__enter__()
        except Overloaded:
            self.refused[tenant] = self.refused.get(tenant, 0) + 1
        else:
            self.waiting.append([tenant, size, self.now, turn])

    def moment(self) -> None:
        done = self.rate // 100
        while self.waiting and done:
            first = self.waiting[0]
            part = min(done, first[1])
            first[1] -= part
            done -= part
            if not first[1]:
                tenant, _, since, turn = self.waiting.popleft()
                turn.__exit__(None, None, None)
                self.waits.setdefault(tenant, []).append(self.now - since)
        self.now += 0.01
        if round(self.now * 100) % 10 == 0:
            self.admission.pace(self.now - self.waiting[0][2] if self.waiting else 0.0, self.now)


@pytest.mark.parametrize("greedy", [1, 3])
def test_twice_the_rate_for_minutes(greedy: int) -> None:
    """What is let in stays fast, the rest is refused, a quiet tenant never is, and afterwards nothing is left of it."""
    rate, size = 4 * MIB, 16 * 1024
    server = Served(rate, Admission(256 * MIB, 64 * MIB))
    each = 2 * rate // size // 100 // greedy
    for n in range(60 * 100):
        for g in range(greedy):
            for _ in range(each):
                server.offer(f"greedy{g}", size)
        if n % 20 == 0:
            server.offer("quiet", size)
        server.moment()
    # At first everything was let in, and learned of when it had waited too long.
    steady = {tenant: waits[len(waits) // 10 :] for tenant, waits in server.waits.items()}
    assert max(max(waits) for waits in steady.values()) < 3 * TARGET
    assert server.refused.get("quiet", 0) == 0
    done = sum(len(waits) for tenant, waits in server.waits.items() if tenant != "quiet") * size
    assert done > 0.95 * rate * 60 * 0.98  # nothing of the rate is given away
    counts = [len(server.waits[f"greedy{g}"]) for g in range(greedy)]
    assert max(counts) < 1.5 * min(counts)
    until = server.now + 3 * TARGET
    while server.waiting:
        server.moment()
    assert server.now < until
    server.offer("greedy0", size)
    server.moment()
    assert not server.waiting  # at once
    for _ in range(1000):
        server.moment()
    assert server.admission.limit == 256 * MIB


def test_it_never_closes() -> None:
    admission = Admission(256 * MIB, 64 * MIB)
    for n in range(1000):
        admission.pace(5.0, n / 10)
    assert admission.limit == FLOOR
    with admission.admit("a", 16 * MIB):
        pass
