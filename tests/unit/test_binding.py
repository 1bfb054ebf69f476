"""Beanie documents are bound again and again, each time by a class of its own."""

from __future__ import annotations

import warnings

import pytest
from beanie import init_beanie
from mongomock_motor import AsyncMongoMockClient
from pydantic import ValidationError

from core.adapters.store.binding import own
from core.adapters.store.documents import KeyDocument, TenantDocument


async def test_binding_again_changes_no_field_and_warns_of_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            keys, tenants = own(KeyDocument), own(TenantDocument)
            await init_beanie(database=AsyncMongoMockClient()["test"], document_models=[keys, tenants])
    key = keys(id="k", tenant_id="t", name="n", roles=[], secret_hash=b"", created_at=1)
    assert key.revoked_at is None
    with pytest.raises(ValidationError, match="tenant_id"):
        keys(id="k", name="n", roles=[], secret_hash=b"", created_at=1)  # type: ignore[call-arg]
