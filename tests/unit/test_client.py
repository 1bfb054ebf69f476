"""Whose address counts: what proxies that are trusted vouch for, and nothing that a client wrote itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from api.client import Proxies
from core.networks import address, holds, network

TRUSTED = Proxies([network("10.0.0.0/8"), network("fd00::/8")])


def seen(proxies: Proxies, peer: str | None, *forwarded: str) -> str | None:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    client = None if peer is None else (peer, 4711)
    found = proxies.client_of(Request({"type": "http", "client": client, "headers": headers}))
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # no proxy of ours: it may say what it likes
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),  # what stands before it, the client wrote
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1", "10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["198.51.100.1,"], None),
        ("10.0.0.1", ["198.51.100.1, unknown"], None),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.256"], None),
        ("10.0.0.1", ["nonsense, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1%eth0"], "2001:db8::1"),
        ("10.0.0.1", ["1" * 5000], None),
        ("10.0.0.1", [", ".join(["10.0.0.2"] * 40)], None),
        ("10.0.0.1", [", ".join(["1.2.3.4"] * 5000 + ["198.51.100.1"])], "198.51.100.1"),
        (None, ["198.51.100.1"], None),
        ("testclient", ["198.51.100.1"], None),
    ],
)
def test_the_client_is_who_trusted_proxies_say(peer: str | None, forwarded: Sequence[str], client: str | None) -> None:
    assert seen(TRUSTED, peer, *forwarded) == client


def test_without_a_setting_nobody_is_trusted() -> None:
    for peer in ("127.0.0.1", "10.0.0.1", "::1"):
        assert seen(Proxies(), peer, "198.51.100.1") == peer


@given(st.lists(st.sampled_from(["10.0.0.9", "1.2.3.4", "::1", "x", "", "203.0.113.9", "10.0.0.9:1"]), max_size=8))
def test_what_a_client_writes_never_becomes_its_address(written: list[str]) -> None:
    """The proxy appends the address that it saw: whatever stood there before does not count."""
    assert seen(TRUSTED, "10.0.0.1", ", ".join([*written, "198.51.100.77"])) == "198.51.100.77"


@pytest.mark.parametrize(
    ("text", "is_", "has", "has_not"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", ["10.255.0.1", "::ffff:10.1.1.1"], ["11.0.0.1", "::a00:1", "2001:db8::1"]),
        ("203.0.113.7", "203.0.113.7/32", ["203.0.113.7"], ["203.0.113.8"]),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", ["10.1.1.1"], ["11.0.0.1"]),
        ("2001:DB8::/32", "2001:db8::/32", ["2001:db8:ffff::1"], ["2001:db9::", "32.1.13.184"]),
        ("0.0.0.0/0", "0.0.0.0/0", ["1.1.1.1", "::ffff:1.1.1.1"], ["2001:db8::1"]),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8", ["10.1.1.1"], ["11.0.0.1"]),
    ],
)
def test_a_network_has_its_addresses(text: str, is_: str, has: list[str], has_not: list[str]) -> None:
    found = network(text)
    assert str(found) == is_
    for each, held in [(one, True) for one in has] + [(one, False) for one in has_not]:
        known = address(each)
        assert known is not None
        assert holds([found], known) is held, each


@pytest.mark.parametrize(
    "text", ["", "x", "10.0.0.1/8", "10.0.0.0/33", "::1%eth0/128", "10.1", "0x7f000001", "2001:db8::1/32", "1" * 99]
)
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be an address or a CIDR|has bits beyond its mask"):
        network(text)
