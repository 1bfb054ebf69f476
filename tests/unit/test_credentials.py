"""API keys: secrets that scanners know, kept as digests, replaced and revoked whatever else happens at once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import accounts, credentials, instant
from core.errors import Conflict, Overloaded, Unauthenticated, Unavailable
from core.ports import ApiKey, Keys
from core.tenant import Tenant, TenantScope, for_system

TENANT = Tenant("acme0001", "Acme", b"s" * 32, 0)
SCOPE = for_system(TENANT.id, "test")
DAY = 86_400


class Memory:
    """`Keys`, and what of `Control` a key needs."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.revoked: dict[str, int | None] = {}
        self.uses: list[str] = []
        self.meanwhile: list[ApiKey] = []
        """What another makes of the key right before a change."""
        self.down = False

    async def create(self, key: ApiKey) -> None:
        self.keys[key.id] = key

    async def find(self, key_id: str) -> ApiKey | None:
        return self.keys.get(key_id)

    async def get(self, scope: TenantScope, key_id: str) -> ApiKey | None:
        return self.keys.get(key_id)

    async def count(self, scope: TenantScope) -> int:
        return len(self.keys)

    async def replace(self, scope: TenantScope, old: ApiKey, new: ApiKey) -> bool:
        if self.meanwhile:
            self.keys[old.id] = self.meanwhile.pop(0)
        if self.keys[old.id].version != old.version:
            return False
        self.keys[old.id] = replace(new, version=old.version + 1)
        return True

    async def used(self, key_id: str, at: int) -> None:
        if self.down:
            raise Unavailable("store")
        self.uses.append(key_id)
        self.keys[key_id] = replace(self.keys[key_id], used_at=at)

    async def revoke(self, name: str, at: int, *, expires_at: int | None = None) -> None:
        if self.down:
            raise Unavailable("store")
        self.revoked[name] = expires_at


@pytest.fixture
def memory() -> Any:
    return Memory()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The moment, which tests move."""
    at = [instant.now_us()]
    monkeypatch.setattr("core.instant.now_us", lambda: at[0])
    return at


async def made(keys: Keys, **more: Any) -> tuple[ApiKey, str]:
    return await credentials.create_key(keys, TENANT, "ci", ("writer",), **more)


async def works(keys: Keys, key: ApiKey, secret: str) -> bool:
    try:
        await credentials.authenticate(keys, key.id, secret)
    except Unauthenticated:
        return False
    return True


def test_a_secret_has_the_published_form_and_a_checksum() -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")
    published = [re.compile(pattern) for pattern in re.findall(r"^    (\\b.+)$", page, re.MULTILINE)]
    assert len(published) == 2
    seen = {credentials.new_secret() for _ in range(200)}
    assert len(seen) == 200
    for secret in seen:
        assert credentials.is_secret(secret)
        assert [found.group() for found in published[0].finditer(f'{{"secret": "{secret}"}}, {secret}.')] == [
            secret
        ] * 2
        assert not published[0].search(f"x{secret}")
        assert not published[0].search(f"{secret}x")
    assert published[1].fullmatch("ock_00064df1c2a3b4006c1f0a9b")


def test_the_checksum_is_the_published_one() -> None:
    """Computed by hand from the page's words: CRC-32 of the 43 characters, base 62, 0-9 A-Z a-z."""
    assert credentials.is_secret("ocs_" + "0" * 43 + "2CZclj")
    import zlib

    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    value = 0
    for character in "2CZclj":
        value = value * 62 + digits.index(character)
    assert value == zlib.crc32(b"0" * 43)


@given(st.integers(0, 48), st.sampled_from("0Aaz9"))
def test_a_changed_secret_is_none(place: int, put: str) -> None:
    secret = credentials.new_secret()
    at = len("ocs_") + place
    changed = secret[:at] + put + secret[at + 1 :]
    assert credentials.is_secret(changed) == (changed == secret)


@pytest.mark.parametrize("text", ["", "ocs_", "ocs_" + "é" * 49, "ocs_" + "0" * 49 + "\n", "OCS_" + "0" * 49])
def test_what_is_no_secret(text: str) -> None:
    assert not credentials.is_secret(text)


async def test_a_secret_is_shown_once_and_never_kept(memory: Any) -> None:
    key, secret = await made(memory)
    assert credentials.KEY_ID.fullmatch(key.id)
    assert secret not in repr(vars(memory))
    assert secret.encode() not in key.secrets[0].hash
    assert (await credentials.authenticate(memory, key.id, secret))[0].id == key.id
    for key_id, wrong in (
        (key.id, secret + "x"), (key.id, ""), ("ock_x", secret), (key.id, "\ud800"), ("", ""), (key.id, secret.upper()),
        (key.id + "\n", secret), (key.id, key.secrets[0].hash.hex()),
    ):  # fmt: skip
        with pytest.raises(Unauthenticated) as refused:
            await credentials.authenticate(memory, key_id, wrong)
        assert refused.value.code == "invalid_client"


async def test_a_key_that_has_ended_is_refused_as_a_wrong_one_is(memory: Any, now: list[int]) -> None:
    key, secret = await made(memory, expires_at=now[0] + 1)
    assert await works(memory, key, secret)
    now[0] += 1
    assert not await works(memory, key, secret)
    key, secret = await made(memory)
    memory.keys[key.id] = replace(key, revoked_at=now[0])
    assert not await works(memory, key, secret)


async def test_use_is_noted_each_minute_and_never_in_the_way(memory: Any, now: list[int]) -> None:
    key, secret = await made(memory)
    memory.down = True
    assert await works(memory, key, secret)
    memory.down = False
    for _ in range(3):
        assert await works(memory, key, secret)
    assert memory.uses == [key.id]
    now[0] += 61_000_000
    assert await works(memory, key, secret)
    assert memory.uses == [key.id, key.id]


async def test_the_old_secret_works_for_the_overlap_and_no_longer(memory: Any, now: list[int]) -> None:
    key, first = await made(memory)
    key, second = await credentials.rotate(memory, memory, SCOPE, key, DAY)
    assert (await works(memory, key, first), await works(memory, key, second)) == (True, True)
    now[0] += (DAY - 10) * 1_000_000
    key, third = await credentials.rotate(memory, memory, SCOPE, key, 20)
    # What was promised for the first does not grow, and what is left of it is not cut.
    now[0] += 9_999_999
    assert [await works(memory, key, s) for s in (first, second, third)] == [True, True, True]
    now[0] += 1
    assert [await works(memory, key, s) for s in (first, second, third)] == [False, True, True]
    now[0] += 10_000_000
    assert [await works(memory, key, s) for s in (first, second, third)] == [False, False, True]
    assert memory.revoked == {}
    assert [each.number for each in memory.keys[key.id].secrets] == [1, 2, 3]
    key, _ = await credentials.rotate(memory, memory, SCOPE, key, 5)
    assert [each.number for each in key.secrets] == [3, 4]


async def test_without_an_overlap_what_was_issued_ends_too(memory: Any, now: list[int]) -> None:
    key, first = await made(memory)
    key, second = await credentials.rotate(memory, memory, SCOPE, key, DAY)
    key, third = await credentials.rotate(memory, memory, SCOPE, key, 0)
    assert [await works(memory, key, s) for s in (first, second, third)] == [False, False, True]
    assert set(memory.revoked) == {key.secret_name(1), key.secret_name(2)}
    # No token outlives a day.
    assert all(end is not None and end >= now[0] + 86_400_000_000 for end in memory.revoked.values())


async def test_a_rotation_that_ended_half_way_is_made_good_by_the_next(memory: Any) -> None:
    key, _ = await made(memory)
    memory.down = True
    with pytest.raises(Unavailable):
        await credentials.rotate(memory, memory, SCOPE, key, 0)
    memory.down = False
    key, secret = await credentials.rotate(memory, memory, SCOPE, memory.keys[key.id], 0)
    assert {key.secret_name(1), key.secret_name(2)} <= set(memory.revoked)
    assert key.secret_name(3) not in memory.revoked
    assert await works(memory, key, secret)


async def test_overlaps_do_not_pile_up(memory: Any) -> None:
    key, _ = await made(memory)
    for _ in range(credentials.MAX_SECRETS - 1):
        key, _ = await credentials.rotate(memory, memory, SCOPE, key, DAY)
    with pytest.raises(Conflict):
        await credentials.rotate(memory, memory, SCOPE, key, DAY)
    key, secret = await credentials.rotate(memory, memory, SCOPE, key, 0)
    assert await works(memory, key, secret)


async def test_two_who_rotate_at_once_both_get_a_secret_that_works(memory: Any) -> None:
    key, _ = await made(memory)
    other, others = await credentials.rotate(memory, memory, SCOPE, key, DAY)
    memory.keys[key.id] = key
    memory.meanwhile = [other]
    key, own = await credentials.rotate(memory, memory, SCOPE, key, DAY)
    assert (await works(memory, key, own), await works(memory, key, others)) == (True, True)
    assert [each.number for each in key.secrets] == [1, 2, 3]


async def test_a_key_revoked_meanwhile_gets_no_new_secret(memory: Any) -> None:
    key, _ = await made(memory)
    for work in (
        lambda: credentials.rotate(memory, memory, SCOPE, key, 0),
        lambda: credentials.change(memory, SCOPE, key, name="x", networks=None),
    ):
        memory.keys[key.id] = key
        memory.meanwhile = [replace(key, revoked_at=1, version=1)]
        with pytest.raises(Conflict) as refused:
            await work()
        assert refused.value.code == "key_revoked"
    assert memory.keys[key.id].revoked_at == 1


async def test_one_that_others_change_all_the_time_is_given_up(memory: Any) -> None:
    key, _ = await made(memory)
    memory.meanwhile = [replace(key, version=n) for n in range(1, 20)]
    with pytest.raises(Overloaded):
        await credentials.change(memory, SCOPE, key, name="x", networks=None)


async def test_revoking_is_for_good_and_may_be_done_again(memory: Any, now: list[int]) -> None:
    key, secret = await made(memory)
    memory.down = True
    with pytest.raises(Unavailable):
        await credentials.revoke(memory, memory, SCOPE, key)
    memory.down = False
    assert not await works(memory, key, secret)
    at = now[0]
    now[0] += 5
    await credentials.revoke(memory, memory, SCOPE, memory.keys[key.id])
    assert set(memory.revoked) == {key.subject}
    assert memory.keys[key.id].revoked_at == at


async def test_a_change_says_what_changes(memory: Any) -> None:
    key, _ = await made(memory, networks=("10.0.0.0/8",))
    key = await credentials.change(memory, SCOPE, key, name="other", networks=None)
    assert (key.name, key.networks, memory.keys[key.id]) == ("other", ("10.0.0.0/8",), key)
    key = await credentials.change(memory, SCOPE, key, name=None, networks=())
    assert (key.name, key.networks) == ("other", ())


async def test_a_tenant_has_no_more_keys_than_it_may(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MAX_KEYS", 2)
    for _ in range(2):
        await credentials.check_room(memory, SCOPE)
        await made(memory)
    with pytest.raises(Conflict) as refused:
        await credentials.check_room(memory, SCOPE)
    assert refused.value.code == "too_many_keys"


async def test_a_token_lives_no_longer_than_its_key(memory: Any, now: list[int]) -> None:
    key, _ = await made(memory)
    assert credentials.lifetime(key, 900) == 900
    key, _ = await made(memory, expires_at=now[0] + 60_000_000)
    assert credentials.lifetime(key, 900) == 60


async def test_tenants_have_secrets_of_their_own_that_are_not_shown() -> None:
    class Control:
        async def create_tenant(self, tenant: Tenant) -> None:
            pass

    control: Any = Control()
    tenants = [await accounts.create_tenant(control, "same name") for _ in range(20)]
    assert len({tenant.id for tenant in tenants}) == len({tenant.secret for tenant in tenants}) == 20
    assert all(len(tenant.secret) == 32 and "secret" not in repr(tenant) for tenant in tenants)
