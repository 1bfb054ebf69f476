"""The bucket of compose's S3 is made with object lock, once; what cannot be made is one line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.local import bucket
from infra.local.servers import free_port
from tests.conftest import LIVE_S3


class _S3(BaseHTTPRequestHandler):
    statuses: list[int]
    asked: list[tuple[str, dict[str, str]]]

    def do_PUT(self) -> None:
        type(self).asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(type(self).statuses.pop(0))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3() -> Iterator[tuple[type[_S3], str]]:
    handler = type("Handler", (_S3,), {"asked": [], "statuses": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_asks_until_the_s3_is_ready_and_takes_there_already_for_an_answer(s3: tuple[type[_S3], str]) -> None:
    handler, url = s3
    handler.statuses += [503, 409]
    bucket.ensure(url, "ocelot-archive", "ocelot", "hidden")
    assert [path for path, _ in handler.asked] == ["/ocelot-archive"] * 2
    headers = handler.asked[0][1]
    assert headers["x-amz-bucket-object-lock-enabled"] == "true"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ocelot/")
    assert "hidden" not in repr(handler.asked)


def test_a_refusal_is_not_asked_again(s3: tuple[type[_S3], str]) -> None:
    handler, url = s3
    handler.statuses += [403]
    with pytest.raises(OSError, match=r"no bucket ocelot-archive on .*: answered 403"):
        bucket.ensure(url, "ocelot-archive", "ocelot", "hidden")
    assert len(handler.asked) == 1


def test_nobody_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ocelot")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    with pytest.raises(OSError, match="no bucket b on"):
        bucket.ensure(f"http://127.0.0.1:{free_port()}", "b", "ocelot", "hidden", patience=0)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert bucket.main(["http://127.0.0.1:1", "b"]) == 2
    assert capsys.readouterr().err == "AWS_SECRET_ACCESS_KEY: is required\n"


@pytest.mark.live
@pytest.mark.skipif(not LIVE_S3, reason="no OCELOT_TEST_S3_ENDPOINT_URL")
def test_a_real_s3_takes_the_signature() -> None:
    assert LIVE_S3 is not None
    for _ in range(2):
        bucket.ensure(LIVE_S3, "ocelot-made-by-bucket", "ocelot", "ocelot-secret")
    with pytest.raises(OSError, match="answered 403"):
        bucket.ensure(LIVE_S3, "ocelot-made-by-bucket", "ocelot", "wrong")
