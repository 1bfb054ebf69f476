"""Where audit logs come from: for each source, how its own fields become the named fields of Ocelot's event.

Each module has one pure function `map(original) -> Fields`; `named_fields` makes what it says fit the event's limits.
The original itself goes whole into `metadata`, so that a field cut or left out here is lost nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cli.sources import azure, cloudtrail, gcp, github, gsuite, k8s, okta, slack, windows
from cli.sources.fields import Fields, Original
from core import instant
from core.event import MAX_FUTURE_US, MAX_MESSAGE_BYTES, MAX_STRING_BYTES, MAX_TAGS

NDJSON: Final = "ndjson"
"""The format of lines that are events of Ocelot already: nothing is mapped."""

SOURCES: Final[dict[str, Callable[[Original], Fields]]] = {
    "cloudtrail": cloudtrail.map,
    "windows": windows.map,
    "k8s": k8s.map,
    "okta": okta.map,
    "github": github.map,
    "gcp": gcp.map,
    "azure": azure.map,
    "gsuite": gsuite.map,
    "slack": slack.map,
}
FORMATS: Final = (*SOURCES, NDJSON)


def named_fields(source: str, original: Original, now: int) -> dict[str, str | list[str]]:
    """The named fields of an event, within every limit of `core.event`, whatever `original` holds.

    `now` in microseconds: a time more than a day after it is no time, and the server's own stands in.
    """
    named: dict[str, str | list[str]] = {}
    for name, value in SOURCES[source](original).items():
        if isinstance(value, list):
            named[name] = [_cut(one, MAX_STRING_BYTES) for one in value[:MAX_TAGS]]
        elif value:
            named[name] = _cut(value, MAX_MESSAGE_BYTES if name == "message" else MAX_STRING_BYTES)
    time = named.get("timestamp")
    if isinstance(time, str) and instant.from_text(time) > now + MAX_FUTURE_US:
        del named["timestamp"]
    return named


def _cut(value: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters; half a surrogate pair, which is none, becomes `?`."""
    if value.isascii():
        return value[:limit]
    encoded = value.encode("utf-8", "replace")
    return encoded[:limit].decode("utf-8", "ignore")
