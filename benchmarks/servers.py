"""The processes that benchmarks measure, and their CPU and memory by the operating system's own accounts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from api.tokens import SigningKey, TokenIssuer
from core import accounts
from core.access import Role
from core.keys import signing_key_pem
from core.settings import Settings
from core.tenant import Tenant
from core.wiring import open_backends
from infra.local.servers import free_port


@dataclass
class Measured:
    """A running server."""

    process: psutil.Process
    port: int
    token: str = ""

    def cpu(self) -> float:
        """Seconds of CPU so far, threads included, by the process's own clock: its tables count in ticks of 10 ms."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def rss(self) -> int:
        return int(self.process.memory_info().rss)

    def load(self, path: str, body: bytes, *, connections: int, requests: int, kind: str = "application/json") -> Any:
        """Send `requests` and return the load's figures; fails unless every answer was 2xx."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            command = [sys.executable, "-m", "benchmarks.load", str(self.port), path, self.token or "none", file.name]
            out = subprocess.run([*command, kind, str(connections), str(requests)], check=True, capture_output=True)
        figures = json.loads(out.stdout)
        bad = {status: n for status, n in figures["statuses"].items() if not status.startswith("2")}
        if bad:
            raise RuntimeError(f"answers other than 2xx: {bad}")
        return figures


@contextmanager
def server(code: str, environment: dict[str, str], health: str, port: int) -> Iterator[Measured]:
    """A Python process running `code` until the block ends; ready when `health` answers at all."""
    env = {**os.environ, **environment}
    popen = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}{health}"):
            if popen.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {code}")
            time.sleep(0.1)
        yield Measured(psutil.Process(popen.pid), port)
    finally:
        popen.terminate()
        popen.wait(40)


@contextmanager
def peer(app: str) -> Iterator[Measured]:
    """An ASGI app named `module:name` under the same server that Ocelot runs on."""
    port = free_port()
    code = f"import uvicorn; uvicorn.run('{app}', host='127.0.0.1', port={port}, access_log=False, log_level='error')"
    with server(code, {}, "/openapi.json", port) as made:
        yield made


@contextmanager
def api(settings: dict[str, str], code: str = "from api.main import serve; serve()") -> Iterator[Measured]:
    """Ocelot's API with these settings, and a token of a new tenant."""
    port = int(settings["PORT"])
    with server(code, settings, "/api/v1/health", port) as made:
        made.token = token_of(settings)[0]
        yield made


def settings_of(home: Path, store_url: str, index_url: str, **more: str) -> dict[str, str]:
    """Settings of a service of its own on these servers, with the file queue unless `more` says otherwise."""
    return {
        "OCELOT_QUEUE": "file",
        "OCELOT_HOME": str(home),
        "MONGODB_URL": store_url,
        "MONGODB_DATABASE": f"bench_{os.getpid()}_{home.name[-8:]}".replace("-", "_"),
        "OPENSEARCH_URL": index_url,
        "OCELOT_INDEX_REPLICAS": "0",
        "OCELOT_HOST": "127.0.0.1",
        "OCELOT_LOG_LEVEL": "ERROR",
        "PORT": str(free_port()),
        "OCELOT_CONSUMER_PORT": str(free_port()),
        **more,
    }


def token_of(settings: dict[str, str]) -> tuple[str, Tenant]:
    """An admin's token of a new tenant."""
    read = Settings.model_validate(settings)

    async def make() -> Tenant:
        async with open_backends(read) as backends:
            return await accounts.create_tenant(backends.control, "bench")

    tenant = asyncio.run(make())
    issuer = TokenIssuer(SigningKey(signing_key_pem(read, SigningKey.generate)), read.issuer, read.audience)
    return issuer.issue(subject="bench", tenant_id=tenant.id, roles=[Role.ADMIN], lifetime=3600), tenant


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False
