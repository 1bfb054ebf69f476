"""Who gets in: every way a token can be wrong, what each role may do, and how tokens are got and lost."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.tokens import SigningKey
from core import instant
from core.access import Role
from core.keys import signing_key_pem
from tests.attacks.forged import BAD, NO_TENANT, Forge, family_of
from tests.figures import tally
from tests.service import Client, Service


@pytest.fixture(scope="module")
def owner(running: Service) -> Client:
    return running.tenant()


@pytest.fixture(scope="module")
def forge(running: Service, owner: Client) -> Forge:
    assert owner.tenant is not None
    return Forge(signing_key_pem(running.settings, SigningKey.generate), owner.tenant.id)


def get(running: Service, *headers: tuple[str, str]) -> httpx.Response:
    with httpx.Client(timeout=30) as client:
        return client.get(f"{running.url}/api/v1/logs", headers=list(headers))


def refused(response: httpx.Response, status: int = 401) -> str:
    """The code of a problem that says nothing of the inside."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["request_id"] == response.headers["X-Request-Id"]
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Traceback" not in response.text
    code: str = body["code"]
    return code


def test_the_forge_makes_good_tokens(running: Service, forge: Forge) -> None:
    for token in (
        forge.token(),
        forge.token(aud=["x", "ocelot-api"]),
        forge.token(extra={"a": 1}),
        forge.token(jti=...),
    ):
        assert get(running, ("Authorization", f"Bearer {token}")).status_code == 200
    assert get(running, ("Authorization", f"bearer  {forge.token()}")).status_code == 200


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_token_is_refused(request: pytest.FixtureRequest, running: Service, forge: Forge, kind: str) -> None:
    code = refused(get(running, ("Authorization", f"Bearer {BAD[kind](forge)}")))
    expected = dict.fromkeys(("expired", "exp long ago", "exp twice, the last one past"), "token_expired")
    if kind.startswith("tenant"):
        assert code in ("invalid_token", "tenant_gone")
    else:
        assert code == expected.get(kind, "invalid_token")
    tally(request, "tokens", family_of(kind), tried=1, refused=1, let_in=0)


@pytest.mark.parametrize("kind", ["none", "two", "two alike", "Basic", "no kind", "kind alone", "other kind", "bytes"])
def test_a_header_that_is_no_bearer_token_is_refused(running: Service, forge: Forge, kind: str) -> None:
    good = f"Bearer {forge.token()}"
    headers: list[tuple[str, Any]] = {
        "none": [],
        "two": [("Authorization", good), ("Authorization", "Bearer x")],
        "two alike": [("Authorization", good), ("Authorization", good)],
        "Basic": [("Authorization", "Basic " + base64.b64encode(b"a:b").decode())],
        "no kind": [("Authorization", forge.token())],
        "kind alone": [("Authorization", "Bearer")],
        "other kind": [("Authorization", f"Token {forge.token()}")],
        "bytes": [("Authorization", b"Bearer \xff\xfe.\xff.\xff")],
    }[kind]
    refused(get(running, *headers))


def test_a_token_counts_in_the_header_alone(running: Service, forge: Forge) -> None:
    token = forge.token()
    with httpx.Client() as client:
        for parameters, headers in (
            ({"access_token": token}, {}), ({"token": token}, {}), ({}, {"Cookie": f"token={token}"}),
            ({}, {"X-Authorization": f"Bearer {token}"}),
        ):  # fmt: skip
            refused(client.get(f"{running.url}/api/v1/logs", params=parameters, headers=headers))


def test_no_header_parameter_or_field_names_another_tenant(running: Service, owner: Client, tenant: Client) -> None:
    """`tenant`'s event stays its own, whatever `owner` says."""
    assert owner.tenant is not None
    assert tenant.tenant is not None
    event_id = tenant.ingest({"action": "secret.plan"})
    tenant.found(1)
    name = tenant.tenant.id
    for header in ("X-Tenant-Id", "X-Tenant", "Tenant", "X-Forwarded-Tenant"):
        answer = owner.get("/logs", headers={header: name}, params={"action": "secret.plan"})
        assert answer.json()["data"] == []
        assert owner.get(f"/logs/{event_id}", headers={header: name}).status_code == 404
    for parameter in ("tenant", "tenant_id"):
        assert owner.get("/logs", params={parameter: name}).status_code == 400
        assert owner.get(f"/logs/{event_id}", params={parameter: name}).status_code == 404
    sent = owner.post("/logs", json={"action": "x", "tenant_id": name})
    assert sent.status_code == 422
    assert sent.json()["errors"][0]["loc"] == ["tenant_id"]


# Roles ---------------------------------------------------------------------------------------------------------------

ROUTES: dict[str, Callable[[Client, str], httpx.Response]] = {
    "send": lambda c, t: c.post("/logs", json={"action": "x"}),
    "bulk": lambda c, t: c.post("/logs/bulk", json=[{"action": "x"}]),
    "search": lambda c, t: c.get("/logs"),
    "read": lambda c, t: c.get("/logs/01a1fdf2-d2cc-7e1f-94f5-0939230d076e"),
    "make tenant": lambda c, t: c.post("/tenants", json={"name": "made by a role"}),
    "issue token": lambda c, t: c.post(f"/tenants/{t}/tokens", json={"roles": ["reader"]}),
    "issue foreign token": lambda c, t: c.post(f"/tenants/{NO_TENANT}/tokens", json={"roles": ["reader"]}),
}
ALLOWED: dict[Role | None, dict[str, int]] = {
    Role.ADMIN: {"send": 202, "bulk": 202, "search": 200, "read": 404, "issue token": 201, "issue foreign token": 404},
    Role.WRITER: {"send": 202, "bulk": 202, "issue foreign token": 404},
    Role.READER: {"search": 200, "read": 404, "issue foreign token": 404},
    Role.PLATFORM: {"make tenant": 201, "issue token": 201, "issue foreign token": 404},
}


# A viewer's token comes from a link alone: tests/isolation/test_viewers.py.
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.VIEWER])
def test_each_role_may_do_its_own_and_no_more(running: Service, owner: Client, role: Role) -> None:
    assert owner.tenant is not None
    with running.client(None if role is Role.PLATFORM else owner.tenant, role) as client:
        for name, ask in ROUTES.items():
            response = ask(client, owner.tenant.id)
            assert response.status_code == ALLOWED[role].get(name, 403), (name, response.text)
            if response.status_code == 403:
                assert refused(response, 403) == "forbidden"


def test_nobody_gets_in_without_a_token(running: Service, owner: Client) -> None:
    assert owner.tenant is not None
    with Client(running.url, None) as client:
        for ask in ROUTES.values():
            refused(ask(client, owner.tenant.id))


def test_a_foreign_tenant_is_not_told_from_one_that_is_not(owner: Client, tenant: Client) -> None:
    assert tenant.tenant is not None
    answers = [
        owner.post(f"/tenants/{name}/tokens", json={"roles": ["reader"]}) for name in (tenant.tenant.id, NO_TENANT)
    ]
    assert [a.status_code for a in answers] == [404, 404]
    told = [{k: v for k, v in a.json().items() if k != "request_id"} for a in answers]
    assert told[0] == told[1]


def test_an_issued_token_has_the_roles_asked_and_no_more(running: Service, owner: Client) -> None:
    assert owner.tenant is not None
    made = owner.post(f"/tenants/{owner.tenant.id}/tokens", json={"roles": ["reader"], "expires_in": 60})
    assert made.status_code == 201
    assert made.json()["token_type"] == "Bearer"
    assert made.json()["expires_in"] == 60
    with Client(running.url, made.json()["access_token"]) as reader:
        assert reader.get("/logs").status_code == 200
        refused(reader.post("/logs", json={"action": "x"}), 403)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"{}", b'{"roles":[]}', b'{"roles":["platform"]}', b'{"roles":["root"]}',
        b'{"roles":"admin"}',
        b'{"roles":["admin"],"expires_in":0}', b'{"roles":["admin"],"expires_in":86401}',
        b'{"roles":["admin"],"expires_in":"x"}', b'{"roles":["admin"],"tenant":"x"}',
        b'{"roles":["admin"],"\\ud800":1}',
        b"\xff", b"[" * 10_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)  # fmt: skip
def test_a_bad_wish_for_a_token_is_a_problem(owner: Client, body: bytes) -> None:
    assert owner.tenant is not None
    for kind in ("application/json", "text/plain"):
        response = owner.post(f"/tenants/{owner.tenant.id}/tokens", content=body, headers={"Content-Type": kind})
        assert response.status_code in (400, 415, 422), response.text
        refused(response, response.status_code)


def test_the_token_is_asked_for_before_the_body_is_read(running: Service, owner: Client) -> None:
    assert owner.tenant is not None
    with Client(running.url, None) as client:
        for path in ("/tenants", f"/tenants/{owner.tenant.id}/tokens", "/logs", "/logs/bulk"):
            refused(client.post(path, content=b"{", headers={"Content-Type": "application/json"}))


def test_no_route_reads_a_body_without_bound(running: Service, owner: Client) -> None:
    assert owner.tenant is not None
    with running.client(None, Role.PLATFORM) as platform:
        for path in ("/tenants", f"/tenants/{owner.tenant.id}/tokens"):
            response = platform.post(
                path, content=b'{"name":"' + b"x" * 200_000 + b'"}', headers={"Content-Type": "application/json"}
            )
            assert refused(response, 413) == "body_too_large"


# Revocation ---------------------------------------------------------------------------------------------------------


def test_a_lone_token_is_revoked_by_its_id(running: Service, forge: Forge) -> None:
    token = forge.token(jti="to-be-revoked", sub="someone")

    async def revoke(backends: Any) -> None:
        await backends.control.revoke("to-be-revoked", instant.now_us())

    assert get(running, ("Authorization", f"Bearer {token}")).status_code == 200
    running.with_backends(revoke)
    deadline = time.monotonic() + 5
    while (response := get(running, ("Authorization", f"Bearer {token}"))).status_code == 200:
        assert time.monotonic() < deadline, "still let in"
        time.sleep(0.1)
    assert refused(response) == "token_revoked"
    assert get(running, ("Authorization", f"Bearer {forge.token(sub='someone')}")).status_code == 200


def test_a_token_that_expires_while_it_is_known_stops(running: Service, forge: Forge) -> None:
    token = forge.token(exp=int(time.time()) + 2)
    assert get(running, ("Authorization", f"Bearer {token}")).status_code == 200
    deadline = time.monotonic() + 10
    while (response := get(running, ("Authorization", f"Bearer {token}"))).status_code == 200:
        assert time.monotonic() < deadline, "still let in"
        time.sleep(0.2)
    assert refused(response) == "token_expired"
