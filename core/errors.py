"""What can go wrong, by class: the class alone decides what a client sees and whether a consumer retries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

_E = TypeVar("_E", bound=BaseException)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of one field; `loc` is the path from the root of what was sent."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class OcelotError(Exception):
    """Base of every error that Ocelot raises on purpose. `code` is stable and part of the API."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)
        if code is not None:
            self.code = code


def as_value(error: _E) -> _E:
    """`error`, to be kept or returned: without the frames that it passed, which would keep all that they hold.

    What called them is held by frames too, so that an error in any caller's hands makes a cycle of all of it.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


class Invalid(OcelotError):
    """What was sent breaks a rule; sending it again will not help."""

    code = "invalid"


class InvalidEvent(Invalid):
    code = "invalid_event"


class InvalidQuery(Invalid):
    code = "invalid_query"


class UnboundedQuery(InvalidQuery):
    """More would have to be looked through than a request may take; the message says what to change."""

    code = "unbounded_query"


class Unauthenticated(OcelotError):
    """No usable token. The message never says more than which check failed."""

    code = "unauthenticated"


class Forbidden(OcelotError):
    """A good token without the permission."""

    code = "forbidden"


class NotFound(OcelotError):
    """Not there, or another tenant's: the two are never told apart."""

    code = "not_found"


class Conflict(OcelotError):
    """The thing exists already, otherwise."""

    code = "conflict"


class TooLarge(OcelotError):
    code = "body_too_large"


class Overloaded(OcelotError):
    """Refused before any work, because what is in flight has reached its bound."""

    code = "overloaded"
    retry_after = 1


class QuotaExceeded(Overloaded):
    """Quotas of the tenant or of its key have no room: `policies` names them, `retry_after` (seconds) is for all."""

    code = "quota_exceeded"

    def __init__(self, policies: Sequence[str], message: str, retry_after: int) -> None:
        super().__init__(message)
        self.policies = policies
        self.retry_after = retry_after


class Unavailable(OcelotError):
    """A dependency is down, slow or refusing; trying again later is right. `dependency` is its public name."""

    code = "dependency_unavailable"
    retry_after = 2

    def __init__(self, dependency: str, message: str = "") -> None:
        super().__init__(message or f"{dependency} is unavailable")
        self.dependency = dependency

    @property
    def public(self) -> str:
        """What a client may read: `message` may name hosts, paths and drivers."""
        return f"the {self.dependency} is unavailable; try again"


class TimedOut(Unavailable):
    """A dependency gave no answer within the deadline: it may hang, and the next call may wait as long."""


class Blocked(Unavailable):
    """A dependency answers but will not take writes (shard limit, read-only block, full disk): retry, with an alarm."""


class HistoryLost(OcelotError):
    """A watch cannot tell all that was stored since its mark: the server has forgotten some of it."""


class Unset(Unavailable):
    """What is asked for needs a dependency that this deployment was not given; `setting` names what would give it."""

    code = "not_configured"
    retry_after = 3600

    def __init__(self, dependency: str, setting: str) -> None:
        super().__init__(dependency, f"{setting} is not set")

    @property
    def public(self) -> str:
        return f"this service has no {self.dependency}"


class UndecodableEnvelope(OcelotError):
    """A queue message that no version of Ocelot wrote, or a damaged one."""

    code = "undecodable_envelope"
