"""What is wrong with settings that are each well-formed: URLs, and values that do not go together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from core.issuers import load as load_issuers

if TYPE_CHECKING:
    from core.settings import Settings

_MONGODB: Final = re.compile(
    r"mongodb(?:\+srv)?://(?:[^@/?]+@)?(?P<hosts>(?:\[[0-9a-fA-F:.]+\]|[^:,/?@\[\]]+)(?::\d{1,5})?"
    r"(?:,(?:\[[0-9a-fA-F:.]+\]|[^:,/?@\[\]]+)(?::\d{1,5})?)*)(?:/[^?]*)?(?:\?.*)?"
)
_ARCHIVE: Final = re.compile(r"file:///.+|s3://[a-z0-9][a-z0-9.-]+(?:/[A-Za-z0-9._/-]*)?")


def faults(settings: Settings) -> Iterator[str]:
    """A line for each, by the variable's name; no secret is in it."""
    if settings.queue == "sqs" and settings.sqs_queue_url is None:
        yield "SQS_QUEUE_URL: is required with OCELOT_QUEUE=sqs"
    yield from _of_addresses(settings)
    yield from _of_archive(settings)
    if not _is_mongodb(settings.mongodb_url.get_secret_value()):
        yield "MONGODB_URL: must be a mongodb:// or mongodb+srv:// URL"
    try:
        load_issuers(settings.issuers, settings.issuer)
    except ValueError as error:
        yield f"OCELOT_ISSUERS: {error}"
    try:
        settings.proxy_networks  # noqa: B018
    except ValueError as error:
        yield f"OCELOT_TRUSTED_PROXIES: {error}"


def _of_addresses(settings: Settings) -> Iterator[str]:
    index = settings.opensearch_url.get_secret_value()
    for name, url in (
        ("SQS_QUEUE_URL", settings.sqs_queue_url),
        ("SQS_ENDPOINT_URL", settings.sqs_endpoint_url),
        ("ARCHIVE_ENDPOINT_URL", settings.archive_endpoint_url),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", settings.otlp_endpoint),
        ("OPENSEARCH_URL", index),
    ):
        if url is not None and not _is_http(url):
            yield f"{name}: must be an http:// or https:// URL"
    if settings.opensearch_auth == "sigv4" and "@" in urlsplit(index).netloc:
        yield "OPENSEARCH_AUTH: sigv4 takes no user and password, and OPENSEARCH_URL holds them"


def _of_archive(settings: Settings) -> Iterator[str]:
    url = settings.archive_url
    if url is not None and not _ARCHIVE.fullmatch(url):
        yield "ARCHIVE_URL: must be s3://bucket/prefix or file:///folder"
    if (settings.archive_class or settings.archive_lock_days) and not (url or "").startswith("s3://"):
        yield "ARCHIVE_STORAGE_CLASS, ARCHIVE_LOCK_DAYS: are for an ARCHIVE_URL of s3://"


def _is_mongodb(url: str) -> bool:
    """By its form: hosts with ports after the account, whose password may hold anything but @ / ?."""
    match = _MONGODB.fullmatch(url)
    return match is not None and all(int(port) <= 65535 for port in re.findall(r":(\d+)(?:,|$)", match["hosts"]))


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
