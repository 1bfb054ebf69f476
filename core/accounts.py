"""Making tenants."""

from __future__ import annotations

import secrets

from core import instant
from core.ports import Control
from core.tenant import Tenant, new_tenant_id


async def create_tenant(control: Control, name: str) -> Tenant:
    """A new tenant with an id and a secret of its own."""
    tenant = Tenant(new_tenant_id(), name, secrets.token_bytes(32), instant.now_us())
    await control.create_tenant(tenant)
    return tenant
