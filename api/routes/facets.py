"""The facets of a tenant: what of its free-form data can be counted, grouped and compared."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.schemas.facets import FacetIn, FacetsIn, FacetsOut
from api.state import state_of
from core.access import Permission
from core.errors import NotFound
from core.facet_source import redeclare
from core.facets import SLOTS, Declared, Facets

router = APIRouter(prefix="/facets", tags=["facets"])
_MAX_BODY_BYTES = 64 * 1024


@router.get(
    "",
    response_model=FacetsOut,
    summary="The facets",
    description="The paths into free-form data that are declared as facets.",
    responses={**answer(200, example_of(FacetsOut)), **problems(401, 403, 503)},
    openapi_extra=needs(Permission.READ),
)
async def read_facets(request: Request) -> FacetsOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    # From the record itself: the snapshot may be older than the caller's own declaration.
    tenant = await state.backends.control.tenant(access.tenant.id)
    if tenant is None:
        raise NotFound("no such tenant")
    return _out(tenant.facets)


@router.put(
    "",
    response_model=FacetsOut,
    summary="Declare the facets",
    description="Replaces them all. Events accepted a few seconds later are indexed with them; for those before, "
    "rebuild the index. A value that does not fit a facet's type is left out of it and costs the event nothing.",
    responses={**answer(200, example_of(FacetsOut)), **problems(400, 401, 403, 408, 409, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(FacetsIn)},
)
async def declare_facets(request: Request) -> FacetsOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    body = await read_body(request, FacetsIn, _MAX_BODY_BYTES)
    asked = [Declared(facet.name, facet.path, facet.type) for facet in body.facets]
    return _out(await redeclare(state.backends.control, access.tenant.id, asked))


def _out(facets: Facets) -> FacetsOut:
    return FacetsOut(
        facets=[FacetIn(name=facet.name, path=facet.path, type=facet.type) for facet in facets.all],
        limits={kind: len(slots) for kind, slots in SLOTS.items()},
    )
