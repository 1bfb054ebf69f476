"""What cdk-nag and cfn-lint find and is meant to be so: each with its reason, where it is true alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aws_cdk import Acknowledgment, App, Aws, CfnResource, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct

_SHORTEST: Final = 40
_TOKENS: Final = {Aws.PARTITION: "Partition", Aws.REGION: "Region", Aws.ACCOUNT_ID: "AccountId"}


def accept(construct: IConstruct, rule: str, reason: str) -> None:
    """Take a finding as it is; a reason of a few words is none."""
    if len(reason) < _SHORTEST:
        raise ValueError(f"{rule}: say why, not only that: {reason!r}")
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def accept_each(construct: IConstruct, rule: str, found: Iterable[str], reason: str) -> None:
    """Take certain findings of a rule that finds many, such as `Resource::*`; any other of them still counts."""
    for each in found:
        for token, name in _TOKENS.items():
            each = each.replace(token, f"<AWS::{name}>")
        accept(construct, f"{rule}[{each}]", reason)


def accept_lint(resource: CfnResource, rule: str, reason: str) -> None:
    """Take a finding of cfn-lint as it is; the reason stays in the template."""
    if len(reason) < _SHORTEST:
        raise ValueError(f"{rule}: say why, not only that: {reason!r}")
    resource.add_metadata("cfn-lint", {"config": {"ignore_checks": [rule]}, "reason": reason})


def check(app: App) -> None:
    """Check the application by AWS's own solutions' rules when it is synthesized."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
