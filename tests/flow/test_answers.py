"""The forms of an answer: some fields alone, one that the client has already, and what an event changed."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

import httpx
import jsonpatch
import pytest
import zstandard

from api.packing import MIN_BYTES
from core.access import Role
from core.changes import changed_paths
from tests.flow.test_search import settled
from tests.service import Client, Service

ODD = (
    '{"action":"odd","metadata":{"n":123456789012345678901234567890,"e":1e400,"f":1.10,"user":{"name":"ana"}},'
    '"before_state":{"role":"viewer","n":1e400,"groups":["a"],"gone":null},'
    '"after_state":{"role":"editor","n":1e401,"groups":["a","%s"],"new/~":123456789012345678901234567890}}'
) % ("b" * 50)
PATHS = ["/role", "/n", "/groups", "/gone", "/new~1~0"]


class Kept:
    """A tenant with three events."""

    def __init__(self, client: Client) -> None:
        self.client = client
        headers = {"Content-Type": "application/json"}
        self.odd = client.post("/logs", content=ODD, headers=headers).json()["id"]
        self.made = client.ingest({"action": "made", "after_state": {"a": 1}})
        self.plain = client.ingest({"action": "plain"})
        settled(client, 3)


@pytest.fixture(scope="module")
def kept(running: Service) -> Kept:
    return Kept(running.tenant())


# Some fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("action", '{"action":"odd"}'),
        ("metadata.user.name,action", '{"action":"odd","metadata":{"user":{"name":"ana"}}}'),
        ("metadata.n,metadata.e", '{"metadata":{"n":123456789012345678901234567890,"e":1e400}}'),
        ("after_state.n,metadata.f", '{"after_state":{"n":1e401},"metadata":{"f":1.10}}'),
        ("outcome,metadata.nothing", "{}"),
    ],
)
def test_the_named_fields_alone_in_their_own_tokens(kept: Kept, fields: str, expected: str) -> None:
    members = json.loads(expected)
    one = kept.client.get(f"/logs/{kept.odd}", params={"fields": fields})
    page = kept.client.get("/logs", params={"fields": fields, "action": "odd"})
    assert one.headers["Content-Type"] == page.headers["Content-Type"] == "application/json"
    assert (json.loads(one.text), len(one.text)) == (members, len(expected))
    assert page.text.startswith('{"data":[' + one.text + '],"next_cursor":null,"total":1,')


def test_fields_belong_to_the_page_and_not_to_the_query(kept: Kept) -> None:
    first = kept.client.get("/logs", params={"limit": 2, "fields": "id"}).json()
    assert [list(event) for event in first["data"]] == [["id"]] * 2
    rest = kept.client.get("/logs", params={"limit": 2, "fields": "action", "cursor": first["next_cursor"]}).json()
    assert rest["data"] == [{"action": "odd"}]


@pytest.mark.parametrize("fields", ["colour", "", "id,", "metadata.", "action.x", "id,hash"])
def test_an_unknown_field_is_refused(kept: Kept, fields: str) -> None:
    for path in ("/logs", f"/logs/{kept.odd}"):
        answer = kept.client.get(path, params={"fields": fields})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")
        fault = answer.json()["errors"][0]
        assert (fault["loc"], fault["type"]) == (["query", "fields"], "unknown_field")


# What the client has already -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "?fields=id,action", "/changes"])
def test_what_a_client_has_is_not_sent_again(kept: Kept, path: str) -> None:
    url = f"/logs/{kept.odd}{path}"
    answer = kept.client.get(url)
    etag = answer.headers["ETag"]
    assert etag == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    for known in (etag, f"W/{etag}", "*", f'"other", {etag}', f'W/"other",W/{etag}'):
        again = kept.client.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b""), known
        assert again.headers["ETag"] == etag
        for name in ("Cache-Control", "Vary"):
            assert again.headers.get(name) == answer.headers.get(name)
        assert "Content-Type" not in again.headers
    for other in ('"other"', etag.strip('"'), etag[:-2] + '"', ""):
        assert kept.client.get(url, headers={"If-None-Match": other}).content == answer.content


def test_each_form_of_an_event_has_a_tag_of_its_own(kept: Kept) -> None:
    paths = ("", "?fields=id", "?fields=action", "/changes")
    tags = {kept.client.get(f"/logs/{kept.odd}{path}").headers["ETag"] for path in paths}
    assert len(tags) == len(paths)


def test_no_other_answer_is_to_be_kept(kept: Kept) -> None:
    for answer in (kept.client.get("/logs"), kept.client.get("/logs/no"), kept.client.get("/logs", params={"x": "y"})):
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers


# Packed answers ------------------------------------------------------------------------------------------------------


def raw(client: Client, url: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it came."""
    with client.stream(
        "GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()}
    ) as answer:
        return answer, b"".join(answer.iter_raw())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_page_comes_packed_to_who_asks(running: Service, encoding: str) -> None:
    client = running.tenant()
    pad = "é and so on " * 20
    client.post("/logs/bulk", json=[{"action": "long", "message": pad, "metadata": {"n": n}} for n in range(200)])
    settled(client, 200)
    plain, body = raw(client, "/logs?limit=200&sort=timestamp", Accept_Encoding="identity")
    answer, packed = raw(client, "/logs?limit=200&sort=timestamp", Accept_Encoding=f"{encoding}, *;q=0")
    assert (plain.headers.get("Content-Encoding"), answer.headers["Content-Encoding"]) == (None, encoding)
    assert plain.headers["Vary"] == answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Content-Length"]) == len(packed) < len(body) / 5
    unpack = gzip.decompress if encoding == "gzip" else zstandard.ZstdDecompressor().decompress
    assert json.loads(unpack(packed))["data"] == json.loads(body)["data"]


def test_a_packed_event_is_known_again_in_either_form(tenant: Client) -> None:
    event_id = tenant.ingest({"action": "long", "message": "on and on " * 500})
    url = f"/logs/{event_id}"
    plain, body = raw(tenant, f"{url}?wait=20", Accept_Encoding="identity")
    answer, packed = raw(tenant, url, Accept_Encoding="gzip")
    strong = f'"{hashlib.sha256(body).hexdigest()}"'
    assert (plain.headers["ETag"], answer.headers["ETag"]) == (strong, "W/" + strong)
    assert gzip.decompress(packed) == body
    for known in (strong, "W/" + strong):
        for accepted in ("gzip", "zstd", "identity"):
            again, nothing = raw(tenant, url, Accept_Encoding=accepted, If_None_Match=known)
            assert (again.status_code, nothing) == (304, b"")
            # That of the 200 which the same request would have brought without If-None-Match (RFC 9110, 15.4.5).
            assert again.headers["ETag"] == (strong if accepted == "identity" else "W/" + strong)
            assert again.headers["Vary"] == "Accept-Encoding"


def test_what_carries_a_credential_is_never_packed(running: Service) -> None:
    headers = {"Accept-Encoding": "gzip, zstd"}
    platform = running.client(None, Role.PLATFORM)
    made = platform.post("/tenants", json={"name": "\x01" * 200}, headers=headers)
    key = made.json()["key"]
    form = {"grant_type": "client_credentials", "client_id": key["client_id"], "client_secret": key["client_secret"]}
    token = platform.post("/token", data=form, headers=headers)
    issued = platform.post(f"/tenants/{made.json()['tenant_id']}/tokens", json={"roles": ["reader"]}, headers=headers)
    assert [answer.status_code for answer in (made, token, issued)] == [201, 200, 201]
    assert len(made.content) > MIN_BYTES
    for answer in (made, token, issued):
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store, no-transform"


def test_the_pages_and_the_description_are_packed_too(running: Service) -> None:
    for path, kind in (("/openapi.json", "json"), ("/docs/assets/swagger-ui-bundle.js", "javascript")):
        answer = httpx.get(f"{running.url}/api/v1{path}", headers={"Accept-Encoding": "gzip"}, timeout=30)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert kind in answer.headers["Content-Type"]
        plain = httpx.get(f"{running.url}/api/v1{path}", headers={"Accept-Encoding": "identity"}, timeout=30)
        assert answer.content == plain.content


# What an event changed -----------------------------------------------------------------------------------------------


def test_the_patch_makes_the_state_after_and_its_paths_find_the_event(kept: Kept) -> None:
    answer = kept.client.get(f"/logs/{kept.odd}/changes")
    changes, event = answer.json(), kept.client.get(f"/logs/{kept.odd}").json()
    assert list(changes) == ["id", "changed_paths", "patch"]
    assert (changes["id"], changes["changed_paths"]) == (kept.odd, PATHS)
    assert jsonpatch.apply_patch(event["before_state"], changes["patch"]) == event["after_state"]
    assert '{"op":"replace","path":"/n","value":1e401}' in answer.text
    assert '"path":"/new~1~0","value":123456789012345678901234567890}' in answer.text
    assert '{"op":"add","path":"/groups/1","value":"bb' in answer.text
    for path in PATHS:
        found = kept.client.get("/logs", params={"changed_paths": path}).json()["data"]
        assert [one["id"] for one in found] == [kept.odd], path


def test_what_was_made_and_what_did_not_change(kept: Kept) -> None:
    made = kept.client.get(f"/logs/{kept.made}/changes").json()
    assert made["changed_paths"] == []
    assert made["patch"] == [{"op": "replace", "path": "", "value": {"a": 1}}]
    plain = kept.client.get(f"/logs/{kept.plain}/changes").json()
    assert (plain["changed_paths"], plain["patch"]) == ([], [])


def test_states_as_large_as_an_event_may_hold(tenant: Client) -> None:
    before: dict[str, Any] = {f"k{n}": {"n": n} for n in range(5000)}
    after = {key: {"n": value["n"] + 1} for key, value in before.items()}
    event_id = tenant.ingest({"action": "large", "before_state": before, "after_state": after})
    changes = tenant.get(f"/logs/{event_id}/changes", params={"wait": 20}).json()
    assert jsonpatch.apply_patch(before, changes["patch"]) == after
    assert changes["changed_paths"] == changed_paths(json.dumps(before).encode(), json.dumps(after).encode())


def test_changes_of_what_is_not_there(kept: Kept) -> None:
    for event_id in ("01a1fdf2-d2cc-7e1f-94f5-0939230d076e", "no", "traces"):
        answer = kept.client.get(f"/logs/{event_id}/changes")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert kept.client.get(f"/logs/{kept.odd}/changes", params={"wait": "x"}).status_code == 400
