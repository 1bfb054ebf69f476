"""The whole service as processes, for suites that speak HTTP to it: API and consumer on given backends."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from api.tokens import SigningKey, TokenIssuer
from core import accounts, instant
from core.access import Role
from core.keys import signing_key_pem
from core.query import Condition, EventQuery, Match, Value, of_nodes
from core.settings import Settings
from core.tenant import Tenant, for_system
from core.viewers import ViewerLink, new_link_id
from core.wiring import Backends, open_backends
from infra.local.servers import free_port
from tests.answers import LOOKED_AT

ROOT = Path(__file__).parents[1]


@dataclass
class Process:
    """An API or consumer process and the port it answers on."""

    module: str
    environment: dict[str, str]
    port: int
    health: str
    popen: subprocess.Popen[bytes] | None = None
    arguments: tuple[str, ...] = ()

    def start(self) -> None:
        log = Path(self.environment["OCELOT_HOME"]) / f"{self.module}-{self.port}.log"
        command = [sys.executable, "-m", self.module, *self.arguments]
        with log.open("ab") as out:
            self.popen = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=out)
        deadline = time.monotonic() + 90
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}{self.health}").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.module} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def stop(self, grace: float = 30) -> int:
        """SIGTERM; the exit code."""
        assert self.popen is not None
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(grace)


@dataclass
class Service:
    """A running service; `environment` holds the settings that its processes have."""

    environment: dict[str, str]
    api: Process
    consumer: Process
    tenants: list[Tenant] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}"

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(self.environment)

    def start(self) -> None:
        self.consumer.start()
        self.api.start()

    def stop(self) -> None:
        """Stop both, and remove what the tenants of the tests left in the index."""
        self.api.stop()
        self.consumer.stop()
        self.with_backends(self._drop_tenants)

    async def _drop_tenants(self, backends: Backends) -> None:
        for tenant in self.tenants:
            await backends.index.drop(for_system(tenant.id, "test"))

    def with_backends(self, work: Any) -> Any:
        """The result of the coroutine function `work` on the open backends."""

        async def run() -> Any:
            async with open_backends(self.settings) as backends:
                return await work(backends)

        return asyncio.run(run())

    def tenant(self, name: str = "test") -> Client:
        """A new tenant with an admin's client."""
        tenant: Tenant = self.with_backends(lambda backends: accounts.create_tenant(backends.control, name))
        self.tenants.append(tenant)
        return self.client(tenant, Role.ADMIN)

    def issuer(self, **changes: str) -> TokenIssuer:
        settings = self.settings
        key = SigningKey(signing_key_pem(settings, SigningKey.generate))
        return TokenIssuer(key, changes.get("issuer", settings.issuer), changes.get("audience", settings.audience))

    def client(self, tenant: Tenant | None, *roles: Role, lifetime: int = 3600) -> Client:
        """A client with a token of these roles; no tenant for a platform administrator."""
        tenant_id = tenant.id if tenant else None
        if Role.VIEWER in roles:
            assert tenant is not None
            return self.viewer(tenant, of_nodes([Condition("action", (Value("", Match.EXISTS),))]))
        token = self.issuer().issue(subject="test", tenant_id=tenant_id, roles=list(roles), lifetime=lifetime)
        return Client(self.url, token, tenant)

    def viewer(self, tenant: Tenant, restriction: EventQuery) -> Client:
        """A client with the token of a viewer link."""
        now = instant.now_us()
        link = ViewerLink(new_link_id(now), tenant.id, "", restriction, b"{}", "test", now, now + 3_600_000_000)
        return Client(self.url, self.issuer().issue_viewer(link), tenant)


class Client(httpx.Client):
    """An HTTP client of one tenant."""

    def __init__(self, url: str, token: str | None, tenant: Tenant | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        super().__init__(base_url=f"{url}/api/v1", headers=headers, timeout=60, event_hooks=LOOKED_AT)
        self.token = token
        self.tenant = tenant

    def ingest(self, event: Mapping[str, Any], **headers: str) -> str:
        """Send one event; its id."""
        response = self.post("/logs", json=event, headers=headers)
        assert response.status_code == 202, response.text
        event_id: str = response.json()["id"]
        return event_id

    def complete(self, timeout: float = 180) -> None:
        """Wait until what was accepted so far is in every answer, by the service's own word."""
        now = instant.to_text(instant.now_us())
        deadline = time.monotonic() + timeout
        while (self.get("/logs", params={"limit": 1}).json()["watermark"]["complete_through"] or "") < now:
            assert time.monotonic() < deadline, "the watermark stands still"
            time.sleep(0.1)

    def found(self, count: int, timeout: float = 120, **query: Any) -> dict[str, Any]:
        """The answer to a search once it has `count` matches; fails when it has not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            response = self.get("/logs", params=query)
            if response.status_code == 503 and time.monotonic() < deadline:
                # A server that is too busy for its deadline: a client tries again.
                time.sleep(float(response.headers["Retry-After"]) / 10)
                continue
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            if answer["total"] == count or time.monotonic() > deadline:
                assert answer["total"] == count, (answer["total"], query)
                return answer
            time.sleep(0.1)


def environment(home: Path, store_url: str, index_url: str, **more: str) -> dict[str, str]:
    """Settings of a service of its own: ports, database and home folder; `more` adds or replaces some."""
    home.mkdir(parents=True, exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG") or k.startswith("COVERAGE")}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "OCELOT_QUEUE": "file",
        "OCELOT_HOME": str(home),
        "MONGODB_URL": store_url,
        "MONGODB_DATABASE": f"test_{secrets.token_hex(6)}",
        "OPENSEARCH_URL": index_url,
        "ARCHIVE_URL": (home / "archive").resolve().as_uri(),
        "OCELOT_INDEX_REPLICAS": "0",
        "OCELOT_HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "OCELOT_CONSUMER_PORT": str(free_port()),
        **more,
    }


def service(settings: dict[str, str]) -> Service:
    """A service with these settings, not started yet."""
    return Service(
        settings,
        Process("api.main", settings, int(settings["PORT"]), "/api/v1/health"),
        Process("consumer.main", settings, int(settings["OCELOT_CONSUMER_PORT"]), "/health"),
    )
