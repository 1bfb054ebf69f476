"""Who may give which roles: nobody gives away more than it holds, or a manager of keys could make itself anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from core.access import TENANT_ROLES, Permission, Role
from core.errors import FieldError, Forbidden, Invalid
from core.tenant import Tenant, TenantScope

_ROLES = {role.value: role for role in TENANT_ROLES}


def split(names: Iterable[str]) -> tuple[frozenset[Role], frozenset[str]]:
    """The roles among the names, and the names of permission sets."""
    given = frozenset(names)
    return frozenset(_ROLES[name] for name in given & _ROLES.keys()), given - _ROLES.keys()


def check_known(tenant: Tenant, names: Iterable[str]) -> None:
    """Raise `Invalid` (code `invalid_request`) for a name that is neither a tenant's role nor a set of this one."""
    unknown = split(names)[1] - tenant.permission_sets.keys()
    if unknown:
        known = ", ".join([*_ROLES, *sorted(tenant.permission_sets)])
        message = f"{', '.join(sorted(unknown))}: no such role or permission set; there are {known}"
        faults = [FieldError(("body", "roles"), message, "unknown_role")]
        raise Invalid(f"roles: {message}", code="invalid_request", errors=faults)


def require_names(scope: TenantScope, tenant: Tenant, names: Iterable[str]) -> None:
    """Raise `Forbidden` unless the scope holds all that these roles and sets allow."""
    require(scope, tenant.permissions(*split(names)))


def require(scope: TenantScope, permissions: Collection[Permission]) -> None:
    """Raise `Forbidden` unless the scope holds all of these; the platform, which sets tenants up, may give any."""
    if Permission.PLATFORM in scope.permissions:
        return
    beyond = sorted(set(permissions) - scope.permissions)
    if beyond:
        raise Forbidden(f"nobody gives more than it holds, and you lack {', '.join(beyond)}", code="beyond_own")
