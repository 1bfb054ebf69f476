"""Control records as Beanie documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Final

from beanie import Document
from pydantic import BaseModel, model_validator
from pymongo import ASCENDING

from core.access import Permission
from core.facets import Facet, Facets, FacetType
from core.placement import Period, Placement
from core.ports import SavedSearch
from core.tenant import Tenant, TenantStatus
from core.tenant_settings import DEFAULT_RETENTION_DAYS, AccessAudit, MaskAction, MaskBy, MaskingRule, Quotas


class PlacementRecord(BaseModel):
    since: int
    period: Period


class FacetRecord(BaseModel):
    name: str
    path: str
    type: FacetType
    slot: str
    serial: int


class QuotasRecord(BaseModel):
    requests_per_second: int | None = None
    events_per_second: int | None = None
    bytes_per_second: int | None = None
    requests_per_day: int | None = None
    events_per_day: int | None = None
    bytes_per_day: int | None = None


class MaskingRecord(BaseModel):
    by: MaskBy
    match: str
    action: MaskAction


_PERMISSIONS: Final = frozenset(permission.value for permission in Permission)
_BEFORE: Final[dict[str, Any]] = {
    "facets": (),
    "facet_serial": 0,
    "permission_sets": {},
    "retention_days": DEFAULT_RETENTION_DAYS,
    "quotas": {},
    "masking": (),
    "access_audit": AccessAudit.STRICT,
    "quarantine": False,
    "revision": 0,
}
"""What a tenant's record lacks that was made before there were these fields."""


class TenantDocument(Document):
    id: str  # type: ignore[assignment]
    name: str
    secret: bytes
    created_at: int
    status: TenantStatus
    placements: list[PlacementRecord]
    facets: tuple[FacetRecord, ...]
    facet_serial: int
    permission_sets: dict[str, list[str]]
    retention_days: int
    quotas: QuotasRecord
    masking: tuple[MaskingRecord, ...]
    access_audit: AccessAudit
    quarantine: bool
    revision: int

    class Settings:
        name = "tenants"

    @model_validator(mode="before")
    @classmethod
    def _from_before(cls, record: Any) -> Any:
        """No defaults do this: on a class that Beanie has bound once, it puts expressions in their place."""
        return {**_BEFORE, **record} if isinstance(record, dict) else record

    @classmethod
    def of(cls, tenant: Tenant) -> TenantDocument:
        return cls(
            id=tenant.id,
            name=tenant.name,
            secret=tenant.secret,
            created_at=tenant.created_at,
            status=tenant.status,
            placements=[PlacementRecord(since=p.since, period=p.period) for p in tenant.placements],
            facets=facet_records(tenant.facets),
            facet_serial=tenant.facets.serial,
            permission_sets={name: sorted(held) for name, held in tenant.permission_sets.items()},
            retention_days=tenant.retention_days,
            quotas=QuotasRecord(**asdict(tenant.quotas)),
            masking=tuple(MaskingRecord(by=r.by, match=r.match, action=r.action) for r in tenant.masking),
            access_audit=tenant.access_audit,
            quarantine=tenant.quarantine,
            revision=tenant.revision,
        )

    def tenant(self) -> Tenant:
        return Tenant(
            id=self.id,
            name=self.name,
            secret=bytes(self.secret),
            created_at=self.created_at,
            status=self.status,
            placements=tuple(Placement(p.since, p.period) for p in self.placements),
            facets=facets_of(self.facets, self.facet_serial),
            permission_sets=_permission_sets(self.permission_sets),
            retention_days=self.retention_days,
            quotas=Quotas(**self.quotas.model_dump()),
            masking=tuple(MaskingRule(r.by, r.match, r.action) for r in self.masking),
            access_audit=self.access_audit,
            quarantine=self.quarantine,
            revision=self.revision,
        )


def _permission_sets(records: Mapping[str, list[str]]) -> dict[str, frozenset[Permission]]:
    """Without permissions that a newer version has written and this one does not know."""
    return {name: frozenset(Permission(p) for p in held if p in _PERMISSIONS) for name, held in records.items()}


def facet_records(facets: Facets) -> tuple[FacetRecord, ...]:
    return tuple(FacetRecord(name=f.name, path=f.path, type=f.type, slot=f.slot, serial=f.serial) for f in facets.all)


def facets_of(records: Sequence[FacetRecord], serial: int) -> Facets:
    return Facets(tuple(Facet(r.name, r.path, r.type, r.slot, r.serial) for r in records), serial)


class RevocationDocument(Document):
    """A subject, a secret's name or a token's id that no longer counts; of no more use once it would have expired."""

    id: str  # type: ignore[assignment]
    at: int
    expires_at: int | None = None

    class Settings:
        name = "revocations"


class SearchDocument(Document):
    """A saved search; its query is kept as text, whatever its keys."""

    id: str  # type: ignore[assignment]
    tenant_id: str
    name: str
    query: str
    owner: str
    created_at: int
    updated_at: int

    class Settings:
        name = "searches"
        indexes: ClassVar = [[("tenant_id", ASCENDING), ("_id", ASCENDING)]]

    @classmethod
    def of(cls, search: SavedSearch) -> SearchDocument:
        return cls(**asdict(search))

    def search(self) -> SavedSearch:
        return SavedSearch(
            id=self.id,
            tenant_id=self.tenant_id,
            name=self.name,
            query=self.query,
            owner=self.owner,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )
