"""Jobs in MongoDB: `core.jobs.Jobs`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from core import instant
from core.adapters.store.client import BsonMap, Database, store_calls
from core.adapters.store.indexes import JOBS
from core.adapters.store.upserts import insert_once
from core.errors import Conflict, Overloaded
from core.jobs import Claim, Job, JobState, Json, Progress
from core.tenant import TenantScope

_ACTIVE: Final = [JobState.QUEUED.value, JobState.RUNNING.value]
_ENDED: Final = [JobState.DONE.value, JobState.FAILED.value, JobState.CANCELLED.value]
_LOOKS: Final = 8
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class MongoJobs:
    """The collection `jobs`, one document a job; JSON of others' making is kept as text, whatever its keys.

    `due_at` says when an active job may be claimed: at once, after a delay, or when its lease lapses; an ended job has
    none. A claim reads the first due and then changes it on the condition that nobody else has: two cheap calls, and
    the first alone while nothing is due. (SecantusDB does 28 findAndModify a second.)
    """

    def __init__(self, database: Database, clock: Callable[[], int] = instant.now_us) -> None:
        self._jobs = database[JOBS]
        self._clock = clock

    async def create(self, job: Job, *, max_active: int) -> None:
        active = {"tenant_id": job.tenant_id, "kind": job.kind, "state": {"$in": _ACTIVE}}
        with store_calls():
            count = await self._jobs.count_documents(active, limit=max_active)
        if count >= max_active:
            raise Overloaded(f"{max_active} jobs of this kind are queued or running; wait for one of them")
        await insert_once(self._jobs, [_document(job)])

    async def get(self, scope: TenantScope, job_id: str) -> Job | None:
        with store_calls():
            found = await self._jobs.find_one({"_id": job_id, "tenant_id": scope.tenant_id})
        return None if found is None else _job(found)

    async def listing(self, scope: TenantScope, kind: str, *, before: str | None, limit: int) -> list[Job]:
        asked: BsonMap = {"tenant_id": scope.tenant_id, "kind": kind}
        if before is not None:
            asked["_id"] = {"$lt": before}
        with store_calls():
            found = await self._jobs.find(asked).sort([("_id", -1)]).limit(limit).to_list(None)
        return [_job(document) for document in found]

    async def claim(self, kinds: Collection[str], lease: float) -> Claim | None:
        now = self._clock()
        due = {"due_at": {"$gte": 0, "$lt": now}, "kind": {"$in": list(kinds)}}
        with store_calls():
            for found in await self._jobs.find(due).sort([("due_at", 1)]).limit(_LOOKS).to_list(None):
                token = secrets.token_hex(12)
                seen = {"_id": found["_id"], "due_at": found["due_at"], "lease": found["lease"]}
                change = {
                    "state": JobState.RUNNING.value,
                    "lease": token,
                    "due_at": now + _us(lease),
                    "attempts": found["attempts"] + 1,
                    "updated_at": now,
                }
                if (await self._jobs.update_one(seen, {"$set": change})).modified_count == 1:
                    return Claim(_job(found | change), token)
        return None

    async def beat(self, claim: Claim, lease: float, progress: Progress | None = None) -> bool:
        now = self._clock()
        change: BsonMap = {"due_at": now + _us(lease), "updated_at": now}
        if progress is not None:
            change |= _progress(progress)
        return await self._while_held(claim, {"$set": change})

    async def finish(self, claim: Claim, result: Json, expires_at: int) -> bool:
        change = {"result": _text(result), "expires_at": expires_at}
        return await self._end(claim, JobState.DONE, change)

    async def fail(self, claim: Claim, error: str, expires_at: int) -> bool:
        return await self._end(claim, JobState.FAILED, {"error": error, "expires_at": expires_at})

    async def release(self, claim: Claim, delay: float, *, counted: bool = True) -> bool:
        now = self._clock()
        change: BsonMap = {"state": JobState.QUEUED.value, "lease": "", "due_at": now + _us(delay), "updated_at": now}
        return await self._while_held(claim, {"$set": change, "$inc": {"attempts": 0 if counted else -1}})

    async def cancel(self, scope: TenantScope, job_id: str, expires_at: int) -> Job | None:
        own = {"_id": job_id, "tenant_id": scope.tenant_id}
        change = {"state": JobState.CANCELLED.value, "lease": "", "expires_at": expires_at, "updated_at": self._clock()}
        with store_calls():
            await self._jobs.update_one(own | {"state": {"$in": _ACTIVE}}, {"$set": change, "$unset": {"due_at": ""}})
            await self._jobs.update_one(own | {"state": {"$in": _ENDED}}, {"$set": {"expires_at": expires_at}})
        return await self.get(scope, job_id)

    async def retry(self, scope: TenantScope, job_id: str, expires_at: int) -> Job | None:
        now = self._clock()
        failed = {"_id": job_id, "tenant_id": scope.tenant_id, "state": JobState.FAILED.value}
        change = {"state": JobState.QUEUED.value, "due_at": now, "attempts": 0, "error": None, "updated_at": now}
        with store_calls():
            update = {"$set": change | {"expires_at": expires_at, "lease": ""}}
            changed = (await self._jobs.update_one(failed, update)).modified_count == 1
        job = await self.get(scope, job_id)
        if job is not None and not changed:
            raise Conflict(f"the job is {job.state.value}; only a failed one is run again", code="job_not_failed")
        return job

    async def expired(self, now: int, limit: int) -> list[Job]:
        asked = {"expires_at": {"$gte": 0, "$lt": now + 1}, "state": {"$in": _ENDED}}
        with store_calls():
            found = await self._jobs.find(asked).sort([("expires_at", 1)]).limit(limit).to_list(None)
        return [_job(document) for document in found]

    async def remove(self, job: Job) -> None:
        with store_calls():
            await self._jobs.delete_one({"_id": job.id, "tenant_id": job.tenant_id, "state": {"$in": _ENDED}})

    async def _end(self, claim: Claim, state: JobState, change: BsonMap) -> bool:
        ended = {"state": state.value, "lease": "", "updated_at": self._clock()}
        return await self._while_held(claim, {"$set": change | ended, "$unset": {"due_at": ""}})

    async def _while_held(self, claim: Claim, change: BsonMap) -> bool:
        with store_calls():
            held = {"_id": claim.job.id, "lease": claim.token}
            return (await self._jobs.update_one(held, change)).matched_count == 1


def _document(job: Job) -> BsonMap:
    return {
        "_id": job.id,
        "tenant_id": job.tenant_id,
        "kind": job.kind,
        "spec": _text(job.spec),
        "asked_by": job.asked_by,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "expires_at": job.expires_at,
        "lease": "",
        "state": job.state.value,
        "result": _text(job.result),
        "error": job.error,
        "attempts": job.attempts,
        **({"due_at": job.created_at} if job.state.active else {}),
        **_progress(job.progress),
    }


def _job(document: BsonMap) -> Job:
    return Job(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        kind=document["kind"],
        spec=_decode(document["spec"]),
        asked_by=document["asked_by"],
        created_at=int(document["created_at"]),
        updated_at=int(document["updated_at"]),
        expires_at=int(document["expires_at"]),
        state=JobState(document["state"]),
        progress=Progress(
            int(document["done"]),
            None if document["total"] is None else int(document["total"]),
            _json(document["checkpoint"]),
        ),
        result=_json(document["result"]),
        error=document["error"],
        attempts=int(document["attempts"]),
    )


def _progress(progress: Progress) -> BsonMap:
    return {"done": progress.done, "total": progress.total, "checkpoint": _text(progress.checkpoint)}


def _text(value: Json | None) -> str | None:
    return None if value is None else _encode(value).decode()


def _json(text: str | None) -> Json | None:
    return None if text is None else _decode(text)


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)
