"""The consumer process."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from consumer.health import HealthServer
from consumer.jobs.afterwards import Afterwards
from consumer.jobs.deletion import TenantDeletion
from consumer.jobs.erasure import TOMBSTONE_DAYS, Erasure
from consumer.jobs.expiry import Expiry
from consumer.jobs.export import ExportHandler
from consumer.jobs.frontier import Frontier
from consumer.jobs.outbox import OutboxDrain
from consumer.jobs.rebuild import Rebuild
from consumer.jobs.reconcile import Reconcile
from consumer.jobs.recording import Recorder
from consumer.jobs.reindex import Reindex
from consumer.jobs.restore import Restore
from consumer.jobs.retained import Ports
from consumer.jobs.retention import Retention
from consumer.jobs.runner import LEASE_SECONDS, Handler, JobRunner
from consumer.jobs.schedule import every
from consumer.jobs.watch import IndexWatch
from consumer.loop import Loop
from consumer.pipeline import Pipeline
from core import instant, telemetry, tracing
from core.archiving.files import SegmentFiles
from core.export.source import Source
from core.garbage import settled
from core.jobs import ERASURE, EXPORT, RECONCILE, REINDEX, RESTORE, RETENTION, TENANT_DELETION
from core.migration import announce_forever
from core.producer import Occasional
from core.settings import BadSettings, Settings, load
from core.snapshots import Snapshots
from core.tombstones import TombstoneSource
from core.viewers import KEPT_FOR as VIEWERS_KEPT
from core.wiring import Backends, open_backends

log = logging.getLogger(__name__)
_DRAIN_SECONDS = 25.0


async def consume(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then drain."""
    async with open_backends(settings) as backends:
        snapshots = Snapshots(backends.control)
        pipeline = Pipeline(
            store=backends.store,
            index=backends.index,
            parking=backends.parking,
            quarantine=backends.quarantine,
            outbox=backends.outbox,
            ledger=backends.ledger,
            accounts=backends.accounts,
            tombstones=TombstoneSource(backends.tombstones),
            index_patience=settings.index_patience,
        )
        loop = Loop(
            backends.queue,
            pipeline,
            backends.store.ping,
            batch=settings.receive_batch,
            lease=settings.lease_seconds,
        )
        _stop_on_signals(loop)
        health = HealthServer(backends)
        port = await health.start(settings.host, settings.consumer_port)
        log.info("consuming; health and metrics on port %d", port)
        runner = JobRunner(
            backends.jobs,
            _handlers(settings, backends, snapshots),
            keep=settings.job_keep,
            at_once=settings.jobs_at_once,
            lease=min(LEASE_SECONDS, settings.lease_seconds),
            ended=Recorder(backends.control, Occasional(backends.queue, backends.ledger)).ended,
        )
        jobs = [asyncio.create_task(job) for job in _jobs(settings, backends, pipeline, runner)]
        jobs.append(asyncio.create_task(snapshots.refresh_forever()))
        jobs.append(asyncio.create_task(announce_forever(backends.migrations, uuid.uuid4().hex)))
        try:
            with settled():
                await loop.run()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, runner.stop(), return_exceptions=True)
            await health.stop()
    log.info("drained")


def _handlers(settings: Settings, backends: Backends, snapshots: Snapshots) -> dict[str, Handler]:
    """What each kind of job does; every kind of `core.jobs.NEEDS` has a handler here."""
    source = Source(backends.store, backends.index, backends.ledger)
    retained = Ports(
        jobs=backends.jobs,
        control=backends.control,
        store=backends.store,
        index=backends.index,
        ledger=backends.ledger,
        accounts=backends.accounts,
        holds=backends.holds,
        segments=backends.segments,
        files=SegmentFiles(backends.archive, settings.archive_level),
    )
    return {
        RETENTION: Retention(retained),
        RESTORE: Restore(retained),
        EXPORT: ExportHandler(backends.control, snapshots, source, backends.archive),
        RECONCILE: Reconcile(backends.control, backends.store, backends.index, backends.ledger),
        REINDEX: Reindex(backends.jobs, backends.control, backends.store, backends.index, backends.ledger),
        TENANT_DELETION: TenantDeletion(backends),
        ERASURE: Erasure(backends, SegmentFiles(backends.archive, settings.archive_level)),
    }


def _jobs(
    settings: Settings, backends: Backends, pipeline: Pipeline, runner: JobRunner
) -> Iterator[Coroutine[Any, Any, None]]:
    drain = OutboxDrain(backends.outbox, backends.store, backends.index, pipeline.reach.answers)
    yield every(2.0, drain.run)
    yield every(2.0, runner.poll)
    yield every(60.0, runner.sweep)
    yield every(3600.0, lambda: backends.tombstones.expire(instant.now_us() - TOMBSTONE_DAYS * 86_400_000_000))
    yield every(3600.0, Afterwards(backends).run)
    yield every(3600.0, backends.ledger.prune)
    yield every(3600.0, lambda: backends.viewers.expire(instant.now_us() - VIEWERS_KEPT))
    yield every(1.0, Frontier(backends.ledger, backends.queue).run)
    if settings.retention_every and settings.archive_url is not None:
        expiry = Expiry(backends.control, backends.store, backends.segments, backends.jobs, keep=settings.job_keep)
        yield every(settings.retention_every, expiry.run)
    if settings.index_watch_every and not settings.rebuild_on_start:  # that one's index forgets at every stop
        watch = IndexWatch(
            backends.control, backends.store, backends.index, backends.ledger, backends.jobs, keep=settings.job_keep
        )
        yield every(settings.index_watch_every, watch.run)
    if settings.rebuild_on_start:
        yield Rebuild(backends.control, backends.store, backends.index, backends.ledger).run()


def _stop_on_signals(loop: Loop) -> None:
    """The first signal drains; if that takes too long, the process ends and leases lapse."""
    running = asyncio.get_running_loop()

    def stop() -> None:
        loop.stop()
        running.call_later(_DRAIN_SECONDS, sys.exit, 1)

    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop)


def serve() -> None:
    """Run the consumer; ends with one line for each mistake when the settings are wrong."""
    try:
        settings = load()
        tracing.configure("ocelot-consumer", settings.otlp_endpoint, settings.trace_share)
    except (BadSettings, ValueError) as error:
        raise SystemExit(f"ocelot consumer: {error}") from None
    telemetry.configure_logging(settings.log_level)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    with runner:
        runner.run(consume(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


if __name__ == "__main__":
    serve()
