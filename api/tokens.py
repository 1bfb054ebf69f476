"""Ocelot's tokens: ES256 by python-jose, and the checks of every request's bearer token.

python-jose takes a public key for an HMAC secret when it is given a mixed list of algorithms, so each key here has
one family, the algorithm is compared before the library sees the token, and `kid` is looked up in a fixed map.
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwt
from jose.backends import ECKey
from jose.exceptions import JOSEError

from core.access import Role
from core.errors import Unauthenticated
from core.query import EventQuery
from core.tenant import TENANT_ID, Claims
from core.viewers import ViewerLink

ALGORITHM: Final = "ES256"
MAX_TOKEN_BYTES: Final = 8 * 1024
MAX_LIFETIME: Final = 24 * 3600
CACHE_SIZE: Final = 10_000
LEEWAY: Final = 5
_ROLES: Final = {role.value: role for role in Role}
_KINDS: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What `typ` may say: an issuer's key signs other things too, such as logout tokens with the same iss, aud and sub."""


class Header(msgspec.Struct):
    alg: str
    kid: str
    typ: str | None = None
    crit: list[str] | None = None


_decode_header: Final = msgspec.json.Decoder(Header).decode


class SigningKey:
    """The private ES256 key; its `kid` is a hash of the public half."""

    def __init__(self, pem: bytes) -> None:
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, a password on it, an unknown curve
            raise ValueError("the signing key must be an ES256 (P-256) private key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the signing key must be an ES256 (P-256) private key in PEM")
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.kid = hashlib.sha256(public).hexdigest()[:16]
        self.private = ECKey(pem.decode(), ALGORITHM)
        self.public = ECKey(public.decode(), ALGORITHM)

    @staticmethod
    def generate() -> bytes:
        """A new private key as PEM."""
        return ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Expired(Unauthenticated):
    """The token was good once; `claims` are what it says."""

    def __init__(self, claims: Claims) -> None:
        super().__init__("the token has expired", code="token_expired")
        self.claims = claims


class TokenIssuer:
    """Makes tokens. Times are in seconds."""

    def __init__(self, key: SigningKey, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    def issue(
        self,
        *,
        subject: str,
        tenant_id: str | None,
        roles: Iterable[Role],
        lifetime: int,
        sets: Iterable[str] = (),
        secret: str | None = None,
    ) -> str:
        """A signed token; `tenant_id` is None for a platform administrator.

        `sets` are names of the tenant's permission sets, `secret` the name of the key's secret that it stands on.
        """
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "tenant": tenant_id,
            "roles": sorted(role.value for role in roles),
            "iat": now,
            "exp": now + min(lifetime, MAX_LIFETIME),
            "jti": uuid.uuid4().hex,
            **({"sets": sorted(sets)} if sets else {}),
            **({"secret": secret} if secret else {}),
        }
        return self._signed(claims)

    def issue_viewer(self, link: ViewerLink, secret: str | None = None) -> str:
        """The token of a viewer link, whose id is the token's; `secret` as in `issue`."""
        return self._signed(
            {
                "iss": self._issuer,
                "aud": self._audience,
                "sub": f"viewer:{link.id}",
                "tenant": link.tenant_id,
                "roles": [Role.VIEWER.value],
                "iat": link.made_at // 1_000_000,
                "exp": link.expires_at // 1_000_000,
                "jti": link.id,
                "maker": link.made_by,
                "filter": msgspec.to_builtins(link.filter),
                **({"secret": secret} if secret else {}),
            }
        )

    def _signed(self, claims: dict[str, Any]) -> str:
        token: str = jwt.encode(claims, self._key.private, algorithm=ALGORITHM, headers={"kid": self._key.kid})
        return token


class TokenVerifier:
    """Checks tokens; a verified token's claims are kept by its SHA-256, which makes 1 us of the 39 a check takes."""

    def __init__(self, key: SigningKey, issuer: str, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        self._keys: dict[str, ECKey] = {key.kid: key.public}
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def verify(self, token: str) -> Claims:
        """The claims of a good token; raises `Unauthenticated` saying which check failed and no more."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._check(token)
            self._verified[digest] = claims
            if len(self._verified) > CACHE_SIZE:
                self._verified.popitem(last=False)
        if claims.expires_at <= self._clock():
            self._verified.pop(digest, None)
            raise Expired(claims)
        return claims

    def forget(self, tenant_ids: Collection[str]) -> None:
        """Keep nothing of these tenants' tokens."""
        for digest in [digest for digest, claims in self._verified.items() if claims.tenant_id in tenant_ids]:
            del self._verified[digest]

    def known(self, token: str) -> bool:
        """Whether the token was verified before."""
        return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest() in self._verified

    def _check(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_BYTES:
            raise bad("the token is too long")
        header = header_of(token)
        key = self._keys.get(header.kid)
        if key is None:
            raise bad("the token's key is not known")
        if header.alg != ALGORITHM or header.crit is not None:
            raise bad("the token's algorithm is not accepted")
        payload = decoded(token, key, ALGORITHM, audience=self._audience, issuer=self._issuer)
        return _claims(payload, self._clock())


def decoded(token: str, key: Any, algorithm: str, *, audience: str, issuer: str) -> dict[str, Any]:
    """The claims of a token that `key`, which is for `algorithm` alone, has signed; raises `Unauthenticated`.

    `exp` is not looked at.
    """
    try:
        payload: dict[str, Any] = jwt.decode(
            token, key, algorithms=[algorithm], audience=audience, issuer=issuer,
            options={"verify_exp": False, "verify_at_hash": False, "leeway": LEEWAY},
        )  # fmt: skip
    except JOSEError as error:
        raise bad(_reason(str(error))) from None
    # python-jose reads some claims without a look at their types.
    except (RecursionError, TypeError, ValueError, ArithmeticError):
        raise bad("the token's claims are malformed") from None
    # python-jose lets a token without aud pass an audience check, and one without iss.
    named = payload.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):
        raise bad("the token is for another audience")
    if payload.get("iss") != issuer:
        raise bad("the token is from another issuer")
    return payload


def header_of(token: str) -> Header:
    """The token's header, parsed before python-jose reads it: three parts, exactly the types expected."""
    parts = token.split(".")
    try:
        if len(parts) != 3 or not all(parts):
            raise ValueError
        header = _decode_header(base64.urlsafe_b64decode(parts[0].encode("ascii") + b"=" * (-len(parts[0]) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise bad("the token is malformed") from None
    if header.typ is not None and header.typ.lower() not in _KINDS:
        raise bad("the token is of another kind")
    return header


def _claims(payload: dict[str, Any], now: float) -> Claims:
    tenant = payload.get("tenant")
    roles = payload.get("roles")
    expires, issued = payload.get("exp"), payload.get("iat", 0)
    subject, token_id = payload.get("sub"), payload.get("jti", "")
    if not (isinstance(expires, int) and isinstance(issued, int) and not isinstance(expires, bool)):
        raise bad("the token lacks exp")
    if issued > now + LEEWAY:
        raise bad("the token is from the future")
    if not (isinstance(subject, str) and subject and isinstance(token_id, str)):
        raise bad("the token lacks sub")
    sets, secret = payload.get("sets", []), payload.get("secret")
    if not (isinstance(roles, list) and all(isinstance(r, str) and r in _ROLES for r in roles)):
        raise bad("the token lacks roles")
    if not (isinstance(sets, list) and all(isinstance(name, str) for name in sets) and (roles or sets)):
        raise bad("the token lacks roles")
    if not (secret is None or isinstance(secret, str)):
        raise bad("the token's secret has no name")
    held = frozenset(_ROLES[role] for role in roles)
    if tenant is None:
        if held != {Role.PLATFORM}:
            raise bad("the token lacks tenant")
    elif not (isinstance(tenant, str) and TENANT_ID.fullmatch(tenant)):
        raise bad("the token's tenant is not one")
    restriction, maker = _viewer(payload, held)
    return Claims(subject, tenant, held, token_id, issued, expires, restriction, maker, frozenset(sets), secret)


def _viewer(payload: dict[str, Any], held: frozenset[Role]) -> tuple[EventQuery | None, str | None]:
    """The filter and the maker of a viewer link's token; both are None for any other."""
    if Role.VIEWER not in held and "filter" not in payload:
        return None, None
    maker = payload.get("maker")
    if held != {Role.VIEWER} or not isinstance(maker, str):
        raise bad("the token's filter and its roles do not go together")
    try:
        return msgspec.convert(payload.get("filter"), EventQuery), maker
    except msgspec.ValidationError:
        raise bad("the token lacks its filter") from None


def _reason(message: str) -> str:
    if "audience" in message.lower():
        return "the token is for another audience"
    if "issuer" in message.lower():
        return "the token is from another issuer"
    if "before" in message or "nbf" in message:
        return "the token is not valid yet"
    return "the token's signature is not good"


def bad(message: str) -> Unauthenticated:
    return Unauthenticated(message, code="invalid_token")
