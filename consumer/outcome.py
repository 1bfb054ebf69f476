"""What becomes of work that failed: a pure function from the exception to an outcome."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.errors import Invalid, UndecodableEnvelope

_FIRST_DELAY: Final = 0.5
_MAX_DELAY: Final = 60.0


class Fate(StrEnum):
    RETRY = "retry"
    """Nobody's fault here: the message goes back and comes again."""
    DEAD = "dead"
    """The message's own fault: it goes back until the queue makes a dead letter of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    fate: Fate
    delay: float = 0.0
    """Seconds until the message may come again."""


def outcome_of(error: Exception, receives: int, jitter: random.Random | None = None) -> Outcome:
    """What to do after `error` on a message that was received `receives` times.

    An event's own fault never comes so far: the pipeline parks the event, alone. What is `Invalid` here names no event;
    the dead letter keeps it whole. Whatever is not foreseen is retried.
    """
    fate = Fate.DEAD if isinstance(error, Invalid | UndecodableEnvelope) else Fate.RETRY
    return Outcome(fate, _delay(receives, jitter))


def _delay(receives: int, jitter: random.Random | None) -> float:
    """Doubling from half a second to a minute, and half of it by chance, so that messages do not come back at once."""
    full = min(_MAX_DELAY, _FIRST_DELAY * 2.0 ** min(receives - 1, 10))
    return full * (jitter or random).uniform(0.5, 1.0)
