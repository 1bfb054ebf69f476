"""The two stages: what differs between development and production, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """Tasks of a service."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Domain:
    """The OpenSearch domain. `managers` are dedicated ones; 0: the data nodes elect among themselves."""

    node: str
    nodes: int
    gib: int
    manager: str | None
    managers: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One environment, in an account or a region of its own: names of the cluster and its services are the same."""

    name: str
    network: str
    """The first two numbers of its addresses: a /16."""
    zones: int
    nat_gateways: int
    endpoints: bool
    """Interface endpoints for AWS's own services, so that their traffic does not pay the NAT gateway's price."""
    instance: str
    instances: Scale
    api: Scale
    consumer: Scale
    requests_per_target: int
    """Requests a minute at which the API gets another task."""
    backlog_per_task: int
    """Messages at which the consumer gets another task: about ten seconds of one task's work."""
    domain: Domain
    lock_days: int
    log_days: int
    protected: bool
    """Nothing that holds events goes with its stack, and a stack is not deleted by mistake."""

    @property
    def cidr(self) -> str:
        return f"{self.network}.0.0/16"

    @property
    def public_cidrs(self) -> tuple[str, ...]:
        """Where the load balancer is: the proxies whose `X-Forwarded-For` is believed."""
        return tuple(f"{self.network}.{number}.0/24" for number in range(self.zones))


DEVELOPMENT: Final = Stage(
    name="development",
    network="10.41",
    zones=2,
    nat_gateways=1,
    endpoints=False,
    instance="t3.medium",
    instances=Scale(2, 4),
    api=Scale(1, 2),
    consumer=Scale(1, 2),
    requests_per_target=6_000,
    backlog_per_task=200,
    domain=Domain(node="t3.small.search", nodes=2, gib=20, manager=None, managers=0),
    lock_days=1,
    log_days=30,
    protected=False,
)
PRODUCTION: Final = Stage(
    name="production",
    network="10.40",
    zones=3,
    nat_gateways=3,
    endpoints=True,
    instance="m7i.large",
    instances=Scale(3, 30),
    api=Scale(3, 24),
    consumer=Scale(2, 24),
    requests_per_target=12_000,
    backlog_per_task=1_000,
    domain=Domain(node="r6g.large.search", nodes=3, gib=200, manager="m6g.large.search", managers=3),
    lock_days=30,
    log_days=365,
    protected=True,
)
STAGES: Final = {stage.name: stage for stage in (DEVELOPMENT, PRODUCTION)}
