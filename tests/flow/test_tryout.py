"""The Postman collection and the `.http` file, run request by request: each is answered as its file says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from core.access import Role
from infra.tryout.runner import Ran, run_http, run_postman
from tests.service import ROOT, Client, Service

FILES = {"ocelot.postman_collection.json": run_postman, "ocelot.http": run_http}


@pytest.fixture
def facts(running: Service, tenant: Client) -> dict[str, str]:
    """What `make dev` writes into dev.json."""
    platform = running.client(None, Role.PLATFORM)
    assert tenant.token is not None
    assert platform.token is not None
    return {"api_url": running.url, "token": tenant.token, "platform_token": platform.token}


@pytest.mark.parametrize("name", FILES)
def test_every_request_is_answered_as_its_file_says(facts: dict[str, str], name: str) -> None:
    runner: Callable[[str, Mapping[str, str]], Iterator[Ran]] = FILES[name]
    text = (Path(ROOT) / "docs" / name).read_text(encoding="utf-8")
    for _ in range(2):  # who tries once tries again, in the same log
        ran = list(runner(text, facts))
        assert [(one.name, one.expected, one.status, one.text) for one in ran if not one.good] == []
        assert len(ran) >= 17


@pytest.mark.parametrize("name", FILES)
def test_a_request_that_is_answered_otherwise_is_seen(facts: dict[str, str], name: str) -> None:
    text = (Path(ROOT) / "docs" / name).read_text(encoding="utf-8")
    ran = list(FILES[name](text, facts | {"platform_token": facts["token"]}))
    refused = {one.name for one in ran if not one.good}
    assert "Create a tenant" in refused
    assert "Send one event" not in refused
