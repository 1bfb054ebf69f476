"""What the API process owns while it runs; made by the lifespan, reached by routes through the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from api.auth import Authenticator
from api.bodies import Admission
from api.exports import ExportSlots
from api.tokens import TokenIssuer
from core.catalogue import CatalogueCache
from core.commit import GroupCommit
from core.export.source import Source
from core.ingest import Ingest
from core.search import Search
from core.settings import Settings
from core.wiring import Backends


@dataclass(frozen=True, slots=True)
class State:
    settings: Settings
    backends: Backends
    authenticator: Authenticator
    issuer: TokenIssuer
    admission: Admission
    commit: GroupCommit
    ingest: Ingest
    catalogues: CatalogueCache
    search: Search
    exports: Source
    export_slots: ExportSlots


def state_of(request: Request) -> State:
    """The running process's state."""
    return cast(State, request.app.state.ocelot)
