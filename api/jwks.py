"""The public keys of an external issuer: fetched over HTTPS, bounded in size, time and number, kept between fetches.

Nothing that a token says is ever fetched: the URL is the operator's. Each key is tied to what it may be used for before
any token is seen, so that a token's header chooses among fixed pairs of key and algorithm.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose.backends import ECKey, RSAKey

from core import telemetry
from core.errors import Unavailable
from core.issuers import ExternalIssuer

log = logging.getLogger(__name__)
REFRESH_SECONDS: Final = 300.0
"""After which a key that its issuer has withdrawn is good no more."""
COOLDOWN_SECONDS: Final = 30.0
"""Between two fetches for keys that are not known: whatever tokens come, the issuer is asked no more often."""
FAILED_COOLDOWN_SECONDS: Final = 5.0
STALE_SECONDS: Final = 24 * 3600.0
"""For which keys are good whose issuer does not answer."""
FETCH_SECONDS: Final = 5.0
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
_RSA_BITS: Final = (2048, 8192)
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512"})
_CURVES: Final[dict[str, tuple[str, ec.EllipticCurve]]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}
PublicKey: TypeAlias = Any
"""python-jose's, for one algorithm."""
Keys: TypeAlias = Mapping[tuple[str, str], PublicKey]
"""By `kid` and `alg`."""


class _Jwk(msgspec.Struct):
    kty: str
    kid: str
    alg: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""


class _Set(msgspec.Struct):
    keys: list[msgspec.Raw]


class KeySet:
    """An issuer's keys. `fetch` returns its document or raises `Unavailable`; `clock` is in monotonic seconds."""

    def __init__(
        self, issuer: ExternalIssuer, fetch: Callable[[], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys = {}
        self._document = b""
        self._asked_at: float | None = None
        self._read_at: float | None = None
        self._failed = False
        self._lock = asyncio.Lock()
        self.generation = 0
        """Changes with the keys: what was verified by earlier ones has to be again."""

    async def key(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key; None when the issuer has none of this name for this algorithm.

        One that is not known is looked for once more, if the last look is a while ago; all who miss share it. Raises
        `Unavailable` when the issuer did not answer, so that nobody can tell.
        """
        found = self._known(kid, algorithm)
        if found is None and self._may_ask():
            async with self._lock:
                if self._may_ask():
                    await self._refresh()
            found = self._known(kid, algorithm)
        if found is None and self._failed:
            raise Unavailable("token issuer", f"the keys of {self._issuer.name} cannot be read")
        return found

    async def refresh_forever(self) -> None:
        """Read the keys now and then; the last ones stay good for a day while the issuer does not answer."""
        while True:
            async with self._lock:
                await self._refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _known(self, kid: str, algorithm: str) -> PublicKey | None:
        if self._read_at is None or self._clock() - self._read_at > STALE_SECONDS:
            return None
        return self._keys.get((kid, algorithm))

    def _may_ask(self) -> bool:
        rest = FAILED_COOLDOWN_SECONDS if self._failed else COOLDOWN_SECONDS
        return self._asked_at is None or self._clock() - self._asked_at >= rest

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            document = await self._fetch()
            if document != self._document:
                self._keys = public_keys(document, self._issuer.algorithms)
                self._document = document
                self.generation += 1
                log.info("the issuer %s has %d keys for its algorithms", self._issuer.name, len(self._keys))
        except Unavailable as error:
            self._failed = True
            log.warning("the keys of the issuer %s were not read: %s", self._issuer.name, error.message)
        else:
            self._failed, self._read_at = False, self._clock()
        telemetry.JWKS.labels(self._issuer.name, "failed" if self._failed else "read").inc()


def public_keys(document: bytes, algorithms: tuple[str, ...]) -> Keys:
    """The document's keys that can check a signature by one of the algorithms; the others are passed over.

    Raises `Unavailable` for what is no set of keys. Of two with the same name the first counts.
    """
    try:
        written = msgspec.json.decode(document, type=_Set).keys
    except (msgspec.DecodeError, RecursionError):
        raise Unavailable("token issuer", "the answer is no set of keys") from None
    found: dict[tuple[str, str], PublicKey] = {}
    for raw in written[:MAX_KEYS]:
        try:
            for name, key in _of(msgspec.json.decode(raw, type=_Jwk), algorithms):
                found.setdefault(name, key)
        except (msgspec.DecodeError, ValueError, UnsupportedAlgorithm):
            continue
    return found


def _of(jwk: _Jwk, algorithms: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], PublicKey]]:
    """What the key is for: an RSA key that does not say serves each RSA algorithm; a curve has one."""
    if jwk.use not in (None, "sig") or (jwk.key_ops is not None and "verify" not in jwk.key_ops):
        return
    if jwk.kty == "RSA":
        for name in _RSA_ALGORITHMS.intersection(algorithms):
            if jwk.alg in (None, name):
                yield (jwk.kid, name), RSAKey(_rsa(jwk), name)
    elif jwk.kty == "EC" and jwk.crv in _CURVES:
        name, curve = _CURVES[jwk.crv]
        if name in algorithms and jwk.alg in (None, name):
            numbers = ec.EllipticCurvePublicNumbers(_number(jwk.x), _number(jwk.y), curve)
            yield (jwk.kid, name), ECKey(numbers.public_key(), name)


def _rsa(jwk: _Jwk) -> rsa.RSAPublicKey:
    modulus = _number(jwk.n)
    if not _RSA_BITS[0] <= modulus.bit_length() <= _RSA_BITS[1]:
        raise ValueError("an RSA key of that size is not taken")
    return rsa.RSAPublicNumbers(_number(jwk.e), modulus).public_key()


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))


def fetcher(issuer: ExternalIssuer) -> Callable[[], Awaitable[bytes]]:
    """Fetches the issuer's document; raises `ValueError` at once for a `ca_file` that cannot be read."""
    import httpx

    try:
        trust = ssl.create_default_context(cafile=issuer.ca_file)
    except (OSError, ssl.SSLError):
        raise ValueError(f"{issuer.name}: ca_file cannot be read") from None
    # Unpacked, an answer has no bound that is known before; a redirect leads to where no operator has pointed.
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}

    async def fetch() -> bytes:
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                httpx.AsyncClient(verify=trust, follow_redirects=False, headers=headers) as client,
                client.stream("GET", issuer.jwks_url) as response,
            ):
                if response.status_code != 200 or "content-encoding" in response.headers:
                    raise Unavailable("token issuer", f"it answers {response.status_code}")
                document = bytearray()
                async for piece in response.aiter_raw():
                    document += piece
                    if len(document) > MAX_BYTES:
                        raise Unavailable("token issuer", f"the answer has more than {MAX_BYTES} bytes")
                return bytes(document)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise Unavailable("token issuer", type(error).__name__) from None

    return fetch
