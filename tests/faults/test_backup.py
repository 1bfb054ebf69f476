"""The rehearsal: a store is lost, and comes back from its backup and the archive; the index is rebuilt from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from cli.main import app
from core import instant
from core.access import Role
from core.tenant import for_system
from core.wiring import Backends
from tests import census
from tests.flow.aged import aged, put
from tests.flow.conftest import LIVE, drop_live, live_environment
from tests.flow.test_retention import BEFORE, CUT, MARCH, clean_up, ended
from tests.service import Client, Service, environment, service

DAY = 86_400_000_000
BACKENDS = ["embedded", *([pytest.param("live", marks=pytest.mark.live)] if LIVE else [])]


@pytest.fixture(params=BACKENDS)
def lost(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A service whose store the test may lose; old events go when the test says so alone."""
    more = {"OCELOT_RETENTION_EVERY": "0"}
    if request.param == "embedded":
        store, index = request.getfixturevalue("embedded_store"), request.getfixturevalue("embedded_index")
        settings = environment(tmp_path / "home", store.url, index.url, **more)
    else:
        settings = live_environment(tmp_path / "home") | more
    made = service(settings)
    made.start()
    yield made
    made.stop()
    if request.param == "live":
        drop_live(settings)


def command(running: Service, *arguments: str, fails: bool = False) -> str:
    result = CliRunner().invoke(app, [*arguments], env=running.environment)
    assert (result.exit_code != 0) is fails, result.output
    return result.output


def lose_the_store(running: Service, client: Client) -> None:
    """Its database is gone, and with it the tenant's index."""

    async def drop_index(backends: Backends) -> None:
        assert client.tenant is not None
        await backends.index.drop(for_system(client.tenant.id, "test"))

    running.with_backends(drop_index)
    with MongoClient(running.environment["MONGODB_URL"]) as mongodb:
        mongodb.drop_database(running.environment["MONGODB_DATABASE"])


def test_a_lost_store_comes_back_from_backup_and_archive(lost: Service, tmp_path: Path) -> None:
    client = lost.tenant()
    assert client.tenant is not None
    rows = [aged(client.tenant, (MARCH if n % 2 else CUT + DAY) + n * DAY // 100, n) for n in range(300)]
    put(lost, client, rows)
    ids = [client.ingest({"action": "order.paid", "metadata": {"n": n, "big": 10**25}}) for n in range(20)]
    client.complete()
    before = census.take(lost, client)
    assert len(before.bodies) == len(rows) + len(ids)
    result = ended(client, clean_up(client, dry_run="false").json()["job"])
    assert result["archived"] == 150
    kept = census.take(lost, client)

    place = str(tmp_path / "backup")
    assert "documents in" in command(lost, "backup", place)
    assert "good" in command(lost, "restore", place, "--check")
    assert "not empty" in command(lost, "restore", place, fails=True)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "backup").iterdir()} == {0}
    manifest = json.loads((tmp_path / "backup" / "manifest.json").read_text())
    assert {c["name"]: c["documents"] for c in manifest["collections"]}["events"] >= len(kept.bodies)

    lost.api.stop()
    lost.consumer.stop()
    lose_the_store(lost, client)
    told = command(lost, "restore", place)
    assert " 0 missing" in told
    assert "the index is rebuilt" in told
    lost.start()

    again = lost.client(client.tenant, Role.ADMIN)
    again.found(len(kept.bodies))
    assert _figures(census.take(lost, again)) == _figures(kept)
    asked = {"received_from": instant.to_text(MARCH), "received_to": BEFORE, "keep_days": 1}
    back = ended(again, again.post("/logs/restore", json=asked).json()["job"])
    assert (back["restored"], back["conflicts"], back["failed"]) == (150, 0, 0)
    again.found(len(before.bodies))
    assert _figures(census.take(lost, again)) == _figures(before)
    for event_id in ids[:2]:
        assert again.get(f"/logs/{event_id}").content == before.bodies[event_id]
    again.ingest({"action": "after.the.loss"})
    again.found(len(before.bodies) + 1)


def _figures(found: census.Census) -> tuple[list[str], list[str], list[str], str]:
    """The ids of store and index, those altered, and one hash over all bytes in the ids' order."""
    digest = hashlib.sha256(b"".join(found.bodies[event_id] for event_id in sorted(found.bodies)))
    return sorted(found.stored), sorted(found.indexed), found.altered, digest.hexdigest()
