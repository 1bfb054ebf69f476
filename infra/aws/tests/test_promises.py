"""Every promise of the infrastructure holds in both stages, and its check finds what is planted against it."""

from __future__ import annotations

import pytest

from infra.aws.tests import of_data, of_pipeline, of_service
from infra.aws.tests.promises import PROMISES, Plant, Promise
from infra.aws.tests.templates import Templates

assert of_data
assert of_pipeline
assert of_service


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)
def test_a_promise_holds(promise: Promise, templates: Templates) -> None:
    promise.check(templates)


@pytest.mark.parametrize(
    ("promise", "plant"),
    [
        pytest.param(promise, plant, id=f"{promise.name}-{number}")
        for promise in PROMISES
        for number, plant in enumerate(promise.plants)
    ],
)
def test_what_breaks_a_promise_is_found(promise: Promise, plant: Plant, templates: Templates) -> None:
    faulty = templates.copy()
    plant(faulty)
    with pytest.raises((AssertionError, KeyError)):
        promise.check(faulty)
