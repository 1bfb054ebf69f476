"""Secrets are in no log, no metric, no error, no repr and no record: planted everywhere, then looked for everywhere."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from api.tokens import SigningKey, TokenIssuer
from core import credentials
from core.keys import signing_key_pem
from core.ports.keys import KeySecret
from core.settings import Settings
from core.tenant import Tenant
from tests.figures import tally
from tests.service import ROOT, Client, Service

JSON = {"Content-Type": "application/json"}


def planted() -> str:
    """A word that no id, digit or time contains by chance."""
    return f"Planted{secrets.token_hex(8)}Secret"


def _told(running: Service, client: Client) -> dict[str, str]:
    """All that the service tells of itself: logs, metrics, the tenant's own access audit."""
    home = Path(running.environment["OCELOT_HOME"])
    found = {log.name: log.read_text(errors="replace") for log in home.glob("*.log")}
    assert len(found) >= 2
    found["metrics"] = httpx.get(f"{running.url}/metrics").text
    found["consumer's metrics"] = httpx.get(f"http://127.0.0.1:{running.consumer.port}/metrics").text
    client.complete()
    found["access audit"] = client.get("/logs", params={"action": "ocelot.*", "limit": 1000}).text
    return found


def test_no_secret_is_told(request: pytest.FixtureRequest, running: Service) -> None:
    client = running.tenant("secrets")
    made = client.post("/keys", json={"name": "k", "roles": ["reader"]}).json()
    key_id, key_secret = made["client_id"], made["client_secret"]
    rotated = client.post(f"/keys/{key_id}/rotate", json={}).json()["client_secret"]
    grant = {"grant_type": "client_credentials", "client_id": key_id}
    issued = client.post("/token", data=grant | {"client_secret": rotated})
    link = client.post("/viewer-links", json={"filter": {"field": "user_id", "equals": "a"}}).json()["token"]
    word = planted()
    wrong = credentials.new_secret()
    answers = [
        *(client.post("/token", data=grant | {"client_secret": text}) for text in (wrong, word, key_secret + "x")),
        client.post("/token", json={"grant_type": "client_credentials", "client_id": word, "client_secret": word}),
        httpx.post(f"{running.url}/api/v1/token", data={"grant_type": "client_credentials"}, auth=(key_id, word)),
        httpx.get(f"{running.url}/api/v1/logs", headers={"Authorization": f"Bearer {word}"}),
        httpx.get(f"{running.url}/api/v1/logs", headers={"Authorization": f"Bearer {client.token}x"}),
        httpx.get(f"{running.url}/api/v1/logs", params={"access_token": str(client.token)}),
        httpx.get(f"{running.url}/api/v1/downloads/{word}"),
        client.get("/logs", headers={"Cookie": f"session={word}"}),
        client.post("/logs", content=f'{{"action":"a","metadata":{{"password":"{word}"}}', headers=JSON),
        client.post("/logs", json={"action": "a", "metadata": {"password": word, "api_key": key_secret}}),
        client.post("/logs", json={"action": "a", "metadata": {"authorization": f"Bearer {client.token}"}}),
        client.get("/logs", params={"metadata.password": word}),
        client.post("/logs/search", json={"query": {"field": "metadata.password", "equals": word}}),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []
    assert issued.status_code == 200
    settings = running.settings
    pem = signing_key_pem(settings, SigningKey.generate).decode()
    assert client.tenant is not None
    hidden = {
        "key's secret": key_secret, "rotated secret": rotated, "wrong secret": wrong, "planted": word,
        "admin's token": str(client.token), "issued token": issued.json()["access_token"], "link's token": link,
        "signing key": pem.splitlines()[1], "tenant's secret": client.tenant.secret.hex(),
        "tenant's secret, base64": base64.b64encode(client.tenant.secret).decode(),
    }  # fmt: skip
    told = _told(running, client) | {f"answer {n}": answer.text for n, answer in enumerate(answers)}
    leaks = [
        (name, where)
        for name, secret in hidden.items()
        for where, text in told.items()
        if secret in text or secret[-24:] in text
    ]
    assert leaks == []
    tally(request, "secrets", "planted secrets", looked_for=len(hidden), places=len(told), found=0)


def test_the_stores_hold_no_secret_in_clear(running: Service) -> None:
    from pymongo import MongoClient

    client = running.tenant("secrets at rest")
    made = client.post("/keys", json={"name": "k", "roles": ["reader"]}).json()
    word = planted()
    event_id = client.ingest({"action": "a", "metadata": {"password": word}, "message": f"password={word}"})
    client.get(f"/logs/{event_id}", params={"wait": 20})
    with MongoClient(running.environment["MONGODB_URL"]) as store:
        database = store[running.environment["MONGODB_DATABASE"]]
        for name in database.list_collection_names():
            for document in database[name].find():
                written = repr(document)
                assert made["client_secret"] not in written, name
                assert word not in written, name


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    word = planted()
    held = Settings.model_validate(
        {"OCELOT_QUEUE": "file", "OCELOT_HOME": str(tmp_path), "MONGODB_URL": f"mongodb://u:{word}@h/",
         "OPENSEARCH_URL": f"https://u:{word}@h"}
    )  # fmt: skip
    pem = SigningKey.generate()
    key = SigningKey(pem)
    shown = [
        *(form(held) for form in (repr, str)), held.model_dump_json(), repr(vars(key)), repr(key),
        repr(TokenIssuer(key, "i", "a")), repr(vars(TokenIssuer(key, "i", "a"))),
        repr(Tenant("a" * 16, "n", word.encode(), 0)),
        repr(KeySecret(1, word.encode(), 0)),
    ]  # fmt: skip
    for text in shown:
        assert word not in text
        assert pem.decode().splitlines()[1] not in text


@pytest.mark.parametrize("module", ["api.main", "consumer.main"])
def test_a_start_that_fails_shows_no_password(tmp_path: Path, module: str) -> None:
    word = planted()
    environment = {
        "PATH": "", "OCELOT_QUEUE": "file", "OCELOT_HOME": str(tmp_path), "MONGODB_URL": f"mongodb:/u:{word}@h/",
        "OPENSEARCH_URL": f"ftp://u:{word}@h", "OCELOT_ISSUERS": json.dumps([{"name": word}]),
        "OCELOT_TRUSTED_PROXIES": "nonsense",
    }  # fmt: skip
    command = [sys.executable, "-m", module]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert "MONGODB_URL" in ended.stderr
    assert word not in ended.stdout + ended.stderr
