"""Where a request comes from: the peer's address, or what proxies that are trusted by name say of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection

from core import networks
from core.networks import Address, Network

_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d+)?|(?P<v4>[0-9.]+):\d+")
_MAX_HOPS: Final = 32


class Proxies:
    """The proxies whose `X-Forwarded-For` is believed; without any, a connection's own address is the client's.

    A header that anybody may send proves nothing, so an address counts only as far as trusted proxies vouch for it:
    from the peer back through the header, the first that is none of theirs is the client.
    """

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def client_of(self, connection: HTTPConnection) -> Address | None:
        """The client's address; None when it is not known, as where a trusted proxy hands on nonsense."""
        peer = networks.address(connection.client.host) if connection.client else None
        if peer is None or not self._trusted or not networks.holds(self._trusted, peer):
            return peer
        hops = [hop.strip() for value in connection.headers.getlist("x-forwarded-for") for hop in value.split(",")]
        found: Address | None = peer
        for hop in reversed(hops[-_MAX_HOPS:]):
            found = networks.address(_without_port(hop))
            if found is None or not networks.holds(self._trusted, found):
                return found
        return found if len(hops) <= _MAX_HOPS else None


def _without_port(hop: str) -> str:
    match = _WITH_PORT.fullmatch(hop)
    return (match["v6"] or match["v4"] or "") if match else hop
