"""Tokens of external issuers: checked by their keys, and their claims turned into Ocelot's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api.jwks import KeySet, fetcher
from api.tokens import CACHE_SIZE, LEEWAY, MAX_TOKEN_BYTES, Expired, bad, decoded, header_of
from core import grants, issuers
from core.issuers import ExternalIssuer
from core.tenant import EXTERNAL, Claims

_MAX_NAME: Final = 256


class _Named(msgspec.Struct):
    iss: str


_issuer_of: Final = msgspec.json.Decoder(_Named).decode


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    keys: KeySet
    generation: int


class ExternalTokens:
    """Checks tokens of the issuers that operators have set up. `audience` is of those that name no other."""

    def __init__(
        self,
        sources: Sequence[tuple[ExternalIssuer, KeySet]],
        audience: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sources = {issuer.issuer: (issuer, keys) for issuer, keys in sources}
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def refresh_forever(self) -> None:
        """Keep every issuer's keys fresh."""
        await asyncio.gather(*(keys.refresh_forever() for _, keys in self._sources.values()))

    async def verify(self, token: str) -> Claims | None:
        """The claims of a good token, None for one that names none of these issuers.

        Raises `Unauthenticated`, and `Unavailable` when the issuer's keys cannot be had.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is None or known.generation != known.keys.generation:
            found = await self._check(token)
            if found is None:
                return None
            known = self._verified[digest] = found
            if len(self._verified) > CACHE_SIZE:
                self._verified.popitem(last=False)
        if known.claims.expires_at <= self._clock():
            self._verified.pop(digest, None)
            raise Expired(known.claims)
        return known.claims

    def forget(self, tenant_ids: Collection[str]) -> None:
        """Keep nothing of these tenants' tokens."""
        for digest in [d for d, known in self._verified.items() if known.claims.tenant_id in tenant_ids]:
            del self._verified[digest]

    async def _check(self, token: str) -> _Verified | None:
        source = self._sources.get(_claimed_issuer(token))
        if source is None:
            return None
        issuer, keys = source
        header = header_of(token)
        # Before the issuer is asked for a key: a header that is no good must not make anybody ask.
        if header.alg not in issuer.algorithms or header.crit is not None:
            raise bad("the token's algorithm is not accepted")
        key = await keys.key(header.kid, header.alg)
        if key is None:
            raise bad("the token's key is not known")
        generation = keys.generation
        payload = decoded(token, key, header.alg, audience=issuer.audience or self._audience, issuer=issuer.issuer)
        return _Verified(_claims(issuer, payload, self._clock()), keys, generation)


def open_issuers(written: str | None, own_issuer: str, audience: str) -> ExternalTokens | None:
    """The issuers of the setting, None where there are none; raises `ValueError` with what is wrong."""
    found = issuers.load(written, own_issuer)
    if not found:
        return None
    return ExternalTokens([(issuer, KeySet(issuer, fetcher(issuer))) for issuer in found], audience)


def _claimed_issuer(token: str) -> str:
    """What the token says of its issuer, not verified yet; "" when it says nothing that can be read."""
    if len(token) > MAX_TOKEN_BYTES:
        return ""
    parts = token.split(".")
    try:
        written = parts[1].encode("ascii")
        return _issuer_of(base64.urlsafe_b64decode(written + b"=" * (-len(written) % 4))).iss
    except (IndexError, ValueError, msgspec.DecodeError, RecursionError):
        return ""


def _claims(issuer: ExternalIssuer, payload: Mapping[str, Any], now: float) -> Claims:
    expires, issued = _seconds(payload, "exp"), _seconds(payload, "iat")
    if expires is None:
        raise bad("the token lacks exp")
    if issued is not None and issued > now + LEEWAY:
        raise bad("the token is from the future")
    subject, token_id = payload.get("sub"), payload.get("jti", "")
    if not (_is_name(subject) and (token_id == "" or _is_name(token_id))):
        raise bad("the token lacks sub")
    tenant = issuers.tenant_of(issuer, payload)
    if tenant is None:
        raise bad("the token is for no tenant of this issuer")
    roles, sets = grants.split(issuers.roles_of(issuer, payload))
    if not roles and not sets:
        raise bad("the token has no role here")
    # No subject and no id of one issuer is another's, or Ocelot's own: what is revoked goes by them.
    own = f"{EXTERNAL}{issuer.name}:"
    return Claims(f"{own}{subject}", tenant, roles, own + token_id if token_id else "", issued or 0, expires, sets=sets)


def _seconds(payload: Mapping[str, Any], name: str) -> int | None:
    """A NumericDate, which may have a fraction; None where there is none."""
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad(f"the token's {name} is no time")
    return int(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()
