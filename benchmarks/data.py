"""Events to measure with: real CloudTrail events as the import maps them, and one of 550 bytes."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

from cli.sources import named_fields
from core import instant

DATA = Path(os.environ.get("OCELOT_DATA", Path(__file__).parents[2] / "shared" / "data"))


def cloudtrail(count: int = 500) -> list[bytes]:
    """The first `count` events of the captured CloudTrail log, each whole in `metadata`: 1.2 KB at the median."""
    with gzip.open(DATA / "cloudtrail.ndjson.gz", "rb") as file:
        lines = [line.strip() for _, line in zip(range(count), file, strict=False)]
    return [_wrapped(line) for line in lines]


def imported(name: str, count: int, source: str) -> list[bytes]:
    """The first `count` events of a real log as `ocelot import` maps them, without their keys."""
    now = instant.now_us()
    with gzip.open(DATA / f"{name}.ndjson.gz", "rb") as file:
        return [_event(source, line.strip(), now) for _, line in zip(range(count), file, strict=False)]


def small() -> bytes:
    """An event of 550 bytes."""
    event: dict[str, Any] = {
        "action": "document.shared",
        "timestamp": "2026-11-20T11:40:00.123456Z",
        "outcome": "success",
        "message": "Ana Perez shared the quarterly budget with Ben Okafor as an editor",
        "user_id": "ana.perez@example.com",
        "session_id": "01J9Z3V5K8Q2W7X4",
        "ip_address": "203.0.113.7",
        "resource_type": "document",
        "resource_id": "budget-2027-q1",
        "request_id": "5f0c2b1e-9a7d-4c53-8e21-0b6d4f3a2c10",
        "source": "drive",
        "tags": ["sharing", "finance"],
        "metadata": {"with": "ben.okafor@example.com", "role": "editor", "via": "web", "notify": True, "pad": ""},
    }
    event["metadata"]["pad"] = "x" * (550 - len(json.dumps(event, separators=(",", ":"))))
    return json.dumps(event, separators=(",", ":")).encode()


def small_ones(count: int) -> list[bytes]:
    """`count` events of 550 bytes that differ in time, user, address and request, from 1,000 users and addresses."""
    plain, made = small(), []
    for n in range(count):
        user = random.randrange(1000)
        time = b"11:%02d:%02d.%06dZ" % (n // 60 % 60, n % 60, random.randrange(10**6))
        event = plain.replace(b"11:40:00.123456Z", time).replace(b"ana.perez@", b"ana.p%04d@" % user)
        event = event.replace(b"203.0.113.7", b"10.%d.%d.%d" % (user % 10, 100 + user // 10, 10 + user % 10))
        request = b"%08x-%04x" % (random.getrandbits(32), random.getrandbits(16))
        made.append(event.replace(b"5f0c2b1e-9a7d", request))
    return made


def _wrapped(line: bytes) -> bytes:
    original = json.loads(line)
    named = {"action": f"aws.{original['eventName']}", "timestamp": original["eventTime"], "source": "cloudtrail"}
    return json.dumps(named, separators=(",", ":"))[:-1].encode() + b',"metadata":' + line + b"}"


def _event(name: str, line: bytes, now: int) -> bytes:
    named = named_fields(name, json.loads(line), now)
    return json.dumps(named, separators=(",", ":"))[:-1].encode() + b',"metadata":' + line + b"}"
