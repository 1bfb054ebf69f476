"""The templates of one stage, with references followed across its stacks, so that a test can read what AWS would do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.aws.stages import Stage

STACKS = ("network", "data", "service")
_PSEUDO = {
    "AWS::AccountId": "${AWS_ACCOUNT_ID}",
    "AWS::Region": "${AWS_REGION}",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}
Resource = dict[str, Any]


class Templates:
    def __init__(self, stage: Stage, stacks: dict[str, Any], manifest: dict[str, Any]) -> None:
        self.stage = stage
        self.stacks = stacks
        self.manifest = manifest

    @classmethod
    def read(cls, folder: Path, stage: Stage) -> Templates:
        names = {stack: f"ocelot-{stage.name}-{stack}" for stack in STACKS}
        read = {stack: json.loads((folder / f"{name}.template.json").read_text()) for stack, name in names.items()}
        artifacts = json.loads((folder / "manifest.json").read_text())["artifacts"]
        return cls(stage, read, {stack: artifacts[name] for stack, name in names.items()})

    def copy(self) -> Templates:
        """One of one's own, to plant a fault in."""
        stacks, manifest = json.loads(json.dumps([self.stacks, self.manifest]))
        return Templates(self.stage, stacks, manifest)

    def resources(self) -> Iterator[tuple[str, str, Resource]]:
        """Each resource with its stack and logical id."""
        for stack, template in self.stacks.items():
            for logical_id, resource in template["Resources"].items():
                yield stack, logical_id, resource

    def of(self, kind: str) -> list[Resource]:
        """The resources of a type, as they are in the template: what is changed here is changed there."""
        return [resource for _, _, resource in self.resources() if resource["Type"] == f"AWS::{kind}"]

    def one(self, kind: str, **properties: str) -> Resource:
        """The one resource of a type with these plain properties."""
        found = [
            each
            for each in self.of(kind)
            if all(self.plain(each["Properties"].get(name)) == value for name, value in properties.items())
        ]
        assert len(found) == 1, f"{len(found)} of {kind} with {properties}"
        return found[0]

    def plain(self, value: Any) -> Any:
        """The value with references followed: to names where there is one, else to `<id>` or `<id.attribute>`."""
        if isinstance(value, list):
            return [self.plain(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument), *_ = value.items()
            if function == "Ref":
                return _PSEUDO.get(argument, f"<{argument}>")
            if function == "Fn::GetAtt":
                return f"<{'.'.join(argument)}>"
            if function == "Fn::Join":
                return argument[0].join(str(self.plain(each)) for each in argument[1])
            if function == "Fn::ImportValue":
                return self.plain(self._exported(argument))
        return {name: self.plain(each) for name, each in value.items()}

    def _exported(self, name: str) -> Any:
        for template in self.stacks.values():
            for output in template.get("Outputs", {}).values():
                if output.get("Export", {}).get("Name") == name:
                    return output["Value"]
        raise AssertionError(f"nothing exports {name}")

    def logical_id(self, resource: Resource) -> str:
        return next(logical_id for _, logical_id, each in self.resources() if each is resource)

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What the role of this name is allowed to do."""
        reference = f"<{self.logical_id(self.one('IAM::Role', RoleName=role))}>"
        found: list[dict[str, Any]] = []
        for policy in self.of("IAM::Policy"):
            if reference in self.plain(policy["Properties"].get("Roles", [])):
                found += [self.plain(each) for each in policy["Properties"]["PolicyDocument"]["Statement"]]
        return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
