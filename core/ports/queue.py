"""What Ocelot asks of a queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes to send, at most 768 KiB. `group` is the tenant of an envelope that holds one tenant's events only."""

    body: bytes
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A received message, this consumer's alone until `expires_at` (monotonic seconds)."""

    body: bytes
    handle: str
    receives: int
    """How often it was received, this time included."""
    expires_at: float


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages wait, are leased, and are dead. A distributed queue gives estimates."""

    waiting: int
    leased: int
    dead: int


class Queue(Protocol):
    """At-least-once delivery of durable messages, in no particular order."""

    async def send(self, messages: Sequence[Message]) -> list[Exception | None]:
        """One result for each message. None: it is durable and will be delivered at least once.

        An exception: it may or may not have been taken (`Unavailable`: the same bytes may be sent again), or it never
        will be (`Invalid`).
        """

    async def receive(self, count: int, wait: float, lease: float) -> list[Lease]:
        """Up to `count` messages, each leased for `lease` seconds; waits up to `wait` seconds for the first.

        A message whose lease lapses is delivered again, to any consumer. One received more than the queue's
        `max_receives` times becomes a dead letter, kept and counted.
        """

    async def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        """The leases still held, now good for `lease` seconds from this call; a lost one is left out."""

    async def ack(self, leases: Sequence[Lease]) -> int:
        """Remove the messages for good; how many were removed. A lease lost meanwhile is no error."""

    async def release(self, leases: Sequence[Lease], delay: float = 0) -> None:
        """Give the messages back, to be delivered again after `delay` seconds."""

    async def depth(self) -> Depth: ...

    async def ping(self) -> None:
        """Raise `Unavailable` unless the queue would take a message now."""

    async def aclose(self) -> None: ...
