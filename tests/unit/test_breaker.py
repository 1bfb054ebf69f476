"""The breaker: what passes its deadline again and again is not called, until one call is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial

import pytest

from core import telemetry
from core.breaker import REST, THRESHOLD, Breaker, BreakerState, guarded
from core.errors import TimedOut, Unavailable

CLOSED, OPEN, PROBING = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.PROBING


class Port:
    """Raises `fail`, and hangs while `goes_on` is clear."""

    def __init__(self) -> None:
        self.fail: BaseException | None = None
        self.calls = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def ask(self, value: int = 1, *, twice: bool = False) -> int:
        """Doubles."""
        self.calls += 1
        await self.goes_on.wait()
        if self.fail is not None:
            raise self.fail
        return value * 2 if twice else value

    async def scan(self) -> AsyncIterator[int]:
        yield 1

    async def aclose(self) -> None:
        self.calls = -1

    def name(self) -> str:
        return "port"


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.breaker = Breaker("index", lambda: self.now)
        self.inner = Port()
        self.port = guarded(self.inner, self.breaker)

    async def ask(self, times: int = 1) -> list[type[Exception]]:
        """The classes of the errors of so many calls."""
        raised: list[type[Exception]] = []
        for _ in range(times):
            with pytest.raises(Unavailable) as caught:
                await self.port.ask()
            raised.append(type(caught.value))
        return raised

    async def open(self) -> None:
        self.inner.fail = TimedOut("index")
        assert await self.ask(THRESHOLD) == [TimedOut] * THRESHOLD
        assert self.breaker.state is OPEN


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("core.breaker.random.uniform", lambda low, high: high)
    return World()


async def test_after_three_deadlines_in_a_row_no_call_is_made(world: World) -> None:
    await world.open()
    before = _metric("ocelot_breaker_refusals_total")
    assert await world.ask(5) == [Unavailable] * 5
    assert world.inner.calls == THRESHOLD
    assert _metric("ocelot_breaker_refusals_total") == before + 5
    assert _metric("ocelot_breaker_open") == 1


@pytest.mark.parametrize("answer", [None, Unavailable("index"), ValueError("x")], ids=repr)
async def test_any_answer_in_between_starts_the_count_again(world: World, answer: Exception | None) -> None:
    for fail in [TimedOut("index"), TimedOut("index"), answer] * 4:
        world.inner.fail = fail
        with suppress(Unavailable, ValueError):
            await world.port.ask()
    assert world.breaker.state is CLOSED


async def test_the_rests_double_until_a_probe_is_answered(world: World) -> None:
    await world.open()
    calls = THRESHOLD
    for rest in (0.5, 1, 2, 4, 8, 8):
        world.now += rest - 0.001
        assert await world.ask() == [Unavailable]
        world.now += 0.001
        assert await world.ask() == [TimedOut]
        calls += 1
        assert world.inner.calls == calls
    world.now += REST[1]
    world.inner.fail = None
    assert await world.port.ask(4) == 4
    assert world.breaker.state is CLOSED
    assert _metric("ocelot_breaker_open") == 0
    world.inner.fail = TimedOut("index")
    assert await world.ask(THRESHOLD) == [TimedOut] * THRESHOLD
    world.now += REST[0]
    assert await world.ask() == [TimedOut]  # it rests from the first again


async def test_one_call_at_a_time_probes(world: World) -> None:
    await world.open()
    world.now += REST[0]
    world.inner.fail = None
    world.inner.goes_on.clear()
    probe = asyncio.create_task(world.port.ask())
    await asyncio.sleep(0)
    assert world.breaker.state is PROBING
    assert await world.ask(3) == [Unavailable] * 3
    world.inner.goes_on.set()
    assert await probe == 1
    assert world.inner.calls == THRESHOLD + 1


async def test_a_probe_that_is_cut_off_leaves_its_turn_to_the_next(world: World) -> None:
    await world.open()
    world.now += REST[0]
    world.inner.goes_on.clear()
    probe = asyncio.create_task(world.port.ask())
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert world.breaker.state is OPEN
    world.inner.goes_on.set()
    world.inner.fail = None
    assert await world.port.ask() == 1


async def test_silence_of_another_dependency_tells_nothing_of_this_one(world: World) -> None:
    world.inner.fail = TimedOut("store")
    await world.ask(2 * THRESHOLD)
    assert world.breaker.state is CLOSED
    await world.open()
    world.now += REST[0]
    world.inner.fail = TimedOut("store")
    assert await world.ask(2) == [TimedOut] * 2
    assert world.breaker.state is OPEN


async def test_calls_under_way_when_it_opens_change_nothing_unless_they_are_answered(world: World) -> None:
    world.inner.goes_on.clear()
    world.inner.fail = TimedOut("index")
    late = [asyncio.create_task(world.port.ask()) for _ in range(8)]
    await asyncio.sleep(0)
    world.inner.goes_on.set()
    await asyncio.gather(*late, return_exceptions=True)
    assert world.breaker.state is OPEN
    world.now += REST[0]
    assert await world.ask() == [TimedOut]


async def test_all_but_coroutine_functions_is_the_ports_own(world: World) -> None:
    await world.open()
    assert world.port.name() == "port"
    assert [n async for n in world.port.scan()] == [1]
    await world.port.aclose()
    assert world.inner.calls == -1
    with pytest.raises(AttributeError):
        world.port.nothing  # type: ignore[attr-defined]  # noqa: B018


async def test_arguments_and_results_pass(world: World) -> None:
    ask: Callable[..., object] = world.port.ask
    assert ask.__doc__ == "Doubles."
    assert await partial(world.port.ask, 21, twice=True)() == 42


def _metric(name: str) -> float:
    return telemetry.REGISTRY.get_sample_value(name, {"dependency": "index"}) or 0
