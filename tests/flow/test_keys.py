"""API keys over HTTP: their whole life, what they may, from where, and how soon they end, in every process."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from cli.main import app
from core import credentials
from core.access import Role
from infra.local.servers import free_port
from tests.flow.exports import done_export, link_of
from tests.issuer import Idp, PublishedIdp
from tests.service import Client, Process, Service
from tests.streams import Follower

GRANT = {"grant_type": "client_credentials"}
SECONDS = 5.0
"""Within which a revocation holds everywhere."""


@pytest.fixture(scope="module")
def owner(running: Service) -> Client:
    return running.tenant("keys")


@pytest.fixture(scope="module")
def second(running: Service) -> Iterator[str]:
    """The URL of another API process on the same backends."""
    port = free_port()
    process = Process("api.main", {**running.environment, "PORT": str(port)}, port, "/api/v1/health")
    process.start()
    yield f"http://127.0.0.1:{port}"
    process.stop()


def make(owner: Client, *roles: str, **more: Any) -> dict[str, Any]:
    answer = owner.post("/keys", json={"name": "test", "roles": roles or ["writer"], **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def exchange(running: Service, made: dict[str, Any], headers: dict[str, str] | None = None, **form: str) -> Any:
    return httpx.post(
        f"{running.url}/api/v1/token",
        data={**GRANT, **form},
        auth=(made["client_id"], made["client_secret"]),
        headers=headers,
        timeout=30,
    )


def token_of(running: Service, made: dict[str, Any], **form: str) -> str:
    answer = exchange(running, made, **form)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def client_of(running: Service, made: dict[str, Any], url: str | None = None) -> Client:
    return Client(url or running.url, token_of(running, made))


def code_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    code: str = answer.json()["code"]
    return code


def ends(ask: Any, status: int, code: str) -> None:
    """`ask` is refused so within the promised time."""
    deadline = time.monotonic() + SECONDS
    while (answer := ask()).status_code < 400:
        assert time.monotonic() < deadline, "still let in"
        time.sleep(0.1)
    assert code_of(answer, status) == code


def refusal(answer: httpx.Response, status: int) -> str:
    """The `error` of an answer as RFC 6749 has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert re.fullmatch(r"[ !#-\[\]-~]+", body["error_description"])
    assert body["request_id"] == answer.headers["X-Request-Id"]
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    error: str = body["error"]
    return error


# The token endpoint --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api_key(owner: Client) -> dict[str, Any]:
    return make(owner, "writer")


def ask_token(running: Service, **request: Any) -> httpx.Response:
    return httpx.post(f"{running.url}/api/v1/token", timeout=30, **request)


def test_a_key_is_exchanged_by_form_json_and_basic(running: Service, api_key: dict[str, Any]) -> None:
    shown = {name: api_key[name] for name in ("client_id", "client_secret")}
    auth = (api_key["client_id"], api_key["client_secret"])
    for request in (
        {"data": GRANT | shown}, {"json": GRANT | shown}, {"data": GRANT, "auth": auth}, {"json": GRANT, "auth": auth},
        {"data": {**GRANT, "client_id": auth[0], "scope": ""}, "auth": auth},
    ):  # fmt: skip
        response = ask_token(running, **request)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 900, "writer")
        assert response.headers["Cache-Control"] == "no-store, no-transform"
        with Client(running.url, answer["access_token"]) as writer:
            writer.ingest({"action": "by.key"})
            assert code_of(writer.get("/logs"), 403) == "forbidden"


def test_a_wrong_secret_and_a_wrong_key_are_refused_alike(running: Service, api_key: dict[str, Any]) -> None:
    known, secret = api_key["client_id"], api_key["client_secret"]
    answers = []
    for key, tried in (
        (known, "wrong"), ("ock_" + "0" * 24, secret), (known, secret + "\0"), (known, secret[:-1]),
        ("x" * 5000, "\ud7ff"), ("$where", "1"), (known, "*"), (known.upper(), secret),
    ):  # fmt: skip
        response = ask_token(running, json=GRANT | {"client_id": key, "client_secret": tried})
        assert refusal(response, 401) == "invalid_client"
        answers.append({name: value for name, value in response.json().items() if name != "request_id"})
    assert all(answer == answers[0] for answer in answers)


FORM = "application/x-www-form-urlencoded"
TWICE = [("Authorization", "Basic YTpi")] * 2


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"data": {"grant_type": "password", "client_id": "a", "client_secret": "b"}}, 400, "unsupported_grant_type"),
        ({"data": {"client_id": "a", "client_secret": "b"}}, 400, "invalid_request"),
        ({"data": GRANT}, 401, "invalid_client"),
        ({"data": GRANT | {"client_id": "a", "client_secret": ""}}, 401, "invalid_client"),
        ({"data": GRANT, "headers": {"Authorization": "Basic !!!"}}, 401, "invalid_client"),
        ({"data": GRANT, "headers": {"Authorization": "Basic /w=="}}, 401, "invalid_client"),
        ({"data": GRANT, "headers": {"Authorization": "Basic YQ=="}}, 401, "invalid_client"),
        ({"data": GRANT, "headers": TWICE}, 401, "invalid_client"),
        ({"data": GRANT | {"client_id": "a", "client_secret": "b"}, "auth": ("a", "b")}, 400, "invalid_request"),
        ({"data": GRANT | {"client_id": "b"}, "auth": ("a", "b")}, 400, "invalid_request"),
        ({"content": b"grant_type=a&grant_type=a", "headers": {"Content-Type": FORM}}, 400, "invalid_request"),
        ({"data": {f"f{n}": "x" for n in range(17)}}, 400, "invalid_request"),
        ({"content": b"%ff%00=%", "headers": {"Content-Type": FORM}}, 400, "invalid_request"),
        ({"content": b"\xff", "headers": {"Content-Type": FORM}}, 400, "invalid_request"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "invalid_request"),
        ({"content": b"[" * 10_000, "headers": {"Content-Type": "application/json"}}, 400, "invalid_request"),
        ({"json": {"grant_type": ["client_credentials"]}}, 400, "invalid_request"),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "invalid_request"),
        ({"content": b"x" * 100_000, "headers": {"Content-Type": "application/json"}}, 413, "invalid_request"),
        ({}, 415, "invalid_request"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_bad_request_for_a_token_is_told_as_the_standard_has_it(
    running: Service, request_: dict[str, Any], status: int, error: str
) -> None:
    assert refusal(ask_token(running, **request_), status) == error


def test_a_scope_asks_for_less(running: Service, owner: Client) -> None:
    made = make(owner, "writer", "reader")
    assert exchange(running, made).json()["scope"] == "reader writer"
    answer = exchange(running, made, scope="reader").json()
    assert answer["scope"] == "reader"
    with Client(running.url, answer["access_token"]) as reader:
        assert reader.get("/logs").status_code == 200
        assert code_of(reader.post("/logs", json={"action": "x"}), 403) == "forbidden"
    for scope in ("admin", "reader admin", " ", "platform"):
        assert refusal(exchange(running, made, scope=scope), 400) == "invalid_scope"


# A key's life --------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_whole_but_for_its_secret_which_is_shown_once(running: Service, owner: Client) -> None:
    made = make(owner, "writer", name="checkout", networks=["127.0.0.1", "2001:db8::/32"], expires_in=3600)
    secret = made.pop("client_secret")
    assert credentials.is_secret(secret)
    assert made["networks"] == ["127.0.0.1/32", "2001:db8::/32"]
    assert (made["name"], made["roles"], made["created_by"]) == ("checkout", ["writer"], "test")
    assert made["expires_at"] > made["created_at"] > "2026"
    path = f"/keys/{made['client_id']}"
    assert owner.get(path).json() == made
    assert made["used_at"] is None
    token_of(running, made | {"client_secret": secret})
    used = owner.get(path).json()
    assert used["used_at"] >= made["created_at"]
    listed = owner.get("/keys", params={"limit": 1}).json()
    assert (listed["data"], listed["next_cursor"]) == ([used], made["client_id"])
    assert made["client_id"] not in owner.get("/keys", params={"cursor": made["client_id"]}).text
    assert secret not in owner.get("/keys").text + owner.get(path).text
    changed = owner.patch(path, json={"name": "other"}).json()
    assert changed == used | {"name": "other"}
    assert owner.delete(path).status_code == 204
    gone = owner.get(path).json()
    assert gone["revoked_at"] is not None
    assert owner.delete(path).status_code == 204
    assert owner.get(path).json() == gone
    assert code_of(owner.patch(path, json={"name": "x"}), 409) == "key_revoked"
    assert code_of(owner.post(f"{path}/rotate", json={}), 409) == "key_revoked"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"name": "x"}, {"name": "", "roles": ["writer"]}, {"name": "x", "roles": []},
        {"name": "x", "roles": ["platform"]}, {"name": "x", "roles": ["viewer"]}, {"name": "x", "roles": ["root"]},
        {"name": "x", "roles": "writer"}, {"name": "x" * 201, "roles": ["writer"]},
        {"name": "x", "roles": ["writer"], "tenant": "y"}, {"name": "x", "roles": ["writer"] * 17},
        *({"name": "x", "roles": ["writer"], "networks": [net]} for net in (
            "10.0.0.1/8", "10.0.0.0/33", "nowhere", "", "10.0.0.0-10.0.0.9", "::1%eth0", "1" * 100, "10.1")),
        {"name": "x", "roles": ["writer"], "networks": "10.0.0.0/8"},
        {"name": "x", "roles": ["writer"], "networks": ["10.0.0.0/8"] * 65},
        {"name": "x", "roles": ["writer"], "expires_in": 59}, {"name": "x", "roles": ["writer"], "expires_in": 10**12},
    ],
    ids=lambda body: str(body)[:70],
)  # fmt: skip
def test_a_bad_wish_for_a_key_is_a_problem(owner: Client, body: dict[str, Any]) -> None:
    assert code_of(owner.post("/keys", json=body), 422) == "invalid_request"


def test_bad_words_to_a_key_and_its_list_are_problems(owner: Client) -> None:
    made = make(owner)
    path = f"/keys/{made['client_id']}"
    for body in ({"overlap": -1}, {"overlap": 30 * 86_400 + 1}, {"overlap": "1d"}, {"other": 1}):
        assert code_of(owner.post(f"{path}/rotate", json=body), 422) == "invalid_request"
    for body in ({"roles": ["admin"]}, {"networks": ["x"]}, {"name": ""}, {"revoked_at": None}):
        assert code_of(owner.patch(path, json=body), 422) == "invalid_request"
    for name in ("nothing", "ock_" + "0" * 24, "ock_%00", "..%2fkeys", "ock_" + "0" * 5000):
        assert owner.get(f"/keys/{name}").status_code in (404, 405)
        assert code_of(owner.delete(f"/keys/{name}"), 404) == "not_found"
    for asked in ({"limit": "0"}, {"limit": "x"}, {"cursor": "x"}, {"tenant_id": "x"}, {"cursor": ["a", "b"]}):
        assert owner.get("/keys", params=asked).status_code == 400


def test_a_rotated_keys_old_secret_works_for_the_overlap(running: Service, owner: Client) -> None:
    first = make(owner, "reader")
    path = f"/keys/{first['client_id']}"
    second = owner.post(f"{path}/rotate", json={"overlap": 600}).json()
    assert second["client_secret"] != first["client_secret"]
    assert [each["expires_at"] is None for each in second["secrets"]] == [False, True]
    old, new = client_of(running, first), client_of(running, second)
    third = owner.post(f"{path}/rotate", json={"overlap": 0}).json()
    assert [each["number"] for each in third["secrets"]] == [3]
    for ended in (first, second):
        assert refusal(exchange(running, ended), 401) == "invalid_client"
    with old, new, client_of(running, third) as kept:
        for each in (old, new):
            ends(lambda each=each: each.get("/logs"), 401, "token_revoked")
        assert kept.get("/logs").status_code == 200


def test_revoking_a_key_ends_all_that_was_issued_for_it_in_every_process(
    running: Service, owner: Client, second: str
) -> None:
    made = make(owner, "admin")
    with client_of(running, made) as here, client_of(running, made, second) as there:
        assert here.tenant is None
        assert owner.tenant is not None
        issued = here.post(f"/tenants/{owner.tenant.id}/tokens", json={"roles": ["reader"], "expires_in": 86_400})
        link = here.post("/viewer-links", json={"filter": {"field": "user_id", "exists": True}})
        others = [Client(url, each) for url in (running.url, second)
                  for each in (issued.json()["access_token"], link.json()["token"])]  # fmt: skip
        file = running.url + urlsplit(link_of(done_export(here))).path
        assert httpx.get(file).status_code == 200
        # In every process's cache:
        for client in (here, there, *others):
            assert client.get("/logs").status_code == 200
        with Follower(here) as near, Follower(there) as far:
            for follower in (near, far):
                follower.started()
            began = time.monotonic()
            assert owner.delete(f"/keys/{made['client_id']}").status_code == 204
            assert here.get("/logs").status_code == 401, "the process that was asked knows at once"
            for client in (there, *others):
                ends(lambda client=client: client.get("/logs"), 401, "token_revoked")
            ends(lambda: httpx.get(file), 401, "token_revoked")
            for follower in (near, far):
                assert follower.end()["reason"] == "token_revoked"
            assert time.monotonic() - began < SECONDS + 1
        assert refusal(exchange(running, made), 401) == "invalid_client"
        for client in others:
            client.close()


# Networks ------------------------------------------------------------------------------------------------------------


def test_a_key_is_good_in_its_networks_alone(running: Service, owner: Client) -> None:
    made = make(owner, "reader", networks=["127.0.0.1"])
    path = f"/keys/{made['client_id']}"
    with client_of(running, made) as client, Follower(client) as follower:
        follower.started()
        assert client.get("/logs").status_code == 200
        assert owner.patch(path, json={"networks": ["203.0.113.0/24", "2001:db8::/32"]}).status_code == 200
        ends(lambda: client.get("/logs"), 403, "address_not_allowed")
        # Nobody is believed that no setting names.
        for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP"):
            value = "for=203.0.113.7" if header == "Forwarded" else "203.0.113.7"
            assert code_of(client.get("/logs", headers={header: value}), 403) == "address_not_allowed"
            assert refusal(exchange(running, made, {header: value}), 403) == "unauthorized_client"
        assert follower.end()["reason"] == "address_not_allowed"
        assert owner.patch(path, json={"networks": []}).json()["networks"] == []
        assert client.get("/logs").status_code == 200


# Permission sets -----------------------------------------------------------------------------------------------------


def put_set(owner: Client, name: str, *permissions: str) -> httpx.Response:
    return owner.put(f"/permission-sets/{name}", json={"permissions": permissions})


def test_a_key_may_what_its_permission_sets_say_and_no_more(running: Service, owner: Client) -> None:
    assert put_set(owner, "searcher", "logs:view").json() == {"name": "searcher", "permissions": ["logs:view"]}
    assert put_set(owner, "reads-all", "logs:read").json()["permissions"] == ["logs:read", "logs:view"]
    made = make(owner, "searcher", "writer")
    answer = exchange(running, made, scope="searcher")
    with Client(running.url, answer.json()["access_token"]) as client:
        assert client.get("/logs").status_code == 200
        for refused in (client.get("/searches"), client.post("/logs", json={"action": "x"}), client.get("/keys")):
            assert code_of(refused, 403) == "forbidden"
        assert put_set(owner, "searcher", "catalogue:read").status_code == 200
        ends(lambda: client.get("/logs"), 403, "forbidden")
        assert client.get("/catalogue").status_code == 200
    in_use = owner.delete("/permission-sets/searcher")
    assert code_of(in_use, 409) == "set_in_use"
    assert made["client_id"] in in_use.json()["detail"]
    assert owner.delete(f"/keys/{made['client_id']}").status_code == 204
    assert owner.delete("/permission-sets/searcher").status_code == 204
    assert code_of(owner.delete("/permission-sets/searcher"), 404) == "not_found"
    assert [each["name"] for each in owner.get("/permission-sets").json()["data"]] == ["reads-all"]


def test_a_bad_permission_set_is_a_problem(owner: Client) -> None:
    for name in ("admin", "platform", "viewer", "Upper", "1st", "a.b", "$set", "x" * 33, "a%00", "a%20b"):
        assert code_of(put_set(owner, name, "logs:view"), 422) == "invalid_request"
    for permissions in ([], ["platform:manage"], ["logs:everything"], "logs:view", [["logs:view"]]):
        answer = owner.put("/permission-sets/fine", json={"permissions": permissions})
        assert code_of(answer, 422) == "invalid_request"


def test_nobody_gives_more_than_it_has(running: Service, owner: Client) -> None:
    """A manager of keys, who may nothing else, makes itself nothing more by any way there is."""
    assert owner.tenant is not None
    assert put_set(owner, "manager", "tenant:manage").status_code == 200
    strong = make(owner, "admin")
    assert put_set(owner, "strong", "logs:read", "tenant:manage").status_code == 200
    with client_of(running, make(owner, "manager")) as manager:
        made = make(manager, "manager")
        assert made["created_by"].startswith("key:ock_")
        tokens = f"/tenants/{owner.tenant.id}/tokens"
        for refused in (
            manager.post("/keys", json={"name": "x", "roles": ["reader"]}),
            manager.post("/keys", json={"name": "x", "roles": ["manager", "strong"]}),
            manager.post(tokens, json={"roles": ["admin"]}),
            manager.post(f"/keys/{strong['client_id']}/rotate", json={}),
            manager.patch(f"/keys/{strong['client_id']}", json={"networks": []}),
            put_set(manager, "manager", "tenant:manage", "logs:read"),
            put_set(manager, "new", "logs:view"),
            put_set(manager, "strong", "tenant:manage"),
        ):
            assert code_of(refused, 403) == "beyond_own"
        assert manager.post(tokens, json={"roles": ["manager"]}).status_code == 201
        assert code_of(manager.post(tokens, json={"roles": ["nothing"]}), 422) == "invalid_request"
        assert manager.post(f"/keys/{made['client_id']}/rotate", json={}).status_code == 200
        assert code_of(manager.get("/logs"), 403) == "forbidden"
    with running.client(owner.tenant, Role.ADMIN) as admin:
        assert admin.get(f"/keys/{strong['client_id']}").json()["secrets"] == strong["secrets"]


# Other issuers -------------------------------------------------------------------------------------------------------


def test_an_issuer_that_is_set_up_lets_its_people_in_and_nobody_else_does(
    running: Service, owner: Client, idp: PublishedIdp
) -> None:
    assert owner.tenant is not None
    org = {"id": owner.tenant.id}
    assert put_set(owner, "searches", "logs:view").status_code == 200

    def status(token: str, method: str = "GET", path: str = "/logs", **more: Any) -> tuple[int, str]:
        with Client(running.url, token) as client:
            answer = client.request(method, path, **more)
        return answer.status_code, answer.json().get("code", "")

    reader, admin = idp.token(org=org), idp.token(org=org, groups=["ocelot-admins"], sub="eve")
    searcher = idp.token({"alg": "RS256", "kid": "rsa"}, org=org, groups=["ocelot-searchers"])
    assert [status(token) for token in (reader, admin, searcher)] == [(200, "")] * 3
    assert status(searcher, path="/searches") == (403, "forbidden")
    assert status(reader, "POST", json={"action": "x"}) == (403, "forbidden")
    with Client(running.url, admin) as client:
        assert make(client, "writer")["created_by"] == "ext:corp:eve"
        issued = client.post(f"/tenants/{owner.tenant.id}/tokens", json={"roles": ["reader"], "expires_in": 86_400})
        assert issued.json()["expires_in"] <= 600, "it ends with the one that made it"
        assert status(issued.json()["access_token"]) == (200, "")
    stranger = Idp()
    for token in (
        stranger.token(org=org, groups=["ocelot-admins"]),
        idp.token(iss="https://evil.example", org=org),
        idp.token(iss="ocelot", tenant=owner.tenant.id, roles=["admin"]),
        idp.token({"jku": "https://evil.example", "kid": "x"}, key=stranger.keys["ec"], org=org),
        idp.hmac(idp.public("rsa", serialization.Encoding.PEM), {"alg": "HS256", "kid": "rsa"}, org=org),
        idp.token(org=org, aud="another"),
        idp.token(org=org, groups=["platform"]),
        idp.token(org={"id": "../../x"}),
    ):
        assert status(token) == (401, "invalid_token")
    assert status(idp.token(org=org, exp=int(time.time()) - 60)) == (401, "token_expired")
    assert status(idp.token(org={"id": "z" * 16})) == (401, "tenant_gone")
    assert idp.asked <= 6, "whatever tokens come, the issuer is asked now and then"


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_makes_lists_rotates_and_revokes(running: Service, owner: Client) -> None:
    assert owner.tenant is not None
    tenant = ["--tenant", owner.tenant.id]

    def ocelot(*arguments: str, fails: str = "") -> str:
        ran = CliRunner().invoke(app, arguments, env=running.environment)
        assert (ran.exit_code, fails in ran.stderr) == (1 if fails else 0, True), ran.output
        return str(ran.stdout)

    words = ["key", "create", "cron", *tenant, "-r", "reader", "-n", "127.0.0.0/8", "--expires", "1h", "--json"]
    made = json.loads(ocelot(*words))
    assert credentials.is_secret(made["client_secret"])
    with client_of(running, made) as client:
        listed = [json.loads(line) for line in ocelot("key", "list", *tenant, "--json").splitlines()]
        (found,) = [key for key in listed if key["client_id"] == made["client_id"]]
        assert (found["roles"], found["networks"], found["created_by"]) == (["reader"], ["127.0.0.0/8"], "operator")
        assert made["client_secret"] not in str(listed)
        assert client.get("/logs").status_code == 200
        rotated = ocelot("key", "rotate", made["client_id"], *tenant, "--overlap", "0")
        secret = re.findall(r"ocs_[0-9A-Za-z]{49}", rotated)[0]
        ends(lambda: client.get("/logs"), 401, "token_revoked")
    with client_of(running, made | {"client_secret": secret}) as client:
        assert "is revoked" in ocelot("key", "revoke", made["client_id"], *tenant)
        ends(lambda: client.get("/logs"), 401, "token_revoked")
    for action, resource in (("create", None), ("rotate", made["client_id"]), ("revoke", made["client_id"])):
        [event] = owner.found(1, action=f"ocelot.key.{action}", user_id="operator:*")["data"]
        assert (event.get("resource_id"), event["metadata"]["call"]) == (resource, f"ocelot key {action}")
        assert made["client_secret"] not in str(event)
    ocelot("key", "revoke", "ock_" + "0" * 24, *tenant, fails="no such key")
    ocelot("key", "create", "x", *tenant, "-r", "root", fails="no such role")
    ocelot("key", "create", "x", *tenant, "-n", "10.0.0.1/8", fails="beyond its mask")
