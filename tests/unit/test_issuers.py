"""Tokens of other issuers: what is taken, what never is, and how often anybody is asked for keys."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.requests import Request

from api import jwks
from api.auth import Authenticator
from api.external import ExternalTokens, open_issuers
from api.jwks import KeySet, fetcher, public_keys
from api.tokens import SigningKey, TokenIssuer, TokenVerifier
from core import issuers
from core.access import Permission, Role
from core.errors import Forbidden, OcelotError, Unauthenticated, Unavailable
from core.issuers import ExternalIssuer
from core.ports import AccessSnapshot
from core.snapshots import Snapshots
from core.tenant import Tenant
from tests.issuer import ISSUER, HttpsServer, Idp, b64, jwk_of, number, serving

PLAIN: dict[str, Any] = {
    "name": "corp", "issuer": ISSUER, "jwks_url": "https://login.example/keys", "tenant_claim": "org",
    "tenants": {"acme": "acme0001"}, "roles_claim": "groups",
    "roles": {"ocelot-readers": ["reader"], "ocelot-admins": ["admin", "searcher"]},
}  # fmt: skip


def configured(**changes: Any) -> ExternalIssuer:
    """`...` leaves a member out."""
    written = {name: value for name, value in (PLAIN | changes).items() if value is not ...}
    return issuers.load(json.dumps([written]), "ocelot")[0]


class Source:
    """A set of keys over an `Idp`, with a clock that tests move, and an issuer that may be down."""

    def __init__(self, idp: Idp, **changes: Any) -> None:
        self.now = 1000.0
        self.down = False
        self.issuer = configured(**changes)
        self.keys = KeySet(self.issuer, self._fetch, lambda: self.now)
        self.tokens = ExternalTokens([(self.issuer, self.keys)], "ocelot-api")
        self._idp = idp

    async def _fetch(self) -> bytes:
        document = self._idp.document()
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("token issuer")
        return document


@pytest.fixture
def idp() -> Idp:
    return Idp()


@pytest.fixture
def source(idp: Idp) -> Source:
    return Source(idp)


async def code_of(source: Source, token: str) -> str:
    """How the token is refused; "" when it names another issuer."""
    try:
        found = await source.tokens.verify(token)
    except OcelotError as error:
        return error.code
    assert found is None, found
    return ""


async def test_a_good_token_is_turned_into_claims(idp: Idp, source: Source) -> None:
    for header in ({"alg": "ES256", "kid": "ec"}, {"alg": "RS256", "kid": "rsa"}):
        claims = await source.tokens.verify(idp.token(header, exp=int(time.time()) + 60.5))
        assert claims is not None
        assert (claims.subject, claims.tenant_id, claims.token_id) == ("ext:corp:ana", "acme0001", "ext:corp:j")
        assert (claims.roles, claims.sets, claims.restriction) == ({Role.READER}, frozenset(), None)
    claims = await source.tokens.verify(idp.token(groups=["ocelot-admins", "ocelot-readers", 7, None], jti=...))
    assert claims is not None
    assert (claims.roles, claims.sets, claims.token_id) == ({Role.ADMIN, Role.READER}, {"searcher"}, "")
    assert idp.asked == 1


DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
NOW = int(time.time())
LATER = NOW + 86_400
"""Still to come when the test runs: a suite takes its time."""
OTHER = ec.generate_private_key(ec.SECP256R1())
_DEEP = b'{"iss":"%s","x":' % ISSUER.encode() + b"[" * 3000 + b"]" * 3000 + b"}"


def overflowing(idp: Idp, name: str) -> str:
    """`1e999` is JSON, and infinite to who reads it as a number."""
    header, claims, _ = idp.token(**{name: 123456789}).split(".")
    text = base64.urlsafe_b64decode(claims + "==").replace(b"123456789", b"1e999")
    return idp.signed(f"{header}.{b64(text)}", {"alg": "ES256", "kid": "ec"})


BAD: dict[str, Callable[[Idp], str]] = {
    "alg none": lambda i: i.part({"alg": "none"}, {}) + ".",
    "alg none, the rest signed": lambda i: i.signed(i.part({"alg": "none"}, {}), {"alg": "ES256", "kid": "ec"}),
    "alg None": lambda i: i.part({"alg": "None"}, {}) + ".x",
    "HS256 with the public PEM": lambda i: i.hmac(i.public("ec", PEM), {"alg": "HS256"}),
    "HS256 with the public DER": lambda i: i.hmac(i.public("ec", DER), {"alg": "HS256"}),
    "HS256 with the RSA key's PEM": lambda i: i.hmac(i.public("rsa", PEM), {"alg": "HS256", "kid": "rsa"}),
    "HS256 named RS256": lambda i: i.hmac(i.public("rsa", PEM), {"alg": "RS256", "kid": "rsa"}),
    "HS256 named ES256": lambda i: i.hmac(i.public("ec", PEM), {"alg": "ES256"}),
    "HS256 with the published document": lambda i: i.hmac(json.dumps(i.published[1]).encode(), {"alg": "HS256"}),
    "HS256 with nothing": lambda i: i.hmac(b"", {"alg": "HS256"}),
    "the RSA key as ES256": lambda i: i.token({"alg": "ES256", "kid": "rsa"}),
    "the EC key as RS256": lambda i: i.token({"alg": "RS256", "kid": "ec"}),
    "RS512, which is not set up": lambda i: i.token({"alg": "RS512", "kid": "rsa"}),
    "PS256": lambda i: i.part({"alg": "PS256", "kid": "rsa"}, {}) + ".x",
    "alg a list": lambda i: i.part({"alg": ["ES256"]}, {}) + ".x",
    "alg missing": lambda i: i.part({"alg": ...}, {}) + ".x",
    "kid of another key": lambda i: i.token({"kid": "rsa", "alg": "ES256"}, key=i.keys["ec"]),
    "kid unknown": lambda i: i.token({"kid": "gone"}, key=OTHER),
    "kid missing": lambda i: i.part({"kid": ...}, {}) + ".x",
    "kid a path": lambda i: i.token({"kid": "../../../dev/null"}, key=OTHER),
    "kid a URL": lambda i: i.token({"kid": "https://evil.example/keys"}, key=OTHER),
    "kid a list": lambda i: i.part({"kid": ["ec"]}, {}) + ".x",
    "kid an object": lambda i: i.part({"kid": {"ec": 1}}, {}) + ".x",
    "another key under a known kid": lambda i: i.token(key=OTHER),
    "its own jwk": lambda i: i.token({"jwk": jwk_of("ec", OTHER)}, key=OTHER),
    "its own jku": lambda i: i.token({"jku": "https://evil.example/keys"}, key=OTHER),
    "its own x5u": lambda i: i.token({"x5u": "https://evil.example/cert"}, key=OTHER),
    "its own x5c": lambda i: i.token({"x5c": ["AAAA"]}, key=OTHER),
    "crit": lambda i: i.token({"crit": ["exp"]}),
    "typ of a logout token": lambda i: i.token({"typ": "logout+jwt"}),
    "signature of zeros": lambda i: f"{i.part({}, {})}.{b64(bytes(64))}",
    "no signature": lambda i: i.part({}, {}) + ".",
    "claims changed": lambda i: ".".join((
        i.token().split(".")[0], i.part({}, {"groups": ["ocelot-admins"]}).split(".")[1], i.token().split(".")[2])),
    "aud of another service": lambda i: i.token(aud="other"),
    "aud missing": lambda i: i.token(aud=...),
    "aud a part": lambda i: i.token(aud="ocelot"),
    "aud an object": lambda i: i.token(aud={"ocelot-api": 1}),
    "exp missing": lambda i: i.token(exp=...),
    "exp text": lambda i: i.token(exp=str(LATER)),
    "exp true": lambda i: i.token(exp=True),
    "exp infinite": lambda i: i.token(exp=float("inf")),
    "exp not a number": lambda i: i.token(exp=float("nan")),
    "exp beyond all numbers": lambda i: overflowing(i, "exp"),
    "nbf beyond all numbers": lambda i: overflowing(i, "nbf"),
    "iat beyond all numbers": lambda i: overflowing(i, "iat"),
    "not yet": lambda i: i.token(nbf=LATER),
    "nbf infinite": lambda i: i.token(nbf=float("inf")),
    "iat in the future": lambda i: i.token(iat=LATER),
    "iat a list": lambda i: i.token(iat=[]),
    "sub missing": lambda i: i.token(sub=...),
    "sub a number": lambda i: i.token(sub=7),
    "sub empty": lambda i: i.token(sub=""),
    "sub with a line break": lambda i: i.token(sub="ana\nINFO"),
    "sub too long": lambda i: i.token(sub="x" * 257),
    "jti a list": lambda i: i.token(jti=["j"]),
    "of a tenant that is not mapped": lambda i: i.token(org="zeta"),
    "of a tenant by its id": lambda i: i.token(org="acme0001"),
    "tenant missing": lambda i: i.token(org=...),
    "tenant a list": lambda i: i.token(org=["acme"]),
    "tenant an object": lambda i: i.token(org={"acme": 1}),
    "own claims of tenant and roles": lambda i: i.token(org=..., tenant="acme0001", roles=["admin"], groups=...),
    "roles missing": lambda i: i.token(groups=...),
    "roles that mean nothing": lambda i: i.token(groups=["admin", "reader", "platform"]),
    "roles an object": lambda i: i.token(groups={"ocelot-readers": 1}),
    "roles nested": lambda i: i.token(groups=[["ocelot-readers"]]),
    "claims deep": lambda i: f"{i.token().split(chr(46))[0]}.{b64(_DEEP)}.x",
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_token_is_refused(idp: Idp, source: Source, kind: str) -> None:
    unreadable = kind in ("exp infinite", "exp not a number", "nbf infinite", "claims deep")
    # What is no JSON names nobody, and is for the service's own check to refuse.
    assert await code_of(source, BAD[kind](idp)) == ("" if unreadable else "invalid_token")


@pytest.mark.parametrize("token", ["", "x", "..", "a.b.c", "é.é.é", ".".join(["e30"] * 3), "x" * 9000])
async def test_what_names_no_issuer_is_none_of_theirs(idp: Idp, source: Source, token: str) -> None:
    assert await code_of(source, token) == ""
    for issuer in ("ocelot", ISSUER + "/", ISSUER.upper(), [ISSUER], {"a": ISSUER}, ..., "x" * 9000):
        assert await code_of(source, idp.token(iss=issuer)) == ""
    assert idp.asked == 0


async def test_expired_is_expired_also_while_it_is_known(idp: Idp) -> None:
    now = [time.time()]
    source = Source(idp)
    tokens = ExternalTokens([(source.issuer, source.keys)], "ocelot-api", clock=lambda: now[0])
    token = idp.token(exp=int(now[0]) + 30)
    assert await tokens.verify(token)
    now[0] += 31
    for _ in range(2):
        with pytest.raises(Unauthenticated) as refused:
            await tokens.verify(token)
        assert refused.value.code == "token_expired"


async def test_nothing_is_kept_of_a_tenant_that_is_gone(idp: Idp, source: Source) -> None:
    assert await source.tokens.verify(idp.token())
    source.tokens.forget(["zeta0001"])
    assert len(source.tokens._verified) == 1
    source.tokens.forget(["zeta0001", "acme0001"])
    assert len(source.tokens._verified) == 0


# Rotation and its bounds ---------------------------------------------------------------------------------------------


async def test_a_new_key_is_found_and_a_withdrawn_one_is_good_no_more(idp: Idp, source: Source) -> None:
    old = idp.token()
    assert await source.tokens.verify(old)
    idp.add("new")
    new = idp.token({"kid": "new"})
    assert await code_of(source, new) == "invalid_token"  # asked a moment ago
    source.now += jwks.COOLDOWN_SECONDS
    assert await source.tokens.verify(new)
    assert idp.asked == 2
    assert await source.tokens.verify(old), "its key is still there"
    idp.published = [each for each in idp.published if each["kid"] != "ec"]
    task = asyncio.create_task(source.keys.refresh_forever())
    while idp.asked < 3:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    assert await code_of(source, old) == "invalid_token", "verified before, and cached"
    assert await source.tokens.verify(new)


async def test_a_flood_of_unknown_keys_asks_the_issuer_once(idp: Idp, source: Source) -> None:
    async def flood() -> None:
        tokens = [idp.token({"kid": f"k{n}"}, key=OTHER) for n in range(20)]
        assert set(await asyncio.gather(*(code_of(source, token) for token in tokens))) == {"invalid_token"}

    await flood()
    assert idp.asked == 1
    source.now += jwks.COOLDOWN_SECONDS - 1
    await flood()
    assert idp.asked == 1
    source.now += 1
    await flood()
    assert idp.asked == 2


async def test_what_no_key_could_make_good_asks_nobody(idp: Idp, source: Source) -> None:
    for token in (
        idp.hmac(b"x", {"alg": "HS256"}), idp.part({"alg": "none"}, {}) + ".", idp.token({"crit": ["x"]}),
        idp.part({"kid": ...}, {}) + ".x",
    ):  # fmt: skip
        assert await code_of(source, token) == "invalid_token"
    assert idp.asked == 0


async def test_while_the_issuer_is_down_known_keys_go_on_and_unknown_ones_are_not_called_bad(
    idp: Idp, source: Source
) -> None:
    source.down = True
    assert await code_of(source, idp.token()) == "dependency_unavailable"
    assert await code_of(source, idp.token()) == "dependency_unavailable"
    assert idp.asked == 1
    source.down = False
    source.now += jwks.FAILED_COOLDOWN_SECONDS
    assert await source.tokens.verify(idp.token())
    source.down = True
    source.now += jwks.COOLDOWN_SECONDS
    assert await code_of(source, idp.token({"kid": "new"}, key=OTHER)) == "dependency_unavailable"
    assert await source.tokens.verify(idp.token(sub="ben"))
    source.now += jwks.STALE_SECONDS
    assert await code_of(source, idp.token(sub="cat")) == "dependency_unavailable"


async def test_an_answer_that_is_no_set_of_keys_takes_no_key_away(idp: Idp, source: Source) -> None:
    assert await source.tokens.verify(idp.token())
    for document in (b"", b"[]", b"<html>", b'{"keys": {}}', b"[" * 5000, b"\xff"):
        idp.document = lambda document=document: document  # type: ignore[method-assign]
        source.now += jwks.COOLDOWN_SECONDS
        assert await code_of(source, idp.token({"kid": "x"}, key=OTHER)) == "dependency_unavailable"
        assert await source.tokens.verify(idp.token(sub="ben"))


def test_which_published_keys_are_taken() -> None:
    p384, p521 = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1())
    rsa_key = Idp().keys["rsa"]
    ec_jwk = jwk_of("a", OTHER)
    small = rsa.generate_private_key(65537, 1024)
    published: list[Any] = [
        ec_jwk, {**ec_jwk, "x": ec_jwk["y"]}, jwk_of("b", p384), jwk_of("c", p521), jwk_of("r", rsa_key),
        jwk_of("r5", rsa_key, alg="RS512"), jwk_of("enc", OTHER, use="enc"), jwk_of("ops", OTHER, key_ops=["sign"]),
        jwk_of("wrong", OTHER, alg="HS256"), jwk_of("curve", OTHER, alg="ES384"), jwk_of("small", small),
        {**ec_jwk, "kid": "off", "y": ec_jwk["x"]}, {**ec_jwk, "kid": "big", "crv": "P-384"},
        {"kty": "oct", "kid": "oct", "k": "AAAA"}, {"kty": "oct", "kid": "oct2", "k": "AAAA", "alg": "HS256"},
        {"kty": "OKP", "kid": "okp", "crv": "Ed25519", "x": "AAAA"}, {"kty": "RSA", "kid": "none"},
        jwk_of("even", rsa_key) | {"e": number(2)}, jwk_of("one", rsa_key) | {"e": number(1)},
        jwk_of("huge", rsa_key) | {"n": b64(b"\xff" * 5000)}, {**ec_jwk, "kid": 7}, 7, None, "x", [], {},
        {name: value for name, value in ec_jwk.items() if name != "kid"}, {**ec_jwk, "kid": "é", "x": "é"},
        jwk_of("sig", OTHER, use="sig", key_ops=["verify"], alg="ES256"), jwk_of("a", p384) | {"d": "AAAA"},
    ]  # fmt: skip
    document = json.dumps({"keys": published}).encode()
    taken = public_keys(document, issuers.ALGORITHMS)
    rsa_all = {("r", "RS256"), ("r", "RS384"), ("r", "RS512"), ("r5", "RS512")}
    assert set(taken) == {("a", "ES256"), ("a", "ES384"), ("b", "ES384"), ("c", "ES512"), ("sig", "ES256")} | rsa_all
    assert set(public_keys(document, ("ES256",))) == {("a", "ES256"), ("sig", "ES256")}
    many = json.dumps({"keys": [jwk_of(f"k{n}", OTHER) for n in range(jwks.MAX_KEYS + 50)]}).encode()
    assert len(public_keys(many, ("ES256",))) == jwks.MAX_KEYS


# Fetching ------------------------------------------------------------------------------------------------------------


def _redirect(request: BaseHTTPRequestHandler) -> None:
    """To where a good answer would be."""
    if request.path != "/keys":
        serving(lambda: b'{"keys":[]}')(request)
        return
    request.send_response(302)
    request.send_header("Location", "/elsewhere")
    request.end_headers()


def _endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" " * 65536)


def _dripping(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" ")
        request.wfile.flush()
        time.sleep(0.05)


def _packed(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.end_headers()
    request.wfile.write(b'{"keys":[]}')


def _missing(request: BaseHTTPRequestHandler) -> None:
    request.send_response(404)
    request.end_headers()


async def test_keys_are_fetched_over_https_within_bounds(
    idp: Idp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [serving(idp.document)]
    server = HttpsServer(tmp_path, lambda request: answers[0](request))
    issuer = configured(jwks_url=server.url, ca_file=str(server.ca_file))
    try:
        fetch = fetcher(issuer)
        assert json.loads(await fetch()) == {"keys": idp.published}
        for answer, said in ((_redirect, "302"), (_endless, "more than"), (_packed, "200"), (_missing, "404")):
            answers[0] = answer
            with pytest.raises(Unavailable, match=said):
                await fetch()
        monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.5)
        answers[0] = _dripping
        with pytest.raises(Unavailable, match="TimeoutError"):
            await fetch()
        answers[0] = serving(idp.document)
        with pytest.raises(Unavailable):  # a certificate of nobody that is trusted
            await fetcher(configured(jwks_url=server.url))()
        with pytest.raises(Unavailable):  # not the name that it is for
            await fetcher(
                configured(jwks_url=server.url.replace("127.0.0.1", "localhost"), ca_file=str(server.ca_file))
            )()
        assert json.loads(await fetch()) == {"keys": idp.published}
    finally:
        server.stop()
    with pytest.raises(Unavailable):
        await fetch()


# The setting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jwks_url": "http://login.example/keys"}, "https"), ({"jwks_url": "https://"}, "https"),
        ({"jwks_url": "file:///etc/passwd"}, "https"), ({"jwks_url": "https://a:b@login.example/"}, "https"),
        ({"jwks_url": "https://[x/"}, "https"), ({"issuer": "ocelot"}, "another"), ({"issuer": ""}, "another"),
        ({"algorithms": ["HS256"]}, "algorithms"), ({"algorithms": ["RS256", "none"]}, "algorithms"),
        ({"algorithms": []}, "algorithms"), ({"name": "Corp"}, "name"), ({"name": "key:x"}, "name"),
        ({"tenant": "acme0001"}, "both"), ({"tenant_claim": ...}, "both"), ({"tenants": {}}, "both"),
        ({"tenants": {"acme": "x"}}, "none"), ({"tenants": "all"}, "tenants"), ({"audience": ""}, "audience"),
        ({"roles": {"a": ["platform"]}}, "platform"), ({"roles": {"a": ["viewer"]}}, "viewer"),
        ({"roles": {"a": ["Bad Name"]}}, "Bad Name"), ({"roles": {}}, "some"), ({"roles": {"a": []}}, "some"),
        ({"roles": ...}, "roles"), ({"jku": "x"}, "jku"), ({"roles": {"a": "admin"}}, "roles"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_setting_is_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configured(**changes)


def test_the_setting_is_json_or_a_file_of_it(tmp_path: Path) -> None:
    text = json.dumps([PLAIN, PLAIN | {"name": "two", "issuer": "https://two.example"}])
    file = tmp_path / "issuers.json"
    file.write_text(text)
    assert issuers.load(text, "ocelot") == issuers.load(str(file), "ocelot")
    assert issuers.load(None, "ocelot") == issuers.load("", "ocelot") == issuers.load("[]", "ocelot") == ()
    for wrong in (str(tmp_path / "nothing"), str(tmp_path), "[{", json.dumps([PLAIN, PLAIN]), "{}"):
        with pytest.raises(ValueError, match=r".+"):
            issuers.load(wrong, "ocelot")
    assert open_issuers(None, "ocelot", "a") is None
    with pytest.raises(ValueError, match="ca_file"):
        open_issuers(json.dumps([PLAIN | {"ca_file": str(tmp_path / "none.pem")}]), "ocelot", "a")


def test_claims_are_found_by_name_or_way() -> None:
    claims = {"https://ocelot/roles": ["a"], "realm": {"roles": "a b"}, "org": "t" * 8}
    roles = {"a": ["reader"], "b": ["searcher"]}
    for path, found in (("https://ocelot/roles", {"reader"}), (["realm", "roles"], {"reader", "searcher"}),
                        ("realm", set()), (["org", "roles"], set()), ([], set())):  # fmt: skip
        assert issuers.roles_of(configured(roles_claim=path, roles=roles), claims) == found
    anywhere = configured(tenants="*")
    assert issuers.tenant_of(anywhere, claims) == "tttttttt"
    assert issuers.tenant_of(anywhere, {"org": "../x"}) is None
    assert issuers.tenant_of(configured(tenant="acme0001", tenant_claim=..., tenants=...), {}) == "acme0001"


# Through the authenticator -------------------------------------------------------------------------------------------


class Control:
    def __init__(self) -> None:
        sets = {"searcher": frozenset({Permission.VIEW})}
        self.tenants = {"acme0001": Tenant("acme0001", "Acme", b"s" * 32, 0, permission_sets=sets)}
        self.revoked: set[str] = set()

    async def snapshot(self) -> AccessSnapshot:
        return AccessSnapshot(dict(self.tenants), frozenset(self.revoked))


KEY = SigningKey(SigningKey.generate())


def asking(token: str) -> Request:
    return Request(
        {"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"authorization", f"Bearer {token}".encode())]}
    )


async def test_both_kinds_of_tokens_get_in_and_neither_passes_for_the_other(idp: Idp) -> None:
    source = Source(idp, roles={"ocelot-readers": ["searcher"]})
    control: Any = Control()
    snapshots = Snapshots(control)
    own = TokenIssuer(KEY, "ocelot", "ocelot-api")
    authenticator = Authenticator(TokenVerifier(KEY, "ocelot", "ocelot-api"), snapshots, external=source.tokens)
    made = own.issue(subject="key:k", tenant_id="acme0001", roles=[Role.READER], lifetime=60)
    for _ in range(2):
        access = await authenticator.tenant_access(asking(made), Permission.READ)
        assert access.scope.actor == "key:k"
        access = await authenticator.tenant_access(asking(idp.token(sub="key:k")), Permission.VIEW)
        assert access.scope.actor == "ext:corp:key:k"
        assert access.scope.permissions == {Permission.VIEW}
    assert idp.asked == 1
    with pytest.raises(Forbidden):
        await authenticator.tenant_access(asking(idp.token()), Permission.READ)
    # Signed by the one in the other's name, and with the other's name of a key.
    idp.keys[KEY.kid] = OTHER
    strays = [
        idp.token(iss="ocelot", tenant="acme0001", roles=["admin"]),
        idp.token({"kid": KEY.kid}, iss="ocelot", tenant="acme0001", roles=["admin"]),
        idp.token({"kid": KEY.kid}),
        TokenIssuer(KEY, ISSUER, "ocelot-api").issue(subject="x", tenant_id="acme0001", roles=[Role.ADMIN], lifetime=9),
    ]
    for stray in strays:
        with pytest.raises(Unauthenticated):
            await authenticator.tenant_access(asking(stray), Permission.VIEW)
    # What is revoked of the one is not of the other.
    control.revoked = {"key:k", "j"}
    await snapshots.refresh()
    await authenticator.tenant_access(asking(idp.token(sub="key:k")), Permission.VIEW)
    control.revoked = {"ext:corp:ana"}
    await snapshots.refresh()
    with pytest.raises(Unauthenticated):
        await authenticator.tenant_access(asking(idp.token()), Permission.VIEW)
    await authenticator.tenant_access(asking(made), Permission.READ)


def test_the_setting_has_no_member_that_is_not_told() -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")
    told = {field.name for field in msgspec.structs.fields(ExternalIssuer) if f"| `{field.name}` |" in page}
    assert told == {field.name for field in msgspec.structs.fields(ExternalIssuer)}
