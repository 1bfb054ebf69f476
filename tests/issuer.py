"""An issuer of tokens as others run it: keys of its own, published over HTTPS under a certificate of its own."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

ISSUER = "https://login.example/tenant"
_RSA = rsa.generate_private_key(65537, 2048)
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8 or 1))


def jwk_of(kid: str, key: PrivateKey, **more: Any) -> dict[str, Any]:
    """The public half."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e), **more}
    at, size = public.public_numbers(), (public.curve.key_size + 7) // 8
    curve = {256: "P-256", 384: "P-384", 521: "P-521"}[public.curve.key_size]
    return {"kty": "EC", "kid": kid, "crv": curve, "x": b64(at.x.to_bytes(size)), "y": b64(at.y.to_bytes(size)), **more}


class Idp:
    """Keys by their `kid`, and tokens of any header and claims, signed as they say or otherwise."""

    def __init__(self) -> None:
        self.keys: dict[str, PrivateKey] = {"rsa": _RSA, "ec": ec.generate_private_key(ec.SECP256R1())}
        self.published: list[dict[str, Any]] = [jwk_of(kid, key) for kid, key in self.keys.items()]
        self.asked = 0

    def document(self) -> bytes:
        self.asked += 1
        return json.dumps({"keys": self.published}).encode()

    def add(self, kid: str, key: PrivateKey | None = None, **more: Any) -> None:
        """A new key, published."""
        self.keys[kid] = key or ec.generate_private_key(ec.SECP256R1())
        self.published.append(jwk_of(kid, self.keys[kid], **more))

    def part(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """Header and claims; what is `...` is left out."""
        now = int(time.time())
        all_claims = {
            "iss": ISSUER, "aud": "ocelot-api", "sub": "ana", "iat": now, "exp": now + 600, "jti": "j", "org": "acme",
            "groups": ["ocelot-readers", "everyone"],
        } | claims  # fmt: skip
        parts = ({"alg": "ES256", "kid": "ec", "typ": "JWT"} | header, all_claims)
        return ".".join(
            b64(json.dumps({name: value for name, value in part.items() if value is not ...}).encode())
            for part in parts
        )

    def token(self, header: dict[str, Any] | None = None, /, key: PrivateKey | None = None, **claims: Any) -> str:
        """Signed by the key that the header names, or by `key`, in the way of the header's algorithm."""
        header = {"alg": "ES256", "kid": "ec"} | (header or {})
        return self.signed(self.part(header, claims), header, key)

    def signed(self, part: str, header: dict[str, Any], key: PrivateKey | None = None) -> str:
        """`part` and its signature."""
        key = key or self.keys[header["kid"]]
        digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[str(header["alg"])[-3:]]
        if isinstance(key, rsa.RSAPrivateKey):
            return f"{part}.{b64(key.sign(part.encode(), padding.PKCS1v15(), digest))}"
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(part.encode(), ec.ECDSA(digest)))
        return f"{part}.{b64(r.to_bytes(size) + s.to_bytes(size))}"

    def hmac(self, secret: bytes, header: dict[str, Any], **claims: Any) -> str:
        part = self.part(header, claims)
        return f"{part}.{b64(hmac.digest(secret, part.encode(), hashlib.sha256))}"

    def public(self, kid: str, encoding: serialization.Encoding) -> bytes:
        return self.keys[kid].public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


Answer = Callable[[BaseHTTPRequestHandler], None]


class HttpsServer:
    """Answers each request by `answer`; `url` is where, `ca_file` what makes its certificate good."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        self.ca_file = folder / "ca.pem"
        _certify(self.ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/keys"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class PublishedIdp(Idp):
    """One that serves its keys, and the setting by which any tenant's tokens of it are taken."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.server = HttpsServer(folder, serving(self.document))
        issuer = {
            "name": "corp", "issuer": ISSUER, "jwks_url": self.server.url, "ca_file": str(self.server.ca_file),
            "tenant_claim": ["org", "id"], "tenants": "*", "roles_claim": "groups",
            "roles": {"ocelot-readers": ["reader"], "ocelot-admins": ["admin"], "ocelot-searchers": ["searches"]},
        }  # fmt: skip
        self.setting = json.dumps([issuer])


def serving(document: Callable[[], bytes]) -> Answer:
    """Answers with the document."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = document()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def _certify(path: Path) -> None:
    """A certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
