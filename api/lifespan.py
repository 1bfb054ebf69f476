"""The application's life: what is opened before the first request, what runs beside them, what is drained at last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi import FastAPI

from api.admission import Admission, pace_forever
from api.auth import Authenticator
from api.client import Proxies
from api.exports import ExportSlots
from api.external import open_issuers
from api.routes.stream import MAX_STRANGERS
from api.state import State
from api.tokens import SigningKey, TokenIssuer, TokenVerifier
from core.audit import Trail
from core.catalogue import CatalogueCache
from core.commit import GroupCommit
from core.errors import OcelotError
from core.export.source import Source
from core.garbage import settled
from core.ingest import Ingest
from core.keys import signing_key_pem
from core.limits import Limiter, Sharing
from core.migration import announce_forever
from core.search import Search
from core.settings import Settings
from core.snapshots import Snapshots
from core.statistics import Counter
from core.streams import Limits, StreamHub
from core.wiring import Backends, open_backends

_BEAT_SECONDS: Final = 1.0


def lifespan_of(settings: Settings) -> Callable[[FastAPI], Any]:
    """Around all requests: opens the backends, and drains what is in flight before it closes them."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        key = SigningKey(signing_key_pem(settings, SigningKey.generate))
        async with open_backends(settings) as backends:
            state = _state(settings, backends, key)
            app.state.ocelot = state
            # Before the first envelope, so that the ledger knows the producer from the start.
            await _beat(state)
            with suppress(OcelotError):
                await state.sharing.round()  # what is used up elsewhere is not given out here
            tasks = [
                asyncio.create_task(state.snapshots.refresh_forever()),
                asyncio.create_task(state.catalogues.refresh_forever()),
                asyncio.create_task(_beat_forever(state)),
                asyncio.create_task(pace_forever(state.admission, state.commit.waited)),
                *([asyncio.create_task(state.external.refresh_forever())] if state.external else []),
                asyncio.create_task(state.sharing.run_forever()),
                asyncio.create_task(announce_forever(backends.migrations, state.commit.producer)),
            ]
            with settled():
                yield
            await state.streams.aclose()
            await state.trail.drain()
            await state.commit.drain()
            for task in tasks:
                task.cancel()
            await state.sharing.end()
            await _beat(state, ended=True)

    return lifespan


def _state(settings: Settings, backends: Backends, key: SigningKey) -> State:
    verifier = TokenVerifier(key, settings.issuer, settings.audience)
    commit = GroupCommit(
        backends.queue,
        sends_in_flight=settings.sends_in_flight,
        deadline=settings.send_deadline,
        max_pending_bytes=settings.max_in_flight_bytes,
    )
    search = Search(backends.store, backends.index, backends.ledger, total_bound=settings.total_bound)
    catalogues = CatalogueCache(backends.catalogues)
    snapshots = Snapshots(backends.control)
    snapshots.when_gone(verifier.forget)
    proxies = Proxies(settings.proxy_networks)
    external = open_issuers(settings.issuers, settings.issuer, settings.audience)
    if external is not None:
        snapshots.when_gone(external.forget)
    limiter = Limiter()
    limiter.quotas_of, limiter.is_gone = snapshots.quotas, snapshots.is_gone
    return State(
        settings=settings,
        backends=backends,
        snapshots=snapshots,
        authenticator=Authenticator(verifier, snapshots, limiter, proxies, external),
        external=external,
        proxies=proxies,
        issuer=TokenIssuer(key, settings.issuer, settings.audience),
        admission=Admission(settings.max_in_flight_bytes, settings.max_tenant_in_flight_bytes),
        commit=commit,
        trail=Trail(commit),
        search=search,
        counter=Counter(backends.store, backends.index, search),
        ingest=Ingest(commit, catalogues),
        catalogues=catalogues,
        exports=Source(backends.store, backends.index, backends.ledger),
        export_slots=ExportSlots(settings.max_exports, settings.max_tenant_exports),
        streams=StreamHub(
            backends.feed,
            backends.store,
            backends.ledger,
            Limits(streams=settings.max_streams, tenant_streams=settings.max_tenant_streams),
        ),
        limiter=limiter,
        sharing=Sharing(limiter, backends.usage),
        strangers=asyncio.Semaphore(MAX_STRANGERS),
    )


async def _beat_forever(state: State) -> None:
    while True:
        await _beat(state)
        await asyncio.sleep(_BEAT_SECONDS)


async def _beat(state: State, *, ended: bool = False) -> None:
    """Tell the ledger what this producer has sealed; with the store down the watermark stands still, nothing more."""
    heartbeat = state.commit.heartbeat(ended=ended)
    with suppress(OcelotError):
        await state.backends.ledger.beat(heartbeat)
        state.commit.voids_recorded(heartbeat.voided)
