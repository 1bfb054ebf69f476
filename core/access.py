"""Roles and what each may do."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import Final


class Permission(StrEnum):
    WRITE = "logs:write"
    READ = "logs:read"
    VIEW = "logs:view"
    """Reading events, be it all or those of a viewer link's filter; `READ` is all of them and what is made of them."""
    CATALOGUE = "catalogue:read"
    MANAGE = "tenant:manage"
    PLATFORM = "platform:manage"


class Role(StrEnum):
    ADMIN = "admin"
    WRITER = "writer"
    READER = "reader"
    VIEWER = "viewer"
    """Of viewer links alone, whose tokens name a filter."""
    PLATFORM = "platform"


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(
        {Permission.WRITE, Permission.READ, Permission.VIEW, Permission.CATALOGUE, Permission.MANAGE}
    ),
    Role.WRITER: frozenset({Permission.WRITE, Permission.CATALOGUE}),
    Role.READER: frozenset({Permission.READ, Permission.VIEW, Permission.CATALOGUE}),
    Role.VIEWER: frozenset({Permission.VIEW}),
    # A platform administrator runs tenants; it does not read what is in them.
    Role.PLATFORM: frozenset({Permission.PLATFORM}),
}


TENANT_ROLES: Final = (Role.ADMIN, Role.WRITER, Role.READER)
"""Those that a tenant gives to its keys and tokens."""
SET_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
"""Of a tenant's own set of permissions; no role's name."""
SETTABLE: Final = frozenset(Permission) - {Permission.PLATFORM}
"""What such a set may hold."""


@cache
def permissions_of(roles: frozenset[Role]) -> frozenset[Permission]:
    """The union of what the roles allow."""
    return frozenset().union(*(ROLE_PERMISSIONS[role] for role in roles))


def completed(permissions: frozenset[Permission]) -> frozenset[Permission]:
    """With what they take along: who may read all events may read one."""
    return permissions | {Permission.VIEW} if Permission.READ in permissions else permissions
