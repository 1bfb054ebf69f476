"""A process that is killed at a chosen step: its ports count their calls, and the world says at which it dies."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any, Protocol


class Killed(Exception):
    """The process is gone."""


class Steps(Protocol):
    """Counts the calls of all ports together."""

    async def step(self, *, before: bool) -> None:
        """Raise `Killed` when the process is to die before, or after, this call."""


class Port:
    """Stands for `port`, every call of which is a step."""

    def __init__(self, port: Any, steps: Steps) -> None:
        self._port = port
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._port, name)
        if inspect.isasyncgenfunction(own):

            async def generator(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
                async for each in own(*arguments, **named):
                    await self._steps.step(before=True)
                    yield each

            return generator

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._steps.step(before=True)
            result = await own(*arguments, **named)
            await self._steps.step(before=False)
            return result

        return call
