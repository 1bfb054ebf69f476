"""A promise of the infrastructure: how it is checked, and faults that the check has to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.aws.tests.templates import Resource, Templates

Check = Callable[[Templates], None]
Plant = Callable[[Templates], None]


@dataclass(frozen=True, slots=True)
class Promise:
    name: str
    check: Check
    plants: tuple[Plant, ...]


PROMISES: list[Promise] = []


def promise(*plants: Plant) -> Callable[[Check], Check]:
    """The function checks a promise by assertions; each of `plants` breaks it."""

    def take(check: Check) -> Check:
        assert plants, "a check that was never seen to fail is none"
        PROMISES.append(Promise(check.__name__, check, plants))
        return check

    return take


def put(kind: str, path: str, value: Any, **properties: str) -> Plant:
    """Sets a property (`A.B.0.C`) of every resource of a type, or of the one with these properties."""

    def plant(templates: Templates) -> None:
        for resource in _chosen(templates, kind, properties):
            *parents, last = path.split(".")
            inner: Any = resource
            for name in parents:
                inner = inner[int(name) if name.isdigit() else name]
            inner[int(last) if last.isdigit() else last] = value

    return plant


def drop(kind: str, path: str = "", **properties: str) -> Plant:
    """Takes a property, or the whole resource, away."""

    def plant(templates: Templates) -> None:
        for resource in _chosen(templates, kind, properties):
            if not path:
                for template in templates.stacks.values():
                    kept = template["Resources"].items()
                    template["Resources"] = {name: each for name, each in kept if each is not resource}
                continue
            *parents, last = path.split(".")
            inner: Any = resource
            for name in parents:
                inner = inner[int(name) if name.isdigit() else name]
            del inner[int(last) if last.isdigit() else last]

    return plant


def change(kind: str, how: Callable[[Resource], None], **properties: str) -> Plant:
    def plant(templates: Templates) -> None:
        for resource in _chosen(templates, kind, properties):
            how(resource)

    return plant


def _chosen(templates: Templates, kind: str, properties: dict[str, str]) -> list[Resource]:
    wanted = {name: value.replace("STAGE", templates.stage.name) for name, value in properties.items()}
    found = [templates.one(kind, **wanted)] if wanted else templates.of(kind)
    assert found, f"there is no {kind} to plant a fault in"
    return found
