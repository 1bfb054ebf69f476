"""Running a job again and again, whatever one run of it does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from core import telemetry
from core.errors import Unavailable

log = logging.getLogger(__name__)


async def every(seconds: float, job: Callable[[], Awaitable[object]]) -> None:
    """Run `job` for ever, `seconds` (and a tenth by chance) apart; a run that fails is logged."""
    while True:
        try:
            await job()
        except Unavailable as error:
            telemetry.ERRORS.labels(error.dependency).inc()
            log.warning("%s: %s", getattr(job, "__qualname__", "job"), error.message)
        except Exception:
            log.exception("%s failed", getattr(job, "__qualname__", "job"))
        await asyncio.sleep(seconds * random.uniform(0.95, 1.05))  # noqa: S311
