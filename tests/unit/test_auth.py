"""Who is let through, by a snapshot of tenants and revocations that is as new as it must be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest
from starlette.requests import Request

from api.auth import Access, Authenticator
from api.main import serve
from api.tokens import SigningKey, TokenIssuer, TokenVerifier
from core import ports
from core.access import Permission, Role
from core.errors import Forbidden, NotFound, OcelotError, Unauthenticated, Unavailable
from core.networks import Network, network
from core.ports import AccessSnapshot
from core.snapshots import Snapshots
from core.tenant import Claims, Tenant, TenantStatus, from_token

KEY = SigningKey(SigningKey.generate())
ISSUER = TokenIssuer(KEY, "ocelot", "ocelot-api")


class Control:
    """Only `snapshot`, which the authenticator needs."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.revoked: set[str] = set()
        self.networks: dict[str, tuple[Network, ...]] = {}
        self.reads = 0
        self.down = False

    async def snapshot(self) -> AccessSnapshot:
        if self.down:
            raise Unavailable("store")
        self.reads += 1
        return AccessSnapshot(dict(self.tenants), frozenset(self.revoked), dict(self.networks))

    def add(self, tenant_id: str, status: TenantStatus = TenantStatus.ACTIVE) -> None:
        self.tenants[tenant_id] = Tenant(tenant_id, "t", b"s" * 32, 0, status)


def asking(tenant_id: str | None, *roles: Role, subject: str = "key:k") -> Request:
    token = ISSUER.issue(subject=subject, tenant_id=tenant_id, roles=list(roles), lifetime=60)
    return Request({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]})


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def snapshots(control: Control) -> Snapshots:
    return Snapshots(cast("ports.Control", control))


@pytest.fixture
def authenticator(snapshots: Snapshots) -> Authenticator:
    return Authenticator(TokenVerifier(KEY, "ocelot", "ocelot-api"), snapshots)


async def test_a_tenant_made_a_moment_ago_is_found(authenticator: Authenticator, control: Control) -> None:
    control.add("aaaaaaaa")
    await authenticator.tenant_access(asking("aaaaaaaa", Role.ADMIN), Permission.READ)
    control.add("bbbbbbbb")  # right after a snapshot was read
    access = await authenticator.tenant_access(asking("bbbbbbbb", Role.ADMIN), Permission.READ)
    assert access.scope.tenant_id == access.tenant.id == "bbbbbbbb"


async def test_those_who_miss_at_once_share_a_read(snapshots: Snapshots, control: Control) -> None:
    control.add("aaaaaaaa")
    await snapshots.tenant("aaaaaaaa")
    found = await asyncio.gather(*(snapshots.tenant(f"missing{n:02}") for n in range(20)))
    assert found == [None] * 20
    assert control.reads == 2


async def test_with_the_store_down_known_tenants_go_on_and_unknown_ones_are_not_called_gone(
    authenticator: Authenticator, snapshots: Snapshots, control: Control
) -> None:
    control.add("aaaaaaaa")
    await snapshots.tenant("aaaaaaaa")
    control.down = True
    await authenticator.tenant_access(asking("aaaaaaaa", Role.READER), Permission.READ)
    with pytest.raises(Unavailable):
        await authenticator.tenant_access(asking("bbbbbbbb", Role.READER), Permission.READ)


async def test_the_refresh_goes_on_after_a_failure(
    authenticator: Authenticator, snapshots: Snapshots, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.snapshots.REFRESH_SECONDS", 0.0)
    control.add("aaaaaaaa")
    control.down = True
    task = asyncio.create_task(snapshots.refresh_forever())
    await asyncio.sleep(0.01)
    control.down = False
    control.revoked.add("key:revoked")
    async with asyncio.timeout(5):
        while not control.reads:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.claims(asking("aaaaaaaa", Role.ADMIN, subject="key:revoked"))
    assert refused.value.code == "token_revoked"


@pytest.mark.parametrize(
    ("status", "roles", "error", "code"),
    [
        (TenantStatus.SUSPENDED, [Role.ADMIN], Forbidden, "tenant_suspended"),
        (TenantStatus.DELETING, [Role.ADMIN], Unauthenticated, "tenant_gone"),
        (TenantStatus.ACTIVE, [Role.WRITER], Forbidden, "forbidden"),
    ],
)
async def test_who_may_not_read(
    authenticator: Authenticator, control: Control, status: TenantStatus, roles: list[Role],
    error: type[OcelotError], code: str,
) -> None:  # fmt: skip
    control.add("aaaaaaaa", status)
    with pytest.raises(error) as refused:
        await authenticator.tenant_access(asking("aaaaaaaa", *roles), Permission.READ)
    assert refused.value.code == code


async def test_a_tenant_is_managed_by_its_admin_and_the_platform_alone(
    authenticator: Authenticator, control: Control
) -> None:
    control.add("aaaaaaaa")
    control.add("bbbbbbbb")
    for request in (asking("aaaaaaaa", Role.ADMIN), asking(None, Role.PLATFORM)):
        access = await authenticator.managed_tenant(request, "aaaaaaaa")
        assert access.scope.tenant_id == "aaaaaaaa"
    scope = (await authenticator.managed_tenant(asking(None, Role.PLATFORM), "bbbbbbbb")).scope
    assert scope.permissions == {Permission.MANAGE, Permission.PLATFORM}
    for request, error in (
        (asking("bbbbbbbb", Role.ADMIN), NotFound),
        (asking("aaaaaaaa", Role.WRITER), Forbidden),
        (asking("aaaaaaaa", Role.READER), Forbidden),
    ):
        with pytest.raises(error):
            await authenticator.managed_tenant(request, "aaaaaaaa")
    with pytest.raises(NotFound):
        await authenticator.managed_tenant(asking(None, Role.PLATFORM), "cccccccc")


@pytest.mark.parametrize("key", ["no PEM SECRET", "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"])
def test_a_signing_key_that_is_none_stops_the_start_with_one_line(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OCELOT_QUEUE": "file", "MONGODB_URL": "mongodb://127.0.0.1:9", "OPENSEARCH_URL": "http://127.0.0.1:9",
        "OCELOT_SIGNING_KEY": key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as raised:
        serve()
    assert raised.value.code == "ocelot api: the signing key must be an ES256 (P-256) private key in PEM"


# Networks, and what ends while it is under way -----------------------------------------------------------------------


def from_address(address: str, *roles: Role) -> Request:
    asked = asking("aaaaaaaa", *roles)
    return Request({**asked.scope, "client": (address, 4711)})


async def test_a_keys_tokens_are_good_in_its_networks_alone(
    authenticator: Authenticator, snapshots: Snapshots, control: Control
) -> None:
    control.add("aaaaaaaa")
    control.networks = {"key:k": (network("203.0.113.0/24"),)}
    access = await authenticator.tenant_access(from_address("203.0.113.9", Role.READER), Permission.READ)
    for address in ("203.0.114.1", "::1", "unknown"):
        with pytest.raises(Forbidden) as refused:
            await authenticator.tenant_access(from_address(address, Role.READER), Permission.READ)
        assert refused.value.code == "address_not_allowed"
    with pytest.raises(Forbidden):
        await authenticator.tenant_access(asking("aaaaaaaa", Role.READER), Permission.READ)  # from nowhere known
    inside = from_address("203.0.113.9")
    authenticator.recheck(inside, access, Permission.READ)
    control.networks = {"key:k": (network("198.51.100.0/24"),)}
    await snapshots.refresh()
    with pytest.raises(Forbidden):
        authenticator.recheck(inside, access, Permission.READ)
    control.networks = {"key:other": (network("198.51.100.0/24"),)}
    await snapshots.refresh()
    authenticator.recheck(inside, access, Permission.READ)


@pytest.mark.parametrize("name", ["key:k", "key:k#2", "token"])
async def test_what_is_under_way_ends_with_any_of_the_tokens_names(
    authenticator: Authenticator, snapshots: Snapshots, control: Control, name: str
) -> None:
    control.add("aaaaaaaa")
    tenant = control.tenants["aaaaaaaa"]
    claims = Claims("key:k", tenant.id, frozenset({Role.READER}), "token", 0, 0, secret="key:k#2")
    access = Access(from_token(claims, tenant), tenant, claims)
    await snapshots.refresh()
    authenticator.recheck(asking(None), access, Permission.READ)
    control.revoked = {"key:k#1", "key:", "tok", name}
    await snapshots.refresh()
    with pytest.raises(Unauthenticated) as refused:
        authenticator.recheck(asking(None), access, Permission.READ)
    assert refused.value.code == "token_revoked"


async def test_a_permission_set_holds_as_it_is_now_and_in_its_tenant_alone(
    authenticator: Authenticator, snapshots: Snapshots, control: Control
) -> None:
    for name in ("aaaaaaaa", "bbbbbbbb"):
        control.add(name)
    sets = {"searcher": frozenset({Permission.VIEW})}
    control.tenants["aaaaaaaa"] = replace(control.tenants["aaaaaaaa"], permission_sets=sets)
    token = ISSUER.issue(subject="s", tenant_id="aaaaaaaa", roles=[], lifetime=60, sets=["searcher", "gone"])
    request = Request({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]})
    access = await authenticator.tenant_access(request, Permission.VIEW)
    assert access.scope.permissions == {Permission.VIEW}
    with pytest.raises(Forbidden):
        await authenticator.tenant_access(request, Permission.READ)
    with pytest.raises(NotFound):
        await authenticator.managed_tenant(request, "bbbbbbbb")
    control.tenants["aaaaaaaa"] = replace(control.tenants["aaaaaaaa"], permission_sets={})
    await snapshots.refresh()
    with pytest.raises(Forbidden):
        await authenticator.tenant_access(request, Permission.VIEW)
    with pytest.raises(Forbidden):
        authenticator.recheck(request, access, Permission.VIEW)


async def test_a_record_that_cannot_be_read_does_not_end_the_refreshing(
    authenticator: Authenticator, snapshots: Snapshots, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.snapshots.REFRESH_SECONDS", 0.0)
    control.add("aaaaaaaa")
    read = control.snapshot

    async def broken() -> AccessSnapshot:
        monkeypatch.setattr(control, "snapshot", read)
        raise ValueError("a record of a newer version")

    monkeypatch.setattr(control, "snapshot", broken)
    task = asyncio.create_task(snapshots.refresh_forever())
    async with asyncio.timeout(5):
        while not control.reads:
            await asyncio.sleep(0)
    task.cancel()
