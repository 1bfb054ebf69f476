"""Issuers of tokens beside Ocelot: which are trusted, and what their claims mean here. Set up by operators alone.

The setting is JSON, an array of objects like `ExternalIssuer`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from core.access import SET_NAME, TENANT_ROLES, Role

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
"""Asymmetric ones alone: whoever can check a token of another kind can make one."""
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TENANT_ID: Final = re.compile(r"[a-z0-9]{8,32}")
_ROLES: Final = frozenset(role.value for role in TENANT_ROLES)
_RESERVED: Final = frozenset(role.value for role in Role) - _ROLES
_MAX_BYTES: Final = 256 * 1024
ClaimPath = str | tuple[str, ...]
"""A claim by its name, or by the names on the way to it; a name may hold dots, as URLs do."""


class ExternalIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer, where its keys are, and which of its claims says what.

    Its tokens are for one `tenant`, or for the one that `tenants` gives for the value of `tenant_claim`; "*" takes the
    value for a tenant's id, which lets the issuer name any tenant.
    """

    name: str
    """Stands before the subjects of its tokens: `ext:<name>:<sub>`."""
    issuer: str
    """`iss`, exactly."""
    jwks_url: str
    audience: str | None = None
    """`aud`; None: Ocelot's own."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    tenant: str | None = None
    tenant_claim: ClaimPath | None = None
    tenants: dict[str, str] | Literal["*"] = {}
    roles_claim: ClaimPath = "roles"
    roles: dict[str, tuple[str, ...]]
    """From a value of the claim to roles and permission sets; other values mean nothing."""
    ca_file: str | None = None
    """The authority of its certificate, where that is a private one."""


_decode: Final = msgspec.json.Decoder(tuple[ExternalIssuer, ...]).decode


def load(written: str | None, own_issuer: str) -> tuple[ExternalIssuer, ...]:
    """The issuers of the setting, JSON or the path of a file with it; raises `ValueError` with what is wrong."""
    if not written:
        return ()
    try:
        text = written.encode() if written.lstrip().startswith("[") else _read(Path(written))
        issuers = _decode(text)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    for issuer in issuers:
        if fault := _fault(issuer, own_issuer):
            raise ValueError(f"{issuer.name}: {fault}")
    for kind in ("name", "issuer"):
        values = [getattr(issuer, kind) for issuer in issuers]
        if len(set(values)) != len(values):
            raise ValueError(f"two issuers have the same {kind}")
    return issuers


def tenant_of(issuer: ExternalIssuer, claims: Mapping[str, Any]) -> str | None:
    """The tenant that a token is for; None when it is for none that is known."""
    if issuer.tenant_claim is None:
        return issuer.tenant
    value = claim(claims, issuer.tenant_claim)
    if not isinstance(value, str):
        return None
    if issuer.tenants == "*":
        return value if _TENANT_ID.fullmatch(value) else None
    return issuer.tenants.get(value)


def roles_of(issuer: ExternalIssuer, claims: Mapping[str, Any]) -> frozenset[str]:
    """The roles and permission sets that the claims mean; a text is words, as a `scope` is."""
    value = claim(claims, issuer.roles_claim)
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(name for word in words if isinstance(word, str) for name in issuer.roles.get(word, ()))


def claim(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    """The value at the path, None where there is none."""
    found: Any = claims
    for name in (path,) if isinstance(path, str) else path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _fault(issuer: ExternalIssuer, own_issuer: str) -> str | None:
    unknown = sorted({name for names in issuer.roles.values() for name in names if not _is_role(name)})
    tenants = {} if issuer.tenants == "*" else issuer.tenants
    faults = {
        "name must be a-z, 0-9 and -, and begin with a letter": not _NAME.fullmatch(issuer.name),
        "issuer must be another than Ocelot's own": issuer.issuer in ("", own_issuer),
        "jwks_url must be an https:// URL without an account": not _is_https(issuer.jwks_url),
        "audience must not be empty": issuer.audience == "",
        f"algorithms must be some of {', '.join(ALGORITHMS)}": not issuer.algorithms
        or not set(issuer.algorithms) <= set(ALGORITHMS),
        "tenant, or tenant_claim with tenants, is needed, and not both": (issuer.tenant is None)
        == (issuer.tenant_claim is None)
        or (issuer.tenant_claim is None) != (not issuer.tenants),
        "a tenant's id is none": not all(map(_TENANT_ID.fullmatch, [*tenants.values(), issuer.tenant or "a" * 8])),
        f"roles may give admin, writer, reader and permission sets, not {', '.join(unknown)}": bool(unknown),
        "roles must give some": not any(issuer.roles.values()),
    }
    return next((said for said, wrong in faults.items() if wrong), None)


def _is_role(name: str) -> bool:
    return name in _ROLES or (bool(SET_NAME.fullmatch(name)) and name not in _RESERVED)


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
