"""Roles and what each may do."""

from __future__ import annotations

from enum import StrEnum
from functools import cache


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


@cache
def permissions_of(roles: frozenset[Role]) -> frozenset[Permission]:
    """The union of what the roles allow."""
    return frozenset().union(*(ROLE_PERMISSIONS[role] for role in roles))
