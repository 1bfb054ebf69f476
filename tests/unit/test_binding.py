"""Beanie documents are bound again and again, each time by a class of its own."""

from __future__ import annotations

import warnings

import pytest
from beanie import init_beanie
from mongomock_motor import AsyncMongoMockClient
from pydantic import ValidationError

from core.adapters.store.binding import own
from core.adapters.store.documents import RevocationDocument, TenantDocument


async def test_binding_again_changes_no_field_and_warns_of_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            revocations, tenants = own(RevocationDocument), own(TenantDocument)
            await init_beanie(database=AsyncMongoMockClient()["test"], document_models=[revocations, tenants])
    assert revocations(id="k", at=1).expires_at is None
    with pytest.raises(ValidationError, match="at"):
        revocations(id="k")  # type: ignore[call-arg]
