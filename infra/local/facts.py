"""What a running stack tells: dev.json for scripts, a greeting for the user."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from api.tokens import SigningKey, TokenIssuer
from core import accounts
from core.access import Role
from core.keys import signing_key_pem
from core.settings import Settings
from core.tenant import Tenant
from core.wiring import open_backends
from infra.local.stack import Stack, say

_TOKEN_SECONDS: Final = 12 * 3600
_FIRST_TENANT: Final = "first"


async def facts_of(stack: Stack) -> dict[str, Any]:
    """What scripts need to know of the stack: dev.json."""
    settings = Settings.model_validate(stack.environment)
    tenant = await _first_tenant(settings)
    issuer = TokenIssuer(SigningKey(signing_key_pem(settings, SigningKey.generate)), settings.issuer, settings.audience)

    def token(tenant_id: str | None, role: Role) -> str:
        return issuer.issue(subject="dev", tenant_id=tenant_id, roles=[role], lifetime=_TOKEN_SECONDS)

    return {
        "api_url": stack.api_url,
        "docs_url": f"{stack.api_url}/api/v1/docs",
        "tenant_id": tenant.id,
        "token": token(tenant.id, Role.ADMIN),
        "platform_token": token(None, Role.PLATFORM),
        "consumer_url": f"http://127.0.0.1:{stack.consumer_port}",
        "pids": stack.pids,
        "environment": stack.environment,
    }


def write(path: Path, facts: dict[str, Any]) -> None:
    """Write dev.json whole and readable by its owner only."""
    draft = path.with_suffix(".part")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(facts, file, indent=2)
    draft.replace(path)


async def _first_tenant(settings: Settings) -> Tenant:
    async with open_backends(settings) as backends:
        for tenant in await backends.control.tenants():
            if tenant.name == _FIRST_TENANT:
                return tenant
        return await accounts.create_tenant(backends.control, _FIRST_TENANT)


def greet(stack: Stack, facts: dict[str, Any]) -> None:
    """Say that all is ready, with a command to try."""
    event = '{"action":"user.login","user_id":"ana","message":"Ana signed in","metadata":{"via":"sso"}}'
    say(
        f"""
Ocelot is up.

  API pages   {facts["docs_url"]}
  tenant      {facts["tenant_id"]}
  for scripts {stack.home / "dev.json"} (tokens, 12 h)
  logs        {stack.home}/api.log, consumer.log, store.log, index.log

Send an event:

  curl -sS {stack.api_url}/api/v1/logs -H 'Content-Type: application/json' \\
    -H 'Authorization: Bearer {facts["token"]}' \\
    -d '{event}'

Find it:

  curl -sS '{stack.api_url}/api/v1/logs?q=signed' \\
    -H 'Authorization: Bearer {facts["token"]}'

Ctrl-C stops everything; the data stays."""
    )
