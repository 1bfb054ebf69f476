"""The access audit around every route: what is done is on record before it is answered.

`Audited` (in `api.auditing`) stands around the whole application, so a route cannot forget it. Who calls, the call
learns from the `Authenticator`, which every route asks (`seen`, `known`, `granted`); what came of it, from the answer,
and from what readers of the log say of theirs (`counted`, `delivered`, `asked`). They reach the call under way through
a context variable: the tasks of one request share it.

A call that cannot be recorded is refused (503) in a tenant whose `access_audit` is strict. What was refused itself, or
has its start on record, is answered as it stands: nothing is released that nobody could know of.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection
from starlette.types import Scope

from api import PREFIX
from api.audited import CREDENTIALS, PUBLIC, RULES, SECRET_BODIES, UNKNOWN, Rule, When
from core import telemetry
from core.audit import PLATFORM_TENANT, Access
from core.errors import Unavailable
from core.event import Outcome
from core.tenant import Claims, Tenant, TenantStatus

if TYPE_CHECKING:  # whose parts import this
    from api.state import State

log = logging.getLogger(__name__)
_CONVERTER: Final = re.compile(r":[a-z]+\}")
_MAX_PARAMETERS: Final = 1000
under_way: ContextVar[Call | None] = ContextVar("audited_call", default=None)


class Call:
    """One call under way, and what is known of it."""

    def __init__(self, scope: Scope, state: State) -> None:
        self.scope = scope
        self.state = state
        self.claims: Claims | None = None
        self.tenant: Tenant | None = None
        self.count: int | None = None
        self.body: bytes | None = None
        self.noted: dict[str, Any] = {}
        self.started: str | None = None
        """The id of the event that says so; empty where nobody waits for it."""
        self.is_over = False

    @property
    def route(self) -> tuple[str, str]:
        path = getattr(self.scope.get("route"), "path", "")
        # The route of a WebSocket has the prefix in its path, which a router's others have not.
        return self.scope.get("method", "GET"), _without_converters(path.removeprefix(PREFIX))

    @property
    def rule(self) -> Rule | None:
        """None for a route that is nobody's, and where there is no route at all."""
        route = self.route
        return None if not route[1] or route in PUBLIC else RULES.get(route, UNKNOWN)

    async def start(self) -> None:
        """Record that the call begins, once; raises `Unavailable` where it must not begin unrecorded."""
        rule = self.rule
        if self.started is not None or self.is_over or rule is None:
            return
        try:
            self.started = await self._write(rule, None, {"phase": "start"})
        except Unavailable:
            self.is_over = True  # it is answered that it did not happen
            raise

    async def end(self, status: int, code: str | None = None, *, cut_off: bool | None = None) -> None:
        """Record what became of the call, once; raises `Unavailable` where its answer must not be released."""
        rule = self.rule
        if self.is_over or rule is None:
            return
        self.is_over = True
        is_refusal = status in (401, 403)
        if self.started is None and (status == 429 or (rule.when is When.REFUSED and not is_refusal)):
            return  # nothing was done, or what was done is on record
        told: dict[str, Any] = {"status": status}
        if self.started is not None:
            told |= {"phase": "end", **({"start": self.started} if self.started else {})}
        if code:
            told["error"] = code
        if self.count is not None:
            told["count"] = self.count
        if cut_off is not None:
            told |= {"count": self.count or 0, "cut_off": cut_off}
        try:
            await self._write(rule, _outcome(status), told | self.noted)
        except Unavailable as error:
            log.warning("not on record: %s %s: %s", *self.route, error.message)
            if self.started is None and not is_refusal:
                raise

    async def _write(self, rule: Rule, outcome: Outcome | None, told: Mapping[str, Any]) -> str | None:
        tenant = await self._whose(rule)
        if tenant is None:
            if outcome != "success" and self.claims is None:
                return None  # nobody's: no good token told who
            log.error("nobody to record %s %s for", *self.route)
            raise Unavailable("access audit")
        return await self.state.trail.write(tenant, self.access(rule, outcome, told))

    async def _whose(self, rule: Rule) -> Tenant | None:
        """The tenant in whose log the call belongs; the platform's own for what is no living tenant's."""
        claims = self.claims
        tenant = self.tenant
        is_platforms = claims is not None and claims.tenant_id is None
        if is_platforms and rule.outlives_tenant:
            return await self.state.snapshots.tenant(PLATFORM_TENANT)
        if tenant is None and claims is not None:
            named = claims.tenant_id or self.scope.get("path_params", {}).get("tenant_id", PLATFORM_TENANT)
            tenant = await self.state.snapshots.tenant(named)
        if tenant is not None and tenant.status is not TenantStatus.DELETING:
            return tenant
        if is_platforms:
            return await self.state.snapshots.tenant(PLATFORM_TENANT)
        return None

    def access(self, rule: Rule, outcome: Outcome | None, told: Mapping[str, Any]) -> Access:
        method, path = self.route
        parameters: dict[str, str] = self.scope.get("path_params", {})
        shown = {name: str(value) for name, value in parameters.items() if name not in CREDENTIALS}
        resource = next((value for name, value in shown.items() if name != "tenant_id"), None)
        headers = dict(self.scope["headers"])
        claims = self.claims
        return Access(
            action=rule.action,
            actor=claims.subject if claims is not None else "",
            outcome=outcome,
            message=_message(method, path, told),
            session_id=claims.token_id or None if claims is not None else None,
            ip_address=self.state.authenticator.address_of(HTTPConnection(self.scope)),
            user_agent=headers[b"user-agent"].decode("latin-1") if b"user-agent" in headers else None,
            request_id=telemetry.request_id.get() or None,
            resource_type=rule.noun,
            resource_id=resource if resource is not None else shown.get("tenant_id"),
            query=_query(self.scope),
            body=self.body,
            metadata={"call": f"{method} {path}", **({"path": shown} if shown else {}), **told},
        )


def seen(claims: Claims) -> None:
    """A token's signature is good: from here on it is known who calls, whatever comes of it."""
    if (call := under_way.get()) is not None:
        call.claims = claims


def known(tenant: Tenant) -> None:
    """Whose log the call concerns."""
    if (call := under_way.get()) is not None:
        call.tenant = tenant


async def granted() -> None:
    """The caller may do it. A route with a start (`When.AROUND`) goes on once that is on record."""
    if (call := under_way.get()) is not None and (rule := call.rule) is not None and rule.when is When.AROUND:
        await call.start()


def counted(count: int, **more: Any) -> None:
    """The answer has so many results; `more` is told with it."""
    if (call := under_way.get()) is not None:
        call.count = count
        call.noted.update(more)


def delivered(count: int) -> None:
    """So many more results are on their way."""
    if (call := under_way.get()) is not None:
        call.count = count + (call.count or 0)


def asked(body: bytes) -> None:
    """What was asked for came in the body."""
    if (call := under_way.get()) is not None and call.route not in SECRET_BODIES:
        call.body = body


async def changing(old: Tenant, new: Tenant) -> None:
    """What is set for a tenant is about to change; raises `Unavailable` when that cannot be recorded."""
    call = under_way.get()
    if call is None or (rule := call.rule) is None:
        raise Unavailable("access audit", "a change outside of a recorded call")
    await call.state.trail.change(call.access(rule, None, {}), old, new)


def noted(**more: Any) -> None:
    """Something else that the event should tell, of JSON's types."""
    if (call := under_way.get()) is not None:
        call.noted.update(more)


@lru_cache(maxsize=256)
def _without_converters(path: str) -> str:
    return _CONVERTER.sub("}", path)


def _outcome(status: int) -> Outcome:
    if 0 < status < 400:
        return "success"
    return "denied" if status in (401, 403) else "failure"


def _message(method: str, path: str, told: Mapping[str, Any]) -> str:
    parts = [f"{method} {path}"]
    parts += [f"{name} {told[name]}" for name in ("phase", "status", "error", "count") if name in told]
    return ", ".join(parts)


def _query(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    written = scope.get("query_string", b"").decode("latin-1")
    for name, value in parse_qsl(written, keep_blank_values=True)[:_MAX_PARAMETERS]:
        found.setdefault(name, []).append(value)
    return found
