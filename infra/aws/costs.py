"""What a month costs at 1, 100 and 10,000 events a second: `python -m infra.aws.costs` writes the table of the docs."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.aws.stages import DEVELOPMENT, PRODUCTION, Stage

PAGE: Final = Path(__file__).parents[2] / "docs" / "aws-costs.md"
HOURS: Final = 730
SECONDS: Final = HOURS * 3600
RATES: Final = (1, 100, 10_000)
STORED, INDEXED, ARCHIVED, LOGGED = 400, 1_200, 150, 2
"""Bytes an event takes: in MongoDB with its indexes, in both copies of the index, in the archive, in the logs."""
WIRE: Final = 600
PRICES: Final = {
    "t3.medium": 0.0416, "m7i.large": 0.1008,
    "t3.small.search": 0.036, "r6g.large.search": 0.167, "r6g.2xlarge.search": 0.669, "m6g.large.search": 0.128,
    "Atlas M10": 0.08, "Atlas M30": 0.54, "Atlas M60": 3.95,
    "NAT gateway": 0.045, "load balancer": 0.0225, "endpoint": 0.01,
}  # fmt: skip
"""US dollars an hour, list prices on demand in us-east-1."""
EBS, INDEX_EBS, S3_COLD, LOGS, NAT_GB, ATLAS_GB = 0.08, 0.122, 0.0125, 0.50, 0.045, 0.25
"""US dollars a GB: disks, archive and Atlas' disks by the month."""
SQS: Final = 0.40
"""US dollars a million requests of up to 64 KiB."""
_GB: Final = 10**9


@dataclass(frozen=True, slots=True)
class Line:
    item: str
    arithmetic: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rate of events takes."""

    rate: int
    stage: Stage
    instances: int
    node: str
    nodes: int
    atlas: str
    per_message: int
    """Events of an envelope: alone at 1 a second, some hundred in 64 KiB when there are many."""

    @property
    def events(self) -> int:
        return self.rate * SECONDS


PLANS: Final = (
    Plan(1, DEVELOPMENT, 2, "t3.small.search", 2, "Atlas M10", 1),
    Plan(100, PRODUCTION, 3, "r6g.large.search", 3, "Atlas M30", 10),
    Plan(10_000, PRODUCTION, 8, "r6g.2xlarge.search", 12, "Atlas M60", 400),
)


def hourly(item: str, count: int, price: str) -> Line:
    return Line(item, f"{count} x {HOURS} h x ${PRICES[price]:g} ({price})", count * HOURS * PRICES[price])


def by_gb(item: str, gigabytes: float, price: float, why: str) -> Line:
    return Line(item, f"{why} = {gigabytes:,.0f} GB x ${price:g}", gigabytes * price)


def lines(plan: Plan) -> list[Line]:
    """The month's bill, item by item; what is stored is that of one month, in its last days."""
    stage = plan.stage

    def size(number: int) -> float:
        return plan.events * number / _GB

    disk = max(stage.domain.gib * stage.domain.nodes, math.ceil(size(INDEXED) / 0.75))
    messages = plan.events / plan.per_message
    # A message is sent, received and deleted; a consumer that finds nothing asks again after 20 s.
    asked = (3 * messages + stage.consumer.least * SECONDS / 20) / 1e6
    found = [
        hourly("instances", plan.instances, stage.instance),
        by_gb("their disks", 30 * plan.instances, EBS, f"{plan.instances} x 30"),
        hourly("index: data nodes", plan.nodes, plan.node),
    ]
    if stage.domain.managers:
        found.append(hourly("index: managers", stage.domain.managers, str(stage.domain.manager)))
    found += [
        by_gb("index: disks", disk, INDEX_EBS, f"the larger of {stage.domain.gib * stage.domain.nodes} and events x "
              f"{INDEXED} B / 0.75"),
        hourly("MongoDB (3 members)", 1, plan.atlas),
        by_gb("MongoDB: disk", max(10.0, size(STORED) * 3), ATLAS_GB, f"the larger of 10 and events x {STORED} B x 3"),
        Line("queue", f"{asked:,.1f} million x ${SQS:.2f}", asked * SQS),
        hourly("load balancer", 1, "load balancer"),
        Line("load balancer: work", *_balancer(plan)),
        hourly("NAT gateways", stage.nat_gateways, "NAT gateway"),
        by_gb("NAT: to MongoDB", size(WIRE), NAT_GB, f"events x {WIRE} B"),
        by_gb("archive (from the second month)", size(ARCHIVED), S3_COLD, f"events x {ARCHIVED} B"),
        by_gb("logs", max(1.0, size(LOGGED)), LOGS, f"the larger of 1 and events x {LOGGED} B"),
        Line("alarms, dashboard, key, parameters", "11 x $0.10 + $3.00 + $1.00", 5.1),
    ]  # fmt: skip
    if stage.endpoints:
        found.append(hourly("endpoints (5 in each of 3 zones)", 5 * stage.zones, "endpoint"))
    return found


def _balancer(plan: Plan) -> tuple[str, float]:
    """Its units: the larger of 1 GB an hour and 25 new connections a second; clients keep their connections."""
    units = max(1.0, plan.rate * WIRE * 3600 / _GB)
    return f"{units:,.1f} units x {HOURS} h x $0.008", units * HOURS * 0.008


def page() -> str:
    """The text of docs/aws-costs.md."""
    parts = [_HEAD]
    totals = []
    for plan in PLANS:
        found = lines(plan)
        total = sum(line.dollars for line in found)
        totals.append(f"| {plan.rate:,} | {plan.events / 1e6:,.1f} million | ${total:,.0f} | "
                      f"${total / (plan.events / 1e6):,.2f} |\n")  # fmt: skip
        rows = "".join(f"| {line.item} | {line.arithmetic} | {line.dollars:,.2f} |\n" for line in found)
        parts.append(
            f"\n## {plan.rate:,} event{'' if plan.rate == 1 else 's'} a second\n\nThe stage `{plan.stage.name}`"
            + (", its domain enlarged" if plan.node != plan.stage.domain.node else "")
            + f"; events to a message: {plan.per_message}.\n\n| | arithmetic | $ a month |\n|---|---|---:|\n{rows}"
            + f"| **all** | | **{total:,.2f}** |\n"
        )
    summary = "| events/s | a month | all | a million |\n|---:|---:|---:|---:|\n" + "".join(totals)
    return parts[0] + summary + "".join(parts[1:])


_HEAD: Final = f"""\
# Costs on AWS

What a month of {HOURS} hours costs, by list prices on demand in us-east-1 (US dollars, before taxes, savings plans and
free tiers) as far as they were known when this was written: **check them** before you rely on them. How many machines
a rate takes is judgement with room to spare, and was not measured on AWS. An event is {WIRE} bytes on the wire; it is
searched for a month and then archived. What it takes elsewhere is an estimate, to be replaced by your own:
{STORED} bytes in MongoDB with its indexes (times three members), {INDEXED} in both copies of the index,
{ARCHIVED} in the archive. Traffic between zones and out to readers is not in it.

Made by `make docs` from `infra/aws/costs.py` and `infra/aws/stages.py`.

"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written\n")
