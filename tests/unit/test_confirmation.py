"""A call that destroys something does so when it is told so, literally, and not by what could be read that way."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import api.schemas


def with_dry_run() -> Iterator[type[BaseModel]]:
    for module in pkgutil.iter_modules(api.schemas.__path__):
        found = vars(importlib.import_module(f"api.schemas.{module.name}")).values()
        yield from (
            each
            for each in found
            if isinstance(each, type)
            and issubclass(each, BaseModel)
            and each.__name__.endswith("In")
            and "dry_run" in each.model_fields
        )


BODIES = sorted(set(with_dry_run()), key=lambda each: each.__name__)
NEEDED: dict[str, dict[str, Any]] = {"FixIn": {"ids": ["a"], "mapping": []}, "DiscardIn": {"ids": ["a"]}}


def test_the_bodies_are_found() -> None:
    assert {each.__name__ for each in BODIES} >= {"DiscardIn", "FixIn", "ReconcileIn"}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("said", ["false", "no", "off", "f", "0", 0, 0.0, "", None, []])
def test_only_false_itself_is_a_confirmation(body: type[BaseModel], said: Any) -> None:
    with pytest.raises(ValidationError, match="dry_run"):
        body.model_validate({**NEEDED.get(body.__name__, {}), "dry_run": said})


@pytest.mark.parametrize("body", BODIES)
def test_false_is_one(body: type[BaseModel]) -> None:
    read = body.model_validate({**NEEDED.get(body.__name__, {}), "dry_run": False})
    assert read.model_dump()["dry_run"] is False
