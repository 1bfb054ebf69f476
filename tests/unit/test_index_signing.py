"""Requests to an index that wants AWS's signature, checked as AWS documents the check, and not by the driver."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.adapters.index.client import Client
from core.errors import Unavailable
from core.settings import load
from core.wiring import open_migrator

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session"
REGION = "eu-central-1"
_PARTS = re.compile(
    rf"AWS4-HMAC-SHA256 Credential={KEY}/(\d{{8}})/{REGION}/es/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


async def fault_of(request: web.Request) -> str | None:
    """What AWS would find wrong with the signature, by the steps of its own description."""
    found = _PARTS.fullmatch(request.headers.get("Authorization", ""))
    if found is None:
        return "no signature"
    day, names, signature = found[1], found[2].split(";"), found[3]
    digest = hashlib.sha256(await request.read()).hexdigest()
    if request.headers["X-Amz-Content-SHA256"] != digest:
        return "another body"
    if not {"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"} <= set(names):
        return "a header that has to be signed is not"
    path, _, query = request.raw_path.partition("?")
    canonical = "\n".join(
        [
            request.method,
            quote(path, safe="/~"),
            "&".join(sorted(query.split("&"))),
            *(f"{name}:{request.headers[name].strip()}" for name in names),
            "",
            ";".join(names),
            digest,
        ]
    )
    scope = f"{day}/{REGION}/es/aws4_request"
    text = (
        f"AWS4-HMAC-SHA256\n{request.headers['X-Amz-Date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    )
    key = _mac(_mac(_mac(_mac(f"AWS4{SECRET}".encode(), day), REGION), "es"), "aws4_request")
    return None if hmac.compare_digest(_mac(key, text).hex(), signature) else "a wrong signature"


@asynccontextmanager
async def domain(tls: ssl.SSLContext | None = None, *, checks: bool = True) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        fault = await fault_of(request) if checks else None
        return web.json_response({"error": fault} if fault else {}, status=403 if fault else 200)

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """AWS credentials by variables, and none from anywhere else."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("method", "path", "params", "body"),
    [
        ("GET", "/", {}, None),
        ("GET", "/ocelot-logs-a1b2c3d4-*/_alias", {"filter_path": "*.aliases", "expand_wildcards": "open"}, None),
        ("POST", "/ocelot-logs-a1b2c3d4/_bulk", {"require_alias": "true"}, b'{"create":{}}\n{"a":"\xc3\xa9"}\n'),
        ("POST", "/ocelot-logs-a1b2c3d4/_search", {"preference": "q1f", "request_cache": ""}, b"{}"),
    ],
)
async def test_a_request_is_signed_as_aws_checks_it(
    method: str, path: str, params: dict[str, str], body: bytes | None
) -> None:
    async with domain() as url:
        client = Client(url, sign_for=REGION)
        try:
            assert await client.call(method, path, params, body) == "{}"
        finally:
            await client.aclose()


@pytest.mark.usefixtures("credentials")
async def test_without_the_setting_nothing_is_signed() -> None:
    async with domain() as url:
        client = Client(url)
        with pytest.raises(Unavailable):
            await client.call("GET", "/", {})
        await client.aclose()


async def test_without_credentials_the_index_is_unavailable(credentials: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        credentials.delenv(name)
    client = Client("http://127.0.0.1:9", sign_for=REGION)
    with pytest.raises(Unavailable, match="credentials"):
        await client.call("GET", "/", {})
    await client.aclose()


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("region", [REGION, None])
async def test_a_certificate_is_checked(tmp_path: Path, region: str | None) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    _make_certificate(key, certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with domain(tls, checks=region is not None) as url:
        stranger, friend = Client(url, sign_for=region), Client(url, sign_for=region, ca_file=certificate)
        with pytest.raises(Unavailable):
            await stranger.call("GET", "/", {})
        assert await friend.call("GET", "/", {}) == "{}"
        await stranger.aclose()
        await friend.aclose()


def _make_certificate(key_file: Path, certificate_file: Path) -> None:
    """A certificate for this machine's own address that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("auth", ["sigv4", "basic"])
async def test_a_migration_speaks_to_the_index_as_the_services_do(
    auth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed where the domain wants that, and by the same authority."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    _make_certificate(key, certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with domain(tls, checks=auth == "sigv4") as url:
        for name, value in {
            "OCELOT_QUEUE": "file",
            "MONGODB_URL": "mongodb://127.0.0.1:9",
            "OPENSEARCH_URL": url,
            "OPENSEARCH_AUTH": auth,
            "OPENSEARCH_CA_FILE": str(certificate),
            "AWS_REGION": REGION,
        }.items():
            monkeypatch.setenv(name, value)
        async with open_migrator(load()) as migrator:
            (template,) = [step for step in migrator._steps if step.id == "index-template"]
            assert template.is_done is not None
            assert not await template.is_done()
            await template.run()
