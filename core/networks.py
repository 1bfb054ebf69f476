"""Networks and addresses: of keys' allow-lists and of trusted proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_MAX_TEXT: Final = 64


def network(text: str) -> Network:
    """The network of a CIDR or a single address; raises `ValueError` saying what is wrong, bits beyond the mask too.

    One of IPv4 addresses written as IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 one, as their addresses are.
    """
    try:
        if len(text) > _MAX_TEXT or "%" in text:
            raise ValueError
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be an address or a CIDR such as 203.0.113.0/24") from None
    if (
        text.partition("/")[0] != str(found.network_address)
        and ipaddress.ip_address(text.partition("/")[0]) != found.network_address
    ):
        raise ValueError(f"has bits beyond its mask: {found} is meant?")
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(found.network_address) & 0xFFFFFFFF, found.prefixlen - 96))
    return found


def address(text: str) -> Address | None:
    """The address that `text` is, None where it is none; an IPv4 one written as IPv6 is the IPv4 one."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0]) if len(text) <= _MAX_TEXT else None
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def holds(networks: Iterable[Network], found: Address) -> bool:
    """Whether one of the networks has the address."""
    return any(found in each for each in networks)
