"""An error that nobody foresaw: a 503 problem that says nothing of the inside, on every kind of route, logged once."""

from __future__ import annotations

import logging

import httpx
import pytest

from api import PREFIX
from api.direct import Direct, Route
from api.main import create_service
from api.middleware import Envelope
from api.routes import logs
from core.settings import Settings

SETTINGS = Settings.model_validate(
    {"OCELOT_QUEUE": "file", "MONGODB_URL": "mongodb://127.0.0.1:9", "OPENSEARCH_URL": "http://127.0.0.1:9"}
)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/logs"), ("GET", "/logs/x"), ("POST", "/logs"), ("POST", "/token"), ("GET", "/ready")]
)
async def test_it_is_a_problem_without_a_word_of_the_inside(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = create_service(SETTINGS)
    service.state.ocelot = object()  # without any of what the routes need: each fails with an AttributeError
    app = Envelope(Direct(service, {("POST", f"{PREFIX}/logs"): Route("/logs", logs.send_event)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        with caplog.at_level(logging.ERROR):
            response = await client.request(
                method,
                f"{PREFIX}{path}",
                json={"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"},
            )
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "2"
    assert response.json()["code"] == "internal"
    assert response.json()["request_id"] == response.headers["X-Request-Id"]
    assert "AttributeError" not in response.text
    assert [record.getMessage() for record in caplog.records] == ["unforeseen error"]
    assert caplog.records[0].exc_info is not None
