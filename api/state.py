"""What the API process owns while it runs; made by the lifespan, reached by routes through the request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from api.admission import Admission
from api.auth import Authenticator
from api.client import Proxies
from api.exports import ExportSlots
from api.external import ExternalTokens
from api.tokens import TokenIssuer
from core.audit import Trail
from core.catalogue import CatalogueCache
from core.commit import GroupCommit
from core.export.source import Source
from core.ingest import Ingest
from core.limits import Limiter, Sharing
from core.search import Search
from core.settings import Settings
from core.snapshots import Snapshots
from core.statistics import Counter
from core.streams import StreamHub
from core.wiring import Backends


@dataclass(frozen=True, slots=True)
class State:
    settings: Settings
    backends: Backends
    snapshots: Snapshots
    """Of every tenant what is set for it, at most a few seconds old."""
    authenticator: Authenticator
    issuer: TokenIssuer
    proxies: Proxies
    external: ExternalTokens | None
    admission: Admission
    commit: GroupCommit
    trail: Trail
    ingest: Ingest
    catalogues: CatalogueCache
    search: Search
    counter: Counter
    exports: Source
    export_slots: ExportSlots
    streams: StreamHub
    limiter: Limiter
    sharing: Sharing
    strangers: asyncio.Semaphore
    """WebSockets that have not shown a token yet."""


def state_of(connection: HTTPConnection) -> State:
    """The running process's state."""
    return cast(State, connection.app.state.ocelot)
