"""Servers that the suites run on: the embedded ones are started here; the real ones are named by their URLs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from infra.local.servers import Server, start_index, start_store
from tests.answers import every_answer_is_looked_at
from tests.figures import pytest_runtest_logreport, pytest_terminal_summary

__all__ = ["every_answer_is_looked_at", "pytest_runtest_logreport", "pytest_terminal_summary"]

# No deadline: it would be a busy machine's fault. `make thorough` takes the other profile.
# The brief one takes the same examples each time, so that a run says something of the change at hand.
settings.register_profile("brief", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "brief"))

# The real servers, when there are any: `make test-live` starts them and sets these.
LIVE_MONGODB = os.environ.get("OCELOT_TEST_MONGODB_URL")
LIVE_OPENSEARCH = os.environ.get("OCELOT_TEST_OPENSEARCH_URL")
LIVE_SQS = os.environ.get("OCELOT_TEST_SQS_ENDPOINT_URL")
LIVE_S3 = os.environ.get("OCELOT_TEST_S3_ENDPOINT_URL")
if LIVE_S3:  # the test server's own account, unless another is named
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "ocelot")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "ocelot-secret")

S3_BUCKET = "ocelot-tests"

DATA = Path(os.environ.get("OCELOT_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""The folder of real audit logs, which need not be there."""

# The real files, and whose log each is.
LOGS = {
    "azure_activity": "azure",
    "azure_signin": "azure",
    "cloudtrail": "cloudtrail",
    "cloudtrail_rule_tests": "cloudtrail",
    "cloudtrail_stratus": "cloudtrail",
    "gcp_audit": "gcp",
    "github": "github",
    "gsuite": "gsuite",
    "k8s": "k8s",
    "k8s_rule_tests": "k8s",
    "okta": "okta",
    "slack": "slack",
    "windows": "windows",
    "windows_large": "windows",
}


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SecantusDB with a data folder of this session."""
    server = start_store(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def embedded_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """osmem, empty."""
    server = start_index(tmp_path_factory.mktemp("index"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def audit_logs() -> Path:
    """The folder of real audit logs, or skip where it is not there."""
    if not DATA.is_dir():
        pytest.skip("no folder of real audit logs (OCELOT_DATA)")
    return DATA


def s3_bucket() -> str:
    """The bucket of the tests on the real S3, made when it is missing."""
    import asyncio

    from aiobotocore.session import get_session

    async def make() -> None:
        async with get_session().create_client("s3", endpoint_url=LIVE_S3, region_name="us-east-1") as client:
            buckets = (await client.list_buckets())["Buckets"]
            if S3_BUCKET not in [bucket["Name"] for bucket in buckets]:
                await client.create_bucket(Bucket=S3_BUCKET)

    thread = threading.Thread(target=lambda: asyncio.run(make()))  # the caller may be in a loop of its own
    thread.start()
    thread.join()
    return S3_BUCKET
