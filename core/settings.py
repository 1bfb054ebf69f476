"""Settings: environment variables under the names users know, checked at start, one clear line for each mistake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import OcelotError
from core.networks import Network, network
from core.settings_faults import faults

StorageClass = Literal["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"]


class BadSettings(OcelotError):
    """Start-up stops with these lines, one for each wrong or missing setting."""

    code = "bad_settings"


@dataclass(frozen=True, slots=True)
class SqsQueueSettings:
    url: str
    region: str
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class FileQueueSettings:
    path: Path


def _blank_is_absent(value: object) -> object:
    return None if value == "" else value


_Optional = BeforeValidator(_blank_is_absent)


class Settings(BaseSettings):
    """What a process of Ocelot needs to know. Every field is in docs/settings.md and .env.example (a test compares)."""

    # populate_by_name would also read variables called like the fields, HOME and HOST among them; the prefix is of
    # those names alone, and no variable's name can hold a "=".
    model_config = SettingsConfigDict(env_file=None, extra="ignore", populate_by_name=True, env_prefix="=", frozen=True)

    queue: Literal["sqs", "file"] = Field(alias="OCELOT_QUEUE", description="Which queue: `sqs` or `file`.")
    sqs_queue_url: Annotated[str | None, _Optional] = Field(
        None, alias="SQS_QUEUE_URL", description="URL of the SQS queue (with `OCELOT_QUEUE=sqs`)."
    )
    aws_region: str = Field(
        "us-east-1", alias="AWS_REGION", description="Region of the queue, the archive and the signatures."
    )
    sqs_endpoint_url: Annotated[str | None, _Optional] = Field(
        None, alias="SQS_ENDPOINT_URL", description="Another endpoint than AWS's, such as ElasticMQ's."
    )
    home: Path = Field(Path(".ocelot"), alias="OCELOT_HOME", description="Folder of the embedded stack and made keys.")
    mongodb_url: SecretStr = Field(alias="MONGODB_URL", description="URL of the MongoDB deployment.")
    mongodb_database: str = Field(
        "ocelot", alias="MONGODB_DATABASE", pattern=r"^[A-Za-z0-9_-]{1,63}$", description="Database name."
    )
    migrate_on_start: bool = Field(
        True,
        alias="OCELOT_MIGRATE_ON_START",
        description="Whether a process brings the store to its own layout when it starts; if not, it waits a minute "
        "for `ocelot migrate`, and ends.",
    )
    opensearch_url: SecretStr = Field(alias="OPENSEARCH_URL", description="URL of the OpenSearch domain.")
    opensearch_auth: Literal["basic", "sigv4"] = Field(
        "basic",
        alias="OPENSEARCH_AUTH",
        description="`basic`: the URL's user and password, if it has them; `sigv4`: each request is signed for "
        "`AWS_REGION` with AWS credentials, such as a task's role.",
    )
    opensearch_ca_file: Annotated[FilePath | None, _Optional] = Field(
        None,
        alias="OPENSEARCH_CA_FILE",
        description="PEM of the authority that an `https` URL's certificate is checked against; else the public ones.",
    )
    archive_url: Annotated[str | None, _Optional] = Field(
        None,
        alias="ARCHIVE_URL",
        description="Where exports and archived events are kept: `s3://bucket/prefix` or `file:///folder`; without it, "
        "none are, and retention removes nothing.",
    )
    archive_endpoint_url: Annotated[str | None, _Optional] = Field(
        None, alias="ARCHIVE_ENDPOINT_URL", description="Another S3 than AWS's, such as MinIO's."
    )
    archive_level: int = Field(
        9, alias="ARCHIVE_COMPRESSION_LEVEL", ge=1, le=22, description="zstd's level for archived events."
    )
    archive_class: Annotated[StorageClass | None, _Optional] = Field(
        None,
        alias="ARCHIVE_STORAGE_CLASS",
        description="S3's class of archived events, of those that can be read at once: `STANDARD_IA`, `ONEZONE_IA`, "
        "`INTELLIGENT_TIERING` or `GLACIER_IR`.",
    )
    archive_lock_days: int = Field(
        0,
        alias="ARCHIVE_LOCK_DAYS",
        ge=0,
        le=36_500,
        description="Days for which S3's object lock keeps archived events from being removed or replaced; 0: no lock.",
    )
    archive_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        "GOVERNANCE", alias="ARCHIVE_LOCK_MODE", description="The lock's mode: `GOVERNANCE` or `COMPLIANCE`."
    )
    retention_every: float = Field(
        3600.0,
        alias="OCELOT_RETENTION_EVERY",
        ge=0,
        le=86_400,
        description="Seconds between looks for events that are past their tenant's retention; 0: never.",
    )
    index_shards: int = Field(1, alias="OCELOT_INDEX_SHARDS", ge=1, le=64, description="Primary shards an index.")
    index_replicas: int = Field(1, alias="OCELOT_INDEX_REPLICAS", ge=0, le=4, description="Replicas of each shard.")
    index_watch_every: float = Field(
        60.0,
        alias="OCELOT_INDEX_WATCH_EVERY",
        ge=0,
        le=86_400,
        description="Seconds between looks for indices that were deleted from outside, which are rebuilt; 0: never.",
    )
    rebuild_on_start: bool = Field(
        False,
        alias="OCELOT_REBUILD_ON_START",
        description="The consumer fills an empty index from the store at start (for an index that lives in memory).",
    )

    keep_alive: int = Field(
        75,
        alias="OCELOT_KEEP_ALIVE",
        ge=1,
        le=4000,
        description="Seconds that the API keeps an idle connection: more than the load balancer's (AWS's: 60), or some "
        "of its requests meet one that is closing, and are answered 502.",
    )
    host: str = Field("0.0.0.0", alias="OCELOT_HOST", description="Address that the API listens on.")
    port: int = Field(8000, alias="PORT", ge=0, le=65535, description="Port that the API listens on.")
    consumer_port: int = Field(
        8001, alias="OCELOT_CONSUMER_PORT", ge=0, le=65535, description="Port of the consumer's health and metrics."
    )
    public_url: Annotated[str | None, _Optional] = Field(
        None, alias="OCELOT_PUBLIC_URL", description="URL that clients use; the server entry in OpenAPI."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="OCELOT_LOG_LEVEL", description="Least severity that is logged."
    )

    otlp_endpoint: Annotated[str | None, _Optional] = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="OTLP collector (HTTP) that traces are exported to, such as `http://localhost:4318`; without it, "
        "none are made.",
    )
    trace_share: float = Field(
        0.01,
        alias="OCELOT_TRACE_SHARE",
        ge=0,
        le=1,
        description="Share of the requests without a sampled `traceparent` of their own that are traced.",
    )

    issuer: str = Field("ocelot", alias="OCELOT_ISSUER", min_length=1, description="`iss` of Ocelot's own tokens.")
    audience: str = Field("ocelot-api", alias="OCELOT_AUDIENCE", min_length=1, description="`aud` of every token.")
    signing_key: Annotated[SecretStr | None, _Optional] = Field(
        None, alias="OCELOT_SIGNING_KEY", description="PEM of the ES256 key; else made once in `OCELOT_HOME`."
    )
    signing_key_file: Annotated[Path | None, _Optional] = Field(
        None, alias="OCELOT_SIGNING_KEY_FILE", description="File with the PEM of the ES256 key."
    )

    issuers: Annotated[str | None, _Optional] = Field(
        None,
        alias="OCELOT_ISSUERS",
        description="Other issuers whose tokens are taken: JSON, or a file of it; see [keys and tokens](keys.md).",
    )
    trusted_proxies: Annotated[str | None, _Optional] = Field(
        None,
        alias="OCELOT_TRUSTED_PROXIES",
        description="Networks (CIDRs, commas between) of the proxies whose `X-Forwarded-For` is believed; without it, "
        "the address of the connection is the client's.",
    )

    max_body_bytes: int = Field(
        16 * 1024 * 1024, alias="OCELOT_MAX_BODY_BYTES", ge=1024, description="Largest body, unpacked."
    )
    max_in_flight_bytes: int = Field(
        256 * 1024 * 1024, alias="OCELOT_MAX_IN_FLIGHT_BYTES", ge=1024, description="Bodies in flight, all tenants."
    )
    max_tenant_in_flight_bytes: int = Field(
        64 * 1024 * 1024, alias="OCELOT_MAX_TENANT_IN_FLIGHT_BYTES", ge=1024, description="The same, one tenant."
    )
    sends_in_flight: int = Field(
        4, alias="OCELOT_SENDS_IN_FLIGHT", ge=1, le=64, description="Sends to the queue under way at once."
    )
    send_deadline: float = Field(
        10.0, alias="OCELOT_SEND_DEADLINE", gt=0, le=60, description="Seconds until an unsent event is answered 503."
    )
    lease_seconds: float = Field(
        120.0, alias="OCELOT_LEASE_SECONDS", ge=1, le=43200, description="Lease of a received message."
    )
    index_patience: float = Field(
        60.0,
        alias="OCELOT_INDEX_PATIENCE",
        ge=0,
        le=3600,
        description="Seconds that messages wait for an index that is down, before the events go to the outbox.",
    )
    receive_batch: int = Field(10, alias="OCELOT_RECEIVE_BATCH", ge=1, le=10, description="Messages received at once.")
    max_receives: int = Field(
        100, alias="OCELOT_MAX_RECEIVES", ge=1, le=1000, description="File queue: receives until a dead letter."
    )
    job_keep: float = Field(
        7 * 86_400.0,
        alias="OCELOT_JOB_KEEP",
        ge=60,
        le=366 * 86_400,
        description="Seconds that an ended job, and the file that it made, are kept.",
    )
    jobs_at_once: int = Field(2, alias="OCELOT_JOBS_AT_ONCE", ge=0, le=16, description="Jobs that a consumer runs.")
    max_tenant_jobs: int = Field(
        4, alias="OCELOT_MAX_TENANT_JOBS", ge=1, le=100, description="Jobs of a kind queued or running, one tenant."
    )
    max_exports: int = Field(
        16, alias="OCELOT_MAX_EXPORTS", ge=1, le=1000, description="Exports that the API streams at once, all tenants."
    )
    max_tenant_exports: int = Field(
        4, alias="OCELOT_MAX_TENANT_EXPORTS", ge=1, le=1000, description="The same, one tenant."
    )
    total_bound: int = Field(
        100_000, alias="OCELOT_TOTAL_BOUND", ge=0, description="`total` is exact up to this many matches."
    )

    max_streams: int = Field(
        1000, alias="OCELOT_MAX_STREAMS", ge=0, le=100_000, description="Open streams of live events, all tenants."
    )
    max_tenant_streams: int = Field(
        50, alias="OCELOT_MAX_TENANT_STREAMS", ge=0, le=100_000, description="The same, one tenant."
    )
    stream_heartbeat: float = Field(
        15.0,
        alias="OCELOT_STREAM_HEARTBEAT",
        ge=0.1,
        le=300,
        description="Seconds between a quiet stream's heartbeats.",
    )
    stream_origins: Annotated[str | None, _Optional] = Field(
        None,
        alias="OCELOT_STREAM_ORIGINS",
        description="Origins of web pages that may open WebSockets, beside the API's own: URLs, commas between.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if found := list(faults(self)):
            raise ValueError("\n".join(found))
        return self

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return tuple(network(each.strip()) for each in (self.trusted_proxies or "").split(",") if each.strip())

    @property
    def queue_settings(self) -> SqsQueueSettings | FileQueueSettings:
        """The chosen queue, with what that queue needs."""
        if self.queue == "sqs":
            return SqsQueueSettings(self.sqs_queue_url or "", self.aws_region, self.sqs_endpoint_url)
        return FileQueueSettings(self.home / "queue.db")


def load() -> Settings:
    """The settings of this process; raises `BadSettings` with a line for each mistake, never showing a secret."""
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_input=False, include_url=False):
            name = ".".join(map(str, fault["loc"]))
            message = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {'is required' if fault['type'] == 'missing' else message}" if name else message)
        raise BadSettings("\n".join(lines)) from None
