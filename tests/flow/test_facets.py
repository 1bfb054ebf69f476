"""Declaring facets over HTTP: what is answered, what is refused, and that events are indexed with them."""

from __future__ import annotations

from typing import Any

import pytest

from core.access import Role
from core.facets import SLOTS
from tests.service import Client, Service

AMOUNT = {"name": "amount", "path": "metadata.order.amount", "type": "number"}
CUSTOMER = {"name": "customer", "path": "metadata.customer", "type": "keyword"}


def test_a_declaration_is_read_back_and_replaces_the_one_before(running: Service) -> None:
    admin = running.tenant()
    reader = running.client(admin.tenant, Role.READER)
    limits = {kind.value: len(slots) for kind, slots in SLOTS.items()}
    assert reader.get("/facets").json() == {"facets": [], "limits": limits}
    answer = admin.put("/facets", json={"facets": [CUSTOMER, AMOUNT]})
    assert (answer.status_code, answer.json()) == (200, {"facets": [AMOUNT, CUSTOMER], "limits": limits})
    assert reader.get("/facets").json() == answer.json()
    assert admin.put("/facets", json={"facets": [CUSTOMER]}).json()["facets"] == [CUSTOMER]
    assert reader.get("/facets").json()["facets"] == [CUSTOMER]
    assert admin.put("/facets", json={"facets": []}).json()["facets"] == []


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "facets"]),
        ({"facets": [AMOUNT | {"type": "text"}]}, ["body", "facets", 0, "type"]),
        ({"facets": [AMOUNT | {"slot": "kw_00"}]}, ["body", "facets", 0, "slot"]),
        ({"facets": [CUSTOMER, AMOUNT | {"name": "Bad name"}]}, ["body", "facets", 1, "name"]),
        ({"facets": [CUSTOMER, AMOUNT | {"path": "user_id"}]}, ["body", "facets", 1, "path"]),
        ({"facets": [CUSTOMER, CUSTOMER]}, ["body", "facets", 1, "name"]),
        ({"facets": [AMOUNT | {"name": f"n{n}"} for n in range(17)]}, ["body", "facets"]),
        ({"facets": [AMOUNT] * 100}, ["body", "facets"]),
        ({"facets": None}, ["body", "facets"]),
    ],
)
def test_a_bad_declaration_names_its_fault_and_changes_nothing(tenant: Client, body: Any, loc: list[Any]) -> None:
    answer = tenant.put("/facets", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["loc"] == loc
    assert tenant.get("/facets").json()["facets"] == []


def test_a_body_that_is_none_is_refused(tenant: Client) -> None:
    for content, kind, status in (
        (b"", "application/json", 422),
        (b"[", "application/json", 422),
        (b"facets=1", "application/x-www-form-urlencoded", 415),
        (b" " * 70_000, "application/json", 413),
    ):
        answer = tenant.put("/facets", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status, answer.text
