"""A client of SQS, and making a queue there for development and tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

CALL_SECONDS: Final = 5.0
_session: Final = lru_cache(maxsize=1)(get_session)
"""One a process: it keeps the model of SQS, whose reading is most of the 0.1 s that a client takes to make."""


@asynccontextmanager
async def connect(region: str, endpoint: str | None, read_timeout: float) -> AsyncIterator[Any]:
    """A client that never retries. Validation off and a fixed user agent save 0.5 of 2.0 ms of CPU a call."""
    config = AioConfig(
        connect_timeout=CALL_SECONDS,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=64,
        parameter_validation=False,
        user_agent="ocelot",
    )
    session = _session()
    keys: dict[str, str] = {}
    if endpoint is not None and await session.get_credentials() is None:
        keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}  # another SQS than AWS's checks no key
    async with session.create_client("sqs", region_name=region, endpoint_url=endpoint, config=config, **keys) as client:
        yield client


async def ensure_queue(endpoint: str | None, region: str, name: str, *, max_receives: int = 100) -> str:
    """The URL of the queue `name`, made with its dead-letter queue `<name>-dead` if it is not there.

    For development and tests; in production the queue is part of the deployment.
    """
    async with connect(region, endpoint, CALL_SECONDS) as client:
        dead = (await client.create_queue(QueueName=f"{name}-dead"))["QueueUrl"]
        found = await client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": max_receives}
        url: str = (await client.create_queue(QueueName=name))["QueueUrl"]
        await client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})
        return url


async def delete_queue(endpoint: str | None, region: str, name: str) -> None:
    """Undo `ensure_queue`."""
    async with connect(region, endpoint, CALL_SECONDS) as client:
        for each in (name, f"{name}-dead"):
            url = (await client.get_queue_url(QueueName=each))["QueueUrl"]
            await client.delete_queue(QueueUrl=url)
