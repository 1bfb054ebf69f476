"""The access audit: what is done with a tenant's log, and to the tenant, as events of that log.

Each is an event like any other, on the same way through queue, store and index; its action is `ocelot.<noun>.<verb>`,
which no client's can be. It is made here and not from what a client sent, so it passes no quota, catalogue, masking
rule or quarantine of the tenant that could hide it. The built-in masking applies: a token in a query is no less secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import msgspec

from core import event, instant, telemetry
from core.aside import Aside
from core.commit import GroupCommit
from core.errors import Conflict, Overloaded, Unavailable
from core.event import EventInput, Outcome
from core.event_faults import MAX_DEPTH
from core.masking.rules import DEFAULT_RULES, MASKED, Verdict, judge
from core.ports import Control
from core.prepare import Run, stamped
from core.query import OWN
from core.tenant import Tenant
from core.tenant_settings import AccessAudit

log = logging.getLogger(__name__)
PLATFORM_TENANT: Final = "ocelotplatform"
"""The tenant whose log holds what platform administrators do that is no one tenant's."""
SOURCE: Final = "ocelot"
_MAX_METADATA: Final = 192 * 1024
"""Encoded bytes, of which an event has 256 KiB in all; a larger query or body is told by its size and SHA-256."""
_MAX_TEXT: Final = 1024
"""Characters of a named field: a client chooses its user agent and its paths."""
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that somebody did, or began to do. `metadata` is made of JSON's types and `msgspec.Raw`.

    `query` and `body` are what was asked for: the parameters of the URL, and a JSON document.
    """

    action: str
    actor: str
    outcome: Outcome | None = None
    message: str = ""
    session_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    query: dict[str, list[str]] = field(default_factory=dict)
    body: bytes | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None

    def event(self) -> EventInput:
        """The event, which no client could send."""
        made = EventInput(
            action=self.action,
            severity="WARNING" if self.outcome == "denied" else "INFO",
            outcome=self.outcome,
            message=_clean(self.message) or None,
            ip_address=self.ip_address,
            source=SOURCE,
            metadata=msgspec.Raw(self._metadata()),
        )
        for name in _NAMED:
            if (value := getattr(self, name)) is not None:
                setattr(made, name, _clean(value[:_MAX_TEXT]))
        made.user_id = _clean(self.actor)
        if self.before is not None:
            made.before_state = msgspec.Raw(_encode(self.before))
        if self.after is not None:
            made.after_state = msgspec.Raw(_encode(self.after))
        return made

    def _metadata(self) -> bytes:
        asked: dict[str, Any] = {}
        if self.query:
            asked["query"] = {_clean(name): [_clean(text) for text in values] for name, values in self.query.items()}
        if self.body:
            asked["body"] = _document(self.body)
        encoded = _encode(self.metadata | asked)
        if len(encoded) > _MAX_METADATA:
            encoded = _encode(self.metadata | {name: _digest(_encode(value)) for name, value in asked.items()})
        return encoded


def settings_of(tenant: Tenant) -> dict[str, Any]:
    """What is set for a tenant, as its log shows it before and after a change."""
    return {
        "name": tenant.name,
        "status": tenant.status,
        "retention_days": tenant.retention_days,
        "quotas": asdict(tenant.quotas),
        "masking": [asdict(rule) for rule in tenant.masking],
        "placements": [{"since": each.since, "period": each.period} for each in tenant.placements],
        "access_audit": tenant.access_audit,
        "quarantine": tenant.quarantine,
        "permission_sets": {name: sorted(allowed) for name, allowed in sorted(tenant.permission_sets.items())},
    }


_verdict: Final = judge(DEFAULT_RULES)
_MASKED: Final = MASKED.decode()
_NAMED: Final = ("session_id", "user_agent", "request_id", "resource_type", "resource_id")


class Trail:
    """Writes the access audit, of any tenant. One a process."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self._aside = Aside()
        self._under_way: set[asyncio.Task[None]] = set()

    async def write(self, tenant: Tenant, access: Access) -> str:
        """The event's id, once it is durable in the queue; raises `Unavailable` when it cannot be.

        In a tenant whose audit is not strict it is on its way then, and a failure goes into the service's own log.
        """
        if tenant.access_audit is AccessAudit.STRICT:
            return await self.write_strictly(tenant, access)
        writing = asyncio.create_task(self._try(tenant, access))
        self._under_way.add(writing)
        writing.add_done_callback(self._under_way.discard)
        return ""

    async def _try(self, tenant: Tenant, access: Access) -> None:
        try:
            await self.write_strictly(tenant, access)
        except Unavailable as error:
            log.warning("not on record: %s in tenant %s: %s", access.action, tenant.id, error.message)

    async def write_strictly(self, tenant: Tenant, access: Access) -> str:
        """`write`, whatever is set for the tenant."""
        try:
            written = await self._written(tenant, access)
        except Unavailable:
            telemetry.AUDIT_EVENTS.labels("failed").inc()
            raise
        telemetry.AUDIT_EVENTS.labels("recorded").inc()
        return written

    async def change(self, access: Access, old: Tenant, new: Tenant) -> None:
        """Record, before it is done, what will be set for a tenant; raises `Unavailable`, whatever its audit mode.

        So a switch to less auditing is itself on record for certain.
        """
        changed = replace(
            access, action="ocelot.tenant.change", before=settings_of(old), after=settings_of(new), body=None
        )
        await self.write_strictly(old, changed)

    async def drain(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._under_way)

    async def _written(self, tenant: Tenant, access: Access) -> str:
        if not access.action.startswith(OWN):
            raise ValueError(f"no action of the service's own: {access.action}")
        with self._commit.stamping() as now:
            [line] = event.encode_all([access.event()])
            if not isinstance(line, bytes):
                raise line
            lines = [line]
            await self._aside.mask(lines)
            prepared = stamped(tenant, Run(lines, [instant.to_text(now)], [0]), now, {})
            for fault in prepared.faults.values():
                raise fault
            try:
                failed = await self._commit.submit(prepared.records, now)
            except Overloaded:
                raise Unavailable("queue", "too many events wait for the queue") from None
        for _, _, error in failed:
            raise error if isinstance(error, Unavailable) else Unavailable("queue", str(error))
        return prepared.ids[0]


async def ensure_platform_tenant(control: Control) -> None:
    """Make the platform's own tenant where there is none yet."""
    if await control.tenant(PLATFORM_TENANT) is None:
        try:
            made = Tenant(PLATFORM_TENANT, "Ocelot platform", secrets.token_bytes(32), instant.now_us())
            await control.create_tenant(made)
        except Conflict:
            log.info("another process made the platform's tenant")


def _clean(text: str) -> str:
    """The text without lone surrogates, which JSON in UTF-8 cannot have."""
    return text.encode("utf-8", "replace").decode()


def _document(body: bytes) -> Any:
    """A JSON object as it was written, if it fits into an event; anything else by its size and SHA-256."""
    try:
        body.decode()
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if len(body) <= _MAX_METADATA and event.depth_of(body) < MAX_DEPTH - 2:
            return msgspec.Raw(_hidden(body))
    except (msgspec.DecodeError, ValueError, RecursionError):  # no JSON, or numbers beyond what is written again
        pass
    return _digest(body)


def _digest(body: bytes) -> dict[str, Any]:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def _hidden(body: bytes) -> bytes:
    """The document without the values that a search looks for in secret fields.

    A tree has them beside the field's name (`{"field": "metadata.password", "equals": ...}`), where masking, which goes
    by keys, looks past them.
    """
    if b'"field"' not in body and b"\\" not in body:
        return body
    found = False

    def hide(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        if not any(name == "field" and isinstance(value, str) and _is_secret(value) for name, value in pairs):
            return dict(pairs)
        found = True
        return {name: value if name == "field" else _MASKED for name, value in pairs}

    document = json.loads(body, object_pairs_hook=hide)
    return json.dumps(document, allow_nan=False).encode() if found else body


def _is_secret(field: str) -> bool:
    return _verdict(field.encode("utf-8", "replace")) > Verdict.PLAIN
