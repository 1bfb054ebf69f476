"""Exports made in the background: asked for, looked at, cancelled, and fetched by a signed link."""

from __future__ import annotations

import base64
import re
import time
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import PREFIX, audit
from api.auth import Access
from api.exports import StreamedFile, released_on_error
from api.filters import search_of
from api.openapi import answer, body_of, example_of, needs, problems
from api.routes.jobs import find_job, job_out, new_job
from api.routes.searching import read_json, refuse_parameters
from api.schemas.jobs import DownloadOut, ExportIn, ExportOut, ExportsOut
from api.state import State, state_of
from core import instant
from core.access import Permission, Role
from core.errors import FieldError, Invalid, InvalidQuery, NotFound, Unset
from core.export import links
from core.export.formats import FORMATS
from core.export.packing import PACKINGS
from core.export.saved import Checkpoint, checkpoint_of, folder_of
from core.jobs import EXPORT, Job, JobState, Progress
from core.query import strict_json
from core.query.parameters import limit_of
from core.tenant import Claims, from_token

router = APIRouter(tags=["exports"])
_MEMBERS: Final = ("format", "packing", "search")
_GRACE_US: Final = 120_000_000
"""What a cancelled job's runner may take to stop; its files are removed after that."""
_EXAMPLE: Final[dict[str, Any]] = example_of(ExportOut)
_QUEUED: Final = _EXAMPLE | {
    "state": "queued",
    "done": 0,
    "total": None,
    "result": None,
    "attempts": 0,
    "download": None,
}
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
_TYPES: Final = {"gzip": "application/gzip", "zstd": "application/zstd"}
_LIMIT: Final = 100
_LIST_PARAMETERS: Final = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": _LIMIT}},
    {"name": "cursor", "in": "query", "schema": {"type": "string"}, "description": "`next_cursor` of the page before."},
]


@router.post(
    "/exports",
    status_code=202,
    response_model=ExportOut,
    summary="Start an export",
    description="Makes the file of `GET /logs/export` in the background and keeps it for a while. Poll the "
    "answer's id; when the export is done it has a link to the file.",
    responses={**answer(202, _QUEUED), **problems(400, 401, 403, 408, 413, 415, 429, 503)},
    openapi_extra={**needs(Permission.READ), "requestBody": body_of(ExportIn)},
)
async def start_export(request: Request) -> ExportOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    refuse_parameters(request)
    if state.settings.archive_url is None:
        raise Unset("archive", "ARCHIVE_URL")
    spec, wanted = _wanted(await read_json(request))
    job = new_job(state, access, EXPORT, spec, Progress(checkpoint=wanted.json()))
    await state.backends.jobs.create(job, max_active=state.settings.max_tenant_jobs)
    return _export_out(state, access, job)


@router.get(
    "/exports",
    response_model=ExportsOut,
    summary="List the exports",
    description="The newest first, those whose files have expired left out.",
    responses={**answer(200, {"data": [_EXAMPLE], "next_cursor": None}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": _LIST_PARAMETERS},
)
async def list_exports(request: Request) -> ExportsOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    given = dict(request.query_params.multi_items())
    for name in given.keys() - {"limit", "cursor"}:
        raise InvalidQuery(
            f"{name} is no parameter of a list", errors=[FieldError(("query", name), "is unknown", "unknown_parameter")]
        )
    limit = limit_of(given.get("limit", str(_LIMIT)))
    jobs = await state.backends.jobs.listing(access.scope, EXPORT, before=given.get("cursor"), limit=limit + 1)
    shown = [_export_out(state, access, job) for job in jobs[:limit] if not _is_gone(job)]
    return ExportsOut(data=shown, next_cursor=jobs[limit - 1].id if len(jobs) > limit else None)


@router.get(
    "/exports/{export_id}",
    response_model=ExportOut,
    summary="Read an export",
    description="How far it is; once it is done, its size and checksum and a link that is good for 15 minutes.",
    responses={**answer(200, _EXAMPLE), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.READ),
)
async def read_export(request: Request, export_id: str) -> ExportOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    return _export_out(state, access, await _find(state, access, export_id))


@router.delete(
    "/exports/{export_id}",
    status_code=204,
    response_class=Response,
    summary="Cancel or remove an export",
    description="One under way is cancelled, the file of one that has ended is removed; its links are dead at once.",
    responses={204: {"description": "Done"}, **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.READ),
)
async def remove_export(request: Request, export_id: str) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    job = await _find(state, access, export_id)
    now = instant.now_us()
    if job.state.active:
        job = await state.backends.jobs.cancel(access.scope, job.id, now + _GRACE_US) or job
    if job.state is not JobState.CANCELLED:
        await state.backends.jobs.cancel(access.scope, job.id, now)
        await state.backends.archive.remove(folder_of(job))
    return Response(status_code=204)


@router.get(
    "/downloads/{link}",
    response_class=Response,
    summary="Fetch an export's file",
    description="By the link that reading the export gave; no token is needed. `Range` is understood, so that a "
    "download that broke off can go on; `Repr-Digest` is the file's SHA-256.",
    responses={
        **answer(200, "the file's bytes", "application/octet-stream"),
        206: {"description": "The part that was asked for"},
        **problems(401, 403, 404, 416, 429, 503),
    },
    openapi_extra=needs(None),
)
async def download(request: Request, link: str) -> Response:
    state = state_of(request)
    access, job = await _by_link(state, request, link)
    file = checkpoint_of(job).file
    if file is None or job.result is None:
        raise NotFound("no such file")
    form, packing = job.spec["format"], job.spec.get("packing")
    etag = f'"{file.sha256}"'
    headers = {
        "Content-Type": _TYPES[packing] if packing else FORMATS[form].media_type,
        "Content-Disposition": f'attachment; filename="{job.result["file_name"]}"',
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
        # Packed on its way, it could not be gone on with.
        "Cache-Control": "no-store, no-transform",
    }
    asked = _range(request, etag, file.size)
    if asked is not None and asked[0] >= asked[1]:
        raise Invalid("the file ends before that", code="bad_range")
    start, end = asked or (0, file.size)
    headers["Content-Length"] = str(end - start)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    release = state.export_slots.take(access.tenant.id)
    with released_on_error(release):
        if await state.backends.archive.size(file.name) != file.size:
            raise NotFound("no such file")
        data = state.backends.archive.read(file.name, start, end)
        return StreamedFile(
            data,
            headers,
            check=lambda: state.authenticator.recheck(request, access, Permission.READ),
            release=release,
            status=206 if asked else 200,
        )


async def _by_link(state: State, request: Request, text: str) -> tuple[Access, Job]:
    """The export that a good link is for; the link stands for a reader's token."""
    claimed = links.claimed(text)
    tenant = await state.snapshots.tenant(claimed.tenant_id)
    if tenant is None:
        raise links.bad_link()
    link = links.verify(tenant, text, int(time.time()))
    claims = Claims(
        f"link:{link.job_id}", tenant.id, frozenset({Role.READER}), "", 0, link.expires_at, maker=link.given_to
    )
    audit.seen(claims)
    audit.known(tenant)
    access = Access(from_token(claims, tenant), tenant, claims)
    state.authenticator.recheck(request, access, Permission.READ)
    job = await _find(state, access, link.job_id)
    audit.counted(job.progress.done)
    await audit.granted()
    return access, job


async def _find(state: State, access: Access, export_id: str) -> Job:
    job = await find_job(state, access.scope, export_id, EXPORT)
    if _is_gone(job):
        raise NotFound("no such job")
    return job


def _is_gone(job: Job) -> bool:
    return not job.state.active and job.expires_at <= instant.now_us()


def _export_out(state: State, access: Access, job: Job) -> ExportOut:
    download = None
    if job.state is JobState.DONE:
        expires = min(int(time.time()) + links.LINK_SECONDS, job.expires_at // 1_000_000)
        path = f"{PREFIX}/downloads/{links.seal(access.tenant, job.id, expires, access.scope.actor)}"
        url = (state.settings.public_url or "").rstrip("/") + path
        download = DownloadOut(url=url, expires_at=instant.to_text(expires * 1_000_000))
    return ExportOut(**job_out(job).model_dump(), download=download)


def _wanted(body: bytes) -> tuple[dict[str, Any], Checkpoint]:
    """What the body asks for, as it was written and as it is understood; raises `InvalidQuery`."""
    asked = strict_json.read(body)
    if not isinstance(asked, dict):
        raise _fault((), "the body must be an object")
    for name in asked:
        if name not in _MEMBERS:
            raise _fault((name,), f"is none of {', '.join(_MEMBERS)}", "unknown_parameter")
    form, packing, search = asked.get("format", "ndjson"), asked.get("packing"), asked.get("search", {})
    if not isinstance(form, str) or form not in FORMATS:
        raise _fault(("format",), f"must be one of {', '.join(FORMATS)}")
    if packing is not None and (not isinstance(packing, str) or packing not in PACKINGS or form == "parquet"):
        raise _fault(("packing",), f"must be one of {', '.join(PACKINGS)}, and is none for parquet")
    page = search_of(search)
    spec = {"format": str(form), "packing": packing and str(packing), "search": strict_json.plain(search)}
    return spec, Checkpoint(query=page.query)


def _range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """The bytes that a `Range` asks for, start to end exclusive; None for the whole file (RFC 9110, section 14)."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or request.headers.get("if-range", etag) != etag:
        return None
    last = int(found[2]) if found[2] else size - 1
    if last < int(found[1]):
        return (size, size) if not found[2] else None
    return int(found[1]), min(size, last + 1)


def _fault(place: tuple[str | int, ...], message: str, kind: str = "parameter") -> InvalidQuery:
    where = ".".join(map(str, place))
    return InvalidQuery(f"{where} {message}".strip(), errors=[FieldError(place, message, kind)])
