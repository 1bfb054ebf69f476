"""A dependency that hangs is not waited for again and again: calls to it fail at once until one of them is answered."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial, wraps
from typing import Any, Final, TypeVar, cast

from core import telemetry
from core.errors import TimedOut, Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
# Calls in a row that passed their deadlines.
THRESHOLD: Final = 3
# Seconds until the first probe, doubling to the longest, half of it by chance, so that processes do not probe as one.
REST: Final = (0.5, 8.0)


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """Counts the calls to one dependency that ended in `TimedOut`; `clock` is monotonic seconds.

    Any other end is an answer, a refusal too, and closes it. While it is open, one call at a time goes through as a
    probe, each after a rest; the others raise `Unavailable` untried.
    """

    def __init__(self, dependency: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._dependency = dependency
        self._clock = clock
        self._silent = 0
        self._rest = 0.0
        self._until = 0.0
        self._set(BreakerState.CLOSED)

    @property
    def state(self) -> BreakerState:
        return self._state

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, unless the breaker is open."""
        probe = self._admit()
        try:
            result = await work()
        except Unavailable as error:
            if error.dependency != self._dependency:
                self._tells_nothing(probe)
            elif isinstance(error, TimedOut):
                self._timed_out(probe)
            else:
                self._answered()
            raise
        except asyncio.CancelledError:
            self._tells_nothing(probe)
            raise
        except BaseException:
            self._answered()
            raise
        self._answered()
        return result

    def _admit(self) -> bool:
        """Whether the call is a probe; raises `Unavailable` for one that must not be tried."""
        if self._state is BreakerState.CLOSED:
            return False
        if self._state is BreakerState.PROBING or self._clock() < self._until:
            telemetry.BREAKER_REFUSALS.labels(self._dependency).inc()
            raise Unavailable(self._dependency, f"{self._dependency} has answered nothing lately")
        self._set(BreakerState.PROBING)
        return True

    def _answered(self) -> None:
        self._silent = 0
        if self._state is not BreakerState.CLOSED:
            log.warning("%s answers again", self._dependency)
            self._set(BreakerState.CLOSED)

    def _tells_nothing(self, probe: bool) -> None:
        """Of a probe that was cut off, or failed for another dependency that it needs: the next call probes."""
        if probe and self._state is BreakerState.PROBING:
            self._set(BreakerState.OPEN)

    def _timed_out(self, probe: bool) -> None:
        self._silent += 1
        if probe:
            self._rest = min(2 * self._rest, REST[1])
        elif self._state is BreakerState.CLOSED and self._silent >= THRESHOLD:
            self._rest = REST[0]
            log.warning("%s answered none of %d calls: no more are made for now", self._dependency, self._silent)
        else:
            return  # of the calls that were under way when it opened
        self._until = self._clock() + self._rest * random.uniform(0.5, 1.0)  # noqa: S311
        self._set(BreakerState.OPEN)

    def _set(self, state: BreakerState) -> None:
        self._state = state
        telemetry.BREAKER_OPEN.labels(self._dependency).set(state is not BreakerState.CLOSED)


class _Guarded:
    """Stands for `port`; its coroutine functions go through the breaker, all else is the port's own."""

    def __init__(self, port: object, breaker: Breaker) -> None:
        self._port = port
        self._breaker = breaker

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._port, name)
        if name == "aclose" or not inspect.iscoroutinefunction(own):
            return own

        @wraps(own)
        async def guarded(*arguments: Any, **named: Any) -> Any:
            return await self._breaker.call(partial(own, *arguments, **named))

        setattr(self, name, guarded)
        return guarded


def guarded(port: T, breaker: Breaker) -> T:
    """`port` behind `breaker`. An asynchronous generator of it is not guarded: between its items it calls nobody."""
    return cast(T, _Guarded(port, breaker))
