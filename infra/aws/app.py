"""Synthesizes both stages: `python -m infra.aws.app [folder]`, without an account, a look-up or the network.

Each stage is three stacks, deployed in this order: the network, what holds events, and what runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from aws_cdk import App, Tags
from aws_cdk.cx_api import CloudAssembly

from infra.aws import nag
from infra.aws.data import Data
from infra.aws.network import Network
from infra.aws.service import Service
from infra.aws.stages import STAGES, Stage

# Of the CDK's feature flags those that matter here: newer behaviour that an App has only when it asks.
_FLAGS: Final = {
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-ec2:launchTemplateDefaultUserData": True,
}


@dataclass(frozen=True, slots=True)
class Stacks:
    network: Network
    data: Data
    service: Service


def add(app: App, stage: Stage) -> Stacks:
    """The three stacks of a stage."""
    name = f"ocelot-{stage.name}"
    common = {"termination_protection": stage.protected}
    network = Network(app, f"{name}-network", stage, description=f"Ocelot {stage.name}: network", **common)
    data = Data(app, f"{name}-data", stage, network, description=f"Ocelot {stage.name}: data", **common)
    service = Service(
        app, f"{name}-service", stage, network, data, description=f"Ocelot {stage.name}: service", **common
    )
    for stack in (network, data, service):
        Tags.of(stack).add("application", "ocelot")
        Tags.of(stack).add("stage", stage.name)
    return Stacks(network, data, service)


def synthesize(folder: str | None = None) -> CloudAssembly:
    """Both stages, checked by cdk-nag, written to the folder."""
    app = App(outdir=folder, analytics_reporting=False, context=_FLAGS)
    nag.check(app)
    for stage in STAGES.values():
        add(app, stage)
    return app.synth()


if __name__ == "__main__":
    synthesize(sys.argv[1] if len(sys.argv) > 1 else None)
