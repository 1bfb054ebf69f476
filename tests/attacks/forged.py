"""Tokens of every kind that must not get in, made with the service's own key where that makes them worse."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from api.tokens import SigningKey

NO_TENANT = "zzzzzzzzzzzzzzzz"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Forge:
    """Makes tokens of any header, claims and signature, with a service's own key or another."""

    def __init__(self, pem: bytes, tenant_id: str) -> None:
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key
        self.other = ec.generate_private_key(ec.SECP256R1())
        self.kid = SigningKey(pem).kid
        now = int(time.time())
        self.claims: dict[str, Any] = {
            "iss": "ocelot", "aud": "ocelot-api", "sub": "test", "tenant": tenant_id, "roles": ["admin"], "iat": now,
            "exp": now + 600, "jti": "j",
        }  # fmt: skip
        self.header: dict[str, Any] = {"alg": "ES256", "typ": "JWT", "kid": self.kid}

    def public(self, encoding: serialization.Encoding) -> bytes:
        return self.key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)

    def signed_part(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        merged = {name: value for name, value in (self.claims | claims).items() if value is not ...}
        return f"{b64(json.dumps(self.header | (header or {})).encode())}.{b64(json.dumps(merged).encode())}"

    def token(
        self, header: dict[str, Any] | None = None, key: ec.EllipticCurvePrivateKey | None = None, **claims: Any
    ) -> str:
        """A signed token; a claim that is `...` is left out."""
        return self.sign(self.signed_part(header, **claims), key)

    def sign(self, part: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        r, s = decode_dss_signature((key or self.key).sign(part.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{part}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def hmac(self, secret: bytes, alg: str = "HS256") -> str:
        part = self.signed_part({"alg": alg})
        return f"{part}.{b64(hmac.digest(secret, part.encode(), hashlib.sha256))}"

    def hmac_kid(self, secret: bytes, kid: str) -> str:
        part = self.signed_part({"alg": "HS256", "kid": kid})
        return f"{part}.{b64(hmac.digest(secret, part.encode(), hashlib.sha256))}"

    def head_of(self, header: str) -> str:
        """The signed claims behind a header of exact bytes, itself unsigned."""
        return f"{b64(header.encode())}.{self.signed_part().split('.')[1]}"

    def raw(self, claims: str) -> str:
        """Signed claims of exact bytes."""
        return self.sign(f"{b64(json.dumps(self.header).encode())}.{b64(claims.encode())}")

    def jwk(self) -> dict[str, str]:
        numbers = self.other.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32))}


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
NOW = int(time.time())
LATER = NOW + 86_400
"""Still to come when the test runs: a suite takes its time."""
BAD: dict[str, Callable[[Forge], str]] = {
    "a word": lambda f: "token",
    "alg none": lambda f: f.signed_part({"alg": "none"}) + ".",
    "alg None with a signature": lambda f: f.sign(f.signed_part({"alg": "None"})),
    "alg none, the rest signed": lambda f: f.sign(f.signed_part({"alg": "none"})),
    "HS256 with the public PEM": lambda f: f.hmac(f.public(PEM)),
    "HS256 with the public PEM, stripped": lambda f: f.hmac(f.public(PEM).strip()),
    "HS256 with the public DER": lambda f: f.hmac(f.public(DER)),
    "HS256 with nothing": lambda f: f.hmac(b""),
    "HS256 named ES256": lambda f: f.hmac(f.public(PEM), "ES256"),
    "HS256 with the kid": lambda f: f.hmac(f.kid.encode()),
    "ES384 named": lambda f: f.sign(f.signed_part({"alg": "ES384"})),
    "another key, same kid": lambda f: f.token(key=f.other),
    "another kid": lambda f: f.token({"kid": "other"}),
    "no kid": lambda f: f.token({"kid": None}),
    "kid a path": lambda f: f.token({"kid": "../../dev/null"}),
    "kid a query": lambda f: f.token({"kid": "' OR 1=1 --"}),
    "kid a number": lambda f: f.token({"kid": 0}),
    "kid a list": lambda f: f.token({"kid": [f.kid]}),
    "its own jwk": lambda f: f.token({"jwk": f.jwk()}, key=f.other),
    "its own jwk, no kid": lambda f: f.token({"jwk": f.jwk(), "kid": "x"}, key=f.other),
    "its own jku": lambda f: f.token({"jku": "http://127.0.0.1:9/keys"}, key=f.other),
    "its own x5u": lambda f: f.token({"x5u": "http://127.0.0.1:9/cert"}, key=f.other),
    "crit": lambda f: f.token({"crit": ["exp"]}),
    "crit empty": lambda f: f.token({"crit": []}),
    "no signature": lambda f: f.signed_part() + ".",
    "no third part": lambda f: f.signed_part(),
    "four parts": lambda f: f.token() + ".x",
    "signature cut": lambda f: f.token()[:-8],
    "signature of zeros": lambda f: f"{f.signed_part()}.{b64(bytes(64))}",
    "signature in DER": lambda f: f"{f.signed_part()}.{b64(f.key.sign(b'x', ec.ECDSA(hashes.SHA256())))}",
    "signature of another token": lambda f: f.signed_part() + "." + f.token(sub="x").rsplit(".", 1)[1],
    "claims changed": lambda f: ".".join((f.token().split(".")[0], b64(b'{"tenant":"x"}'), f.token().split(".")[2])),
    "header no JSON": lambda f: f.sign(f"{b64(b'{')}.{b64(b'{}')}"),
    "header a list": lambda f: f.sign(f"{b64(b'[]')}.{b64(b'{}')}"),
    "header deep": lambda f: f.sign(f"{b64(_deep(f))}.{b64(b'{}')}"),
    "header no UTF-8": lambda f: f.sign(b64(b'{"x\xff":1}') + "." + b64(b"{}")),
    "header not base64": lambda f: f.sign(f"!!!!.{b64(b'{}')}"),
    "claims no JSON": lambda f: f.sign(f"{f.signed_part().split('.')[0]}.{b64(b'x')}"),
    "claims a list": lambda f: f.sign(f"{f.signed_part().split('.')[0]}.{b64(b'[]')}"),
    "claims deep": lambda f: f.sign(f"{f.signed_part().split('.')[0]}.{b64(b'[' * 5000)}"),
    "claims no UTF-8": lambda f: f.sign(f"{f.signed_part().split('.')[0]}.{b64(bytes([255]))}"),
    "huge": lambda f: f.token(padding="x" * 100_000),
    "just too long": lambda f: f.token(padding="x" * 6500),
    "expired": lambda f: f.token(exp=NOW - 60),
    "exp long ago": lambda f: f.token(exp=-1),
    "exp missing": lambda f: f.token(exp=...),
    "exp text": lambda f: f.token(exp="9999999999"),
    "exp null": lambda f: f.token(exp=None),
    "exp true": lambda f: f.token(exp=True),
    "exp infinite": lambda f: f.token(exp=float("inf")),
    "exp a list": lambda f: f.token(exp=[LATER]),
    "not yet": lambda f: f.token(nbf=LATER),
    "nbf text": lambda f: f.token(nbf="now"),
    "iat in the future": lambda f: f.token(iat=LATER),
    "iat text": lambda f: f.token(iat="now"),
    "iat a list": lambda f: f.token(iat=[]),
    "iss wrong": lambda f: f.token(iss="other"),
    "iss missing": lambda f: f.token(iss=...),
    "iss a list": lambda f: f.token(iss=["ocelot"]),
    "iss an object": lambda f: f.token(iss={"ocelot": 1}),
    "aud wrong": lambda f: f.token(aud="other"),
    "aud missing": lambda f: f.token(aud=...),
    "aud null": lambda f: f.token(aud=None),
    "aud a part": lambda f: f.token(aud="ocelot"),
    "aud a list of others": lambda f: f.token(aud=["a", "b"]),
    "aud an empty list": lambda f: f.token(aud=[]),
    "aud an object": lambda f: f.token(aud={"ocelot-api": 1}),
    "aud a list of lists": lambda f: f.token(aud=[["ocelot-api"]]),
    "sub missing": lambda f: f.token(sub=...),
    "sub empty": lambda f: f.token(sub=""),
    "sub a number": lambda f: f.token(sub=1),
    "jti a list": lambda f: f.token(jti=["j"]),
    "roles missing": lambda f: f.token(roles=...),
    "viewer without a filter": lambda f: f.token(roles=["viewer"], maker="m"),
    "viewer without a maker": lambda f: f.token(roles=["viewer"], filter={}),
    "viewer with a filter that is none": lambda f: f.token(roles=["viewer"], maker="m", filter=[]),
    "viewer with a condition that is none": lambda f: f.token(roles=["viewer"], maker="m", filter={"conditions": [1]}),
    "viewer who is admin as well": lambda f: f.token(roles=["viewer", "admin"], maker="m", filter={}),
    "a filter without the role": lambda f: f.token(roles=["reader"], maker="m", filter={}),
    "roles empty": lambda f: f.token(roles=[]),
    "roles text": lambda f: f.token(roles="admin"),
    "roles unknown": lambda f: f.token(roles=["root"]),
    "roles partly unknown": lambda f: f.token(roles=["reader", "root"]),
    "roles other case": lambda f: f.token(roles=["Admin"]),
    "roles nested": lambda f: f.token(roles=[["admin"]]),
    "roles an object": lambda f: f.token(roles={"admin": 1}),
    "typ of another kind, not signed": lambda f: f.signed_part({"typ": "at+jwt", "alg": "none"}) + ".",
    "typ of a logout token": lambda f: f.token({"typ": "logout+jwt"}),
    "typ of an event token": lambda f: f.token({"typ": "secevent+jwt"}),
    "typ empty": lambda f: f.token({"typ": ""}),
    "typ a list": lambda f: f.token({"typ": ["JWT"]}),
    "encrypted by its head": lambda f: f.token({"alg": "dir", "enc": "A256GCM"}),
    "zipped by its head": lambda f: f.token({"alg": "ES256", "zip": "DEF", "b64": False, "crit": ["b64"]}),
    "its own certificate": lambda f: f.token({"x5c": ["MIIB"], "kid": "x5c"}, key=f.other),
    "kid a URL": lambda f: f.token({"kid": "http://127.0.0.1:9/key.pem"}, key=f.other),
    "kid a file of the system": lambda f: f.hmac_kid(b"", "/dev/null"),
    "kid with a NUL": lambda f: f.token({"kid": f.kid + "\0"}),
    "kid an object": lambda f: f.token({"kid": {"$ne": ""}}),
    "alg twice, the last one none": lambda f: f.head_of(f'{{"alg":"ES256","kid":"{f.kid}","alg":"none"}}') + ".",
    "psychic: r and s of zero": lambda f: f"{f.signed_part()}.{b64(bytes(64))}",
    "psychic: r and s of the order": lambda f: f"{f.signed_part()}.{b64(P256_ORDER.to_bytes(32, 'big') * 2)}",
    "psychic: r 0, s 1": lambda f: f"{f.signed_part()}.{b64(bytes(63) + bytes([1]))}",
    "psychic: zeros in DER": lambda f: f"{f.signed_part()}.{b64(bytes.fromhex('3006020100020100'))}",
    "signature longer by a byte": lambda f: f.token() + "AA",
    "signature doubled": lambda f: f.token() + f.token().rsplit(".", 1)[1],
    "standard alphabet": lambda f: f.token(sub="?" * 9).replace("-", "+").replace("_", "/") + "=",
    "white space inside": lambda f: f.token().replace(".", ". ", 1),
    "tenant twice": lambda f: f.raw(json.dumps(f.claims)[:-1] + ',"tenant":"*"}'),
    "exp twice, the last one past": lambda f: f.raw(json.dumps(f.claims)[:-1] + ',"exp":1}'),
    "roles twice, the last ones none": lambda f: f.raw(json.dumps(f.claims)[:-1] + ',"roles":["root"]}'),
    "exp beyond any clock": lambda f: f.raw(json.dumps(f.claims | {"exp": 0})[:-1] + ',"exp":1e400}'),
    "tenant missing": lambda f: f.token(tenant=...),
    "tenant null": lambda f: f.token(tenant=None),
    "tenant a list": lambda f: f.token(tenant=[f.claims["tenant"]]),
    "tenant empty": lambda f: f.token(tenant=""),
    "tenant upper case": lambda f: f.token(tenant=f.claims["tenant"].upper()),
    "tenant with a space": lambda f: f.token(tenant=f.claims["tenant"] + " "),
    "tenant with a line break": lambda f: f.token(tenant=f.claims["tenant"] + "\n"),
    "tenant with a NUL": lambda f: f.token(tenant=f.claims["tenant"] + "\0"),
    "tenant a wildcard": lambda f: f.token(tenant="*"),
    "tenants joined": lambda f: f.token(tenant=f.claims["tenant"] + ",aaaaaaaa"),
    "tenant in full-width letters": lambda f: f.token(tenant="".join(chr(ord(c) + 0xFEE0) for c in f.claims["tenant"])),
    "tenant cut": lambda f: f.token(tenant=f.claims["tenant"][:-1]),
    "tenant that does not exist": lambda f: f.token(tenant=NO_TENANT),
}


def _deep(forge: Forge) -> bytes:
    return json.dumps(forge.header)[:-1].encode() + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}"


_FAMILIES = {
    "algorithm": ("alg ", "HS256", "ES384", "crit", "encrypted", "zipped"),
    "key named by the token": ("kid", "no kid", "another k", "its own"),
    "signature": ("signature", "no signature", "psychic", "claims changed", "standard alphabet"),
    "kind": ("typ",),
    "time": ("exp", "not yet", "nbf", "iat"),
    "issuer and audience": ("iss", "aud"),
    "who and what": ("sub", "jti", "roles", "viewer", "a filter"),
    "tenant": ("tenant",),
}


def family_of(kind: str) -> str:
    """What of the token is bad, for the table."""
    return next((family for family, starts in _FAMILIES.items() if kind.startswith(starts)), "form and size")
