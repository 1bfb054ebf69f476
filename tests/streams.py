"""Clients of live streams, which read in a thread of their own."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from cli.tailing import Message, lines_of, parse
from tests.service import Client


class Listener:
    """What came, in its order; a context, which ends with the connection."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.raw: list[str] = []
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
        self._thread.join(20)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    @property
    def last_id(self) -> str:
        return next(message.id for message in reversed(self.messages) if message.id)

    def ids(self) -> list[str]:
        """The ids of the events."""
        return [json.loads(message.data)["id"] for message in list(self.messages) if message.name == ""]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(message.data) for message in list(self.messages) if message.name == name]

    def started(self) -> None:
        """Wait until the stream has begun: nothing that is sent from now on is missed."""
        self.until(lambda: bool(self.messages))

    def events(self, count: int) -> list[str]:
        """The ids of the events once there are so many."""
        self.until(lambda: len(self.ids()) >= count)
        return self.ids()

    def end(self) -> dict[str, Any]:
        """What the end says, once it has come and the connection is closed."""
        self.until(lambda: self.ended)
        return self.named("end")[0]

    def until(self, holds: Any, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < deadline, (self.messages[-3:], self.failed)
            time.sleep(0.02)

    def close(self) -> None:
        raise NotImplementedError

    def _read(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.failed = error


class Follower(Listener):
    """By server-sent events."""

    def __init__(self, client: Client, last: str | None = None, **query: Any) -> None:
        super().__init__()
        self._http = httpx.Client(timeout=httpx.Timeout(30, read=60))
        headers = {**client.headers, **({} if last is None else {"Last-Event-ID": last})}
        self._request = self._http.build_request("GET", f"{client.base_url}logs/stream", params=query, headers=headers)
        self._response: httpx.Response | None = None
        self.status = 0

    def _read(self) -> None:
        self._response = response = self._http.send(self._request, stream=True)
        self.status = response.status_code

        def lines() -> Any:
            for line in lines_of(response.iter_bytes()):
                self.raw.append(line)
                yield line

        for message in parse(lines()):
            self.messages.append(message)

    def close(self) -> None:
        if self._response is not None:
            stream = self._response.extensions.get("network_stream")
            if stream is not None and not self.ended:
                with suppress(OSError):
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._http.close()


class Socket(Listener):
    """By WebSocket; `how` is where the token goes: `header`, `protocol` or `message`."""

    def __init__(self, client: Client, last: str | None = None, how: str = "message", **headers: str) -> None:
        super().__init__()
        url = f"{client.base_url}logs/stream".replace("http", "ws", 1)
        protocols = ["ocelot.v1"]
        if how == "protocol":
            protocols.append(f"ocelot.token.{client.token}")
        elif how == "header":
            headers["Authorization"] = f"Bearer {client.token}"
        if last is not None and how != "message":
            headers["Last-Event-ID"] = last
        self._open = ExitStack()
        connected = connect(url, subprotocols=protocols, additional_headers=headers, proxy=None)
        self._ws = self._open.enter_context(connected)
        self.subprotocol = self._ws.subprotocol
        self.close_code: int | None = None
        if how == "message":
            first = {"token": client.token} | ({} if last is None else {"last_event_id": last})
            self._ws.send(json.dumps(first))

    def _read(self) -> None:
        with suppress(ConnectionClosed):
            for text in self._ws:
                self.raw.append(str(text))
                message = json.loads(text)
                name = "" if message["type"] == "event" else message["type"]
                self.messages.append(Message(name, message["id"], json.dumps(message["data"])))
        self.close_code = self._ws.close_code

    def close(self) -> None:
        self._open.close()
