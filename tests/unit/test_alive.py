"""A container's own check: alive when the process answers 200 on its health address, and nothing else counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core import alive
from core.settings import Settings
from infra.local.servers import free_port


class _Health(BaseHTTPRequestHandler):
    status = 200
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[type[_Health], str]]:
    handler = type("Handler", (_Health,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, str(server.server_port)
        server.shutdown()


@pytest.mark.parametrize(
    ("service", "variable", "path"),
    [("api", "PORT", "/api/v1/health"), ("consumer", "OCELOT_CONSUMER_PORT", "/health")],
)
def test_a_service_that_answers_is_alive(
    served: tuple[type[_Health], str], service: str, variable: str, path: str
) -> None:
    handler, port = served
    assert alive.fault(service, {variable: port, "OCELOT_HOST": "0.0.0.0"}) is None
    assert handler.asked == [path]


def test_an_answer_that_is_an_error_is_not_life(served: tuple[type[_Health], str]) -> None:
    handler, port = served
    handler.status = 503
    assert alive.fault("api", {"PORT": port}) == "answered 503"


def test_nobody_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.delenv("OCELOT_HOST", raising=False)
    assert alive.main(["api"]) == 1
    assert capsys.readouterr().err.startswith("api: ConnectionRefusedError")
    assert alive.main(["other"]) == 2


def test_the_ports_are_those_of_the_settings() -> None:
    fields = {field.alias: field.default for field in Settings.model_fields.values()}
    assert {variable: port for variable, port, _ in alive._SERVICES.values()} == {
        name: fields[name] for name in ("PORT", "OCELOT_CONSUMER_PORT")
    }
