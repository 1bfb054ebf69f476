"""One running service for the suites here, on the embedded servers and, where they are named, on the real ones."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator

import pytest

from tests.conftest import LIVE_MONGODB, LIVE_OPENSEARCH, LIVE_S3, LIVE_SQS, s3_bucket
from tests.issuer import PublishedIdp
from tests.service import Client, Service, environment, service

STREAMS = {"OCELOT_STREAM_HEARTBEAT": "1", "OCELOT_MAX_TENANT_STREAMS": "20"}
LIVE = bool(LIVE_MONGODB and LIVE_OPENSEARCH and LIVE_SQS)
# Without the real servers nothing is parametrized for them: a skipped parameter ends the service of the other.
SERVICES = ["embedded", *([pytest.param("live", marks=pytest.mark.live)] if LIVE else [])]


@pytest.fixture(scope="session")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedIdp]:
    """The issuer beside Ocelot whose tokens the running service takes."""
    made = PublishedIdp(tmp_path_factory.mktemp("idp"))
    yield made
    made.server.stop()


@pytest.fixture(scope="session", params=SERVICES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service; its database goes with the embedded store, or is dropped at the end."""
    home = tmp_path_factory.mktemp(f"service-{request.param}")
    if request.param == "embedded":
        store = request.getfixturevalue("embedded_store")
        index = request.getfixturevalue("embedded_index")
        settings = environment(home, store.url, index.url, **STREAMS)
    else:
        settings = live_environment(home)
    settings["OCELOT_ISSUERS"] = request.getfixturevalue("idp").setting
    made = service(settings)
    made.start()
    yield made
    made.stop()
    if request.param == "live":
        drop_live(settings)


def live_environment(home, max_receives: int = 100) -> dict[str, str]:
    """Settings on the real servers, with a queue of its own; skips where they are not named."""
    if not LIVE:
        pytest.skip("the real servers are not named (make test-live)")
    from core.adapters.queue.sqs_client import ensure_queue

    name = f"test-{secrets.token_hex(6)}"
    url = asyncio.run(ensure_queue(LIVE_SQS, "us-east-1", name, max_receives=max_receives))
    return environment(
        home,
        LIVE_MONGODB,
        LIVE_OPENSEARCH,
        OCELOT_QUEUE="sqs",
        SQS_QUEUE_URL=url,
        SQS_ENDPOINT_URL=LIVE_SQS,
        **STREAMS,
        **(_live_archive() if LIVE_S3 else {}),
    )


def _live_archive() -> dict[str, str]:
    """A folder of its own in the tests' bucket, and the account."""
    account = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    url = f"s3://{s3_bucket()}/{secrets.token_hex(6)}"
    return {"ARCHIVE_URL": url, "ARCHIVE_ENDPOINT_URL": str(LIVE_S3), **account}


def drop_live(settings: dict[str, str]) -> None:
    from pymongo import MongoClient

    from core.adapters.queue.sqs_client import delete_queue

    with MongoClient(settings["MONGODB_URL"]) as client:
        client.drop_database(settings["MONGODB_DATABASE"])
    asyncio.run(delete_queue(LIVE_SQS, "us-east-1", settings["SQS_QUEUE_URL"].rsplit("/", 1)[1]))


@pytest.fixture
def tenant(running: Service) -> Client:
    """A new tenant's admin."""
    return running.tenant()
