"""Making tenants."""

from __future__ import annotations

import secrets

from core import instant
from core.ports import Control
from core.tenant import Tenant, new_tenant_id


def new_tenant(name: str) -> Tenant:
    """A tenant with an id and a secret of its own, not kept yet."""
    return Tenant(new_tenant_id(), name, secrets.token_bytes(32), instant.now_us())


async def create_tenant(control: Control, name: str) -> Tenant:
    """A new tenant with an id and a secret of its own."""
    tenant = new_tenant(name)
    await control.create_tenant(tenant)
    return tenant
