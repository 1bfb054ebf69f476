"""Making tenants and their keys; checking a key's secret."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from core import instant
from core.access import Role
from core.errors import Unauthenticated
from core.ports import ApiKey, Control
from core.tenant import Tenant, new_tenant_id

# A prefix that secret scanners can search for.
KEY_PREFIX: Final = "ock_"
SECRET_PREFIX: Final = "ocs_"  # noqa: S105


def new_tenant(name: str) -> Tenant:
    """A tenant with an id and a secret of its own, not kept yet."""
    return Tenant(new_tenant_id(), name, secrets.token_bytes(32), instant.now_us())


async def create_tenant(control: Control, name: str) -> Tenant:
    """A new tenant with an id and a secret of its own."""
    tenant = new_tenant(name)
    await control.create_tenant(tenant)
    return tenant


async def create_key(control: Control, tenant: Tenant, name: str, roles: tuple[Role, ...]) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not kept: only its SHA-256 is."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=KEY_PREFIX + secrets.token_hex(12),
        tenant_id=tenant.id,
        name=name,
        roles=tuple(role.value for role in roles),
        secret_hash=hashlib.sha256(secret.encode()).digest(),
        created_at=instant.now_us(),
    )
    await control.create_key(key)
    return key, secret


async def authenticate(control: Control, key_id: str, secret: str) -> ApiKey:
    """The key with this id and secret; raises `Unauthenticated`, the same for a wrong id and a wrong secret."""
    key = await control.key(key_id)
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    # Compared even when there is no such key, so that the time tells nothing.
    expected = key.secret_hash if key is not None else bytes(32)
    if not hmac.compare_digest(digest, expected) or key is None or key.revoked_at is not None:
        raise Unauthenticated("the client id or secret is wrong", code="invalid_client")
    return key
