"""Requests that Schemathesis makes from the API's description, good ones and bad ones, and its checks of every answer.

The brief form takes the same few requests each time; `make described` makes many more, others each time.
"""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.config import CheckConfig, ChecksConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup

from api.main import create_service
from core.access import Permission, Role
from core.settings import Settings
from tests.answers import look
from tests.figures import tally
from tests.service import Client, Service

# A stream has no end; tests/flow/test_stream.py follows it.
ENDLESS: Final = ("get", "/api/v1/logs/stream")
BRIEF, LONG = 2, 60
_SETTINGS: Final = {"OCELOT_QUEUE": "file", "MONGODB_URL": "mongodb://h", "OPENSEARCH_URL": "http://h"}
DESCRIPTION: Final = create_service(Settings.model_validate(_SETTINGS)).openapi()
ROUTES: Final = [
    (method, path) for path, found in DESCRIPTION["paths"].items() for method in found if (method, path) != ENDLESS
]
# What no schema can say makes a 400 or 422 of a request that fits it: what a word of a query means, whose cursor it is,
# that of two members one is needed. And 503 is an answer of its own, checked here.
_MAY_REFUSE: Final = ["2xx", "400", "401", "403", "404", "409", "412", "413", "416", "422", "429", "503"]


def _schema() -> Any:
    checks = ChecksConfig(
        not_a_server_error=_statuses("not_a_server_error", ["2xx", "3xx", "4xx", "503"]),
        positive_data_acceptance=_statuses("positive_data_acceptance", _MAY_REFUSE),
    )
    project = ProjectConfig(checks=checks)
    return schemathesis.openapi.from_dict(
        DESCRIPTION, config=SchemathesisConfig(projects=ProjectsConfig(default=project))
    )


def _statuses(name: str, expected: list[str]) -> CheckConfig:
    kind = type(getattr(ChecksConfig(), name))
    made: CheckConfig = kind(expected_statuses=expected)
    return made


SCHEMA: Final = _schema()


@pytest.fixture(scope="module")
def clients(running: Service) -> dict[str, Client]:
    """An admin of one tenant, and the platform."""
    tenant = running.tenant("described")
    return {"tenant": tenant, "platform": running.client(None, Role.PLATFORM)}


def checked(
    running: Service, clients: dict[str, Client], route: tuple[str, str], examples: int, seed: int | None
) -> int:
    """Makes `examples` good and as many bad requests of the route; how many there were. Raises what a check finds."""
    method, path = route
    operation = SCHEMA[path][method.upper()]
    permission = operation.definition.raw["x-permission"]
    who = "platform" if permission == Permission.PLATFORM.value or "/tenants" in path else "tenant"
    headers = {} if permission == "none" else {"Authorization": f"Bearer {clients[who].token}"}
    made = 0

    def ask(case: Case) -> None:
        nonlocal made
        made += 1
        if case.query:
            case.query.pop("wait", None)  # half a minute for each event that is not there
        response = case.call(base_url=running.url, headers=headers, timeout=120)
        look(response.status_code, response.headers.get("retry-after", [None])[0], response.content, f"{method} {path}")
        try:
            case.validate_response(response, headers=headers, transport_kwargs={"timeout": 120})
        except FailureGroup as group:
            if found := [failure for failure in group.exceptions if not _mistaken(failure)]:
                raise AssertionError("\n".join(map(str, found)) + f"\n{case.as_curl_command()}") from None

    phases = [Phase.generate, Phase.shrink] if seed is None else [Phase.generate]
    for mode in GenerationMode:
        bounded = settings(
            max_examples=examples, derandomize=seed is not None, deadline=None, database=None, phases=phases,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        try:
            bounded(given(case=operation.as_strategy(generation_mode=mode))(ask))()
        except Exception as error:
            if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):  # nothing of it can be wrong
                raise
    return made


def _mistaken(failure: Failure | Exception) -> bool:
    """In a URL all is text: what Schemathesis takes for a number in place of a string is a string when it arrives."""
    return (
        type(failure).__name__ == "AcceptedNegativeData"
        and "violates `type`" in str(failure)
        and "query" in str(failure)
    )


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_answer_is_as_described(
    request: pytest.FixtureRequest, running: Service, clients: dict[str, Client], route: tuple[str, str]
) -> None:
    made = checked(running, clients, route, BRIEF, seed=0)
    tally(request, "description", "operations", tried=1, requests=made, not_as_described=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_many_more_answers_are_as_described(
    request: pytest.FixtureRequest, running: Service, clients: dict[str, Client], route: tuple[str, str]
) -> None:
    made = checked(running, clients, route, LONG, seed=None)
    tally(request, "description", "operations", tried=1, requests=made, not_as_described=0)


def test_the_description_is_the_running_services(running: Service) -> None:
    served = httpx.get(f"{running.url}/api/v1/openapi.json", timeout=60).json()
    assert set(served["paths"]) == set(DESCRIPTION["paths"])


def test_a_method_that_is_not_described_is_refused(running: Service, clients: dict[str, Client]) -> None:
    headers = {"Authorization": f"Bearer {clients['tenant'].token}"}
    for path, found in DESCRIPTION["paths"].items():
        for method in {"get", "put", "post", "delete", "patch", "trace", "propfind"} - set(found):
            url = running.url + path.replace("{", "").replace("}", "")
            answer = requests.request(method.upper(), url, headers=headers, timeout=60)
            assert answer.status_code in (400, 401, 403, 404, 405), (method, path, answer.text)
            assert answer.headers["Content-Type"].startswith(("application/problem+json", "application/json"))
