"""Prometheus' configuration, the alert rules with their tests, and the dashboards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from infra.checks.tools import read_json, read_yaml, run

RULES: Final = "infra/monitoring/rules/ocelot.yml"
_SUFFIXES: Final = re.compile(r"_(bucket|count|sum)$")


def check(root: Path) -> list[str]:
    rules = root / RULES
    faults = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", rules.name, root=rules.parent)
    faults += run("promtool", "check", "config", "--syntax-only", "infra/monitoring/prometheus.yml", root=root)
    if faults:
        return faults
    tests = sorted(rules.parent.glob("*_test.yml"))
    faults = run("promtool", "test", "rules", *(path.name for path in tests), root=rules.parent)
    known = _known(root)
    groups = read_yaml(rules)["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    for rule in alerts:
        faults += [f"{RULES}: {rule['alert']}: {fault}" for fault in _rule(rule, known)]
    faults += [f"{RULES}: {name} is never tested" for name in sorted(_untested(alerts, tests))]
    for path in sorted((root / "infra/monitoring/grafana/dashboards").glob("*.json")):
        faults += [f"{path.relative_to(root)}: {fault}" for fault in _dashboard(read_json(path), known)]
    sources = read_yaml(root / "infra/monitoring/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    if not any(source["url"] == "http://prometheus:9090" and source["isDefault"] for source in sources):
        faults.append("Grafana does not know Prometheus")
    return faults


def _known(root: Path) -> set[str]:
    """Every metric of docs/metrics.md, which a test compares with the code."""
    page = (root / "docs/metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(ocelot_\w+)`", page, re.MULTILINE))


def _unknown(expression: str, known: set[str]) -> list[str]:
    named = set(re.findall(r"\bocelot_\w+", expression))
    return sorted(name for name in named if name not in known and _SUFFIXES.sub("", name) not in known)


def _rule(rule: dict[str, Any], known: set[str]) -> list[str]:
    faults = [f"{name} is no metric of docs/metrics.md" for name in _unknown(rule["expr"], known)]
    if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
        faults.append("says not whether somebody is to be woken")
    faults += [f"has no {name}" for name in ("summary", "description") if not rule.get("annotations", {}).get(name)]
    return faults


def _untested(alerts: list[dict[str, Any]], tests: list[Path]) -> set[str]:
    named = {
        case["alertname"]
        for path in tests
        for test in read_yaml(path)["tests"]
        for case in test.get("alert_rule_test", [])
    }
    return {rule["alert"] for rule in alerts} - named


def _dashboard(dashboard: dict[str, Any], known: set[str]) -> list[str]:
    faults = []
    if not dashboard.get("uid") or not dashboard.get("title"):
        faults.append("has no uid or no title")
    panels = list(_panels(dashboard))
    numbers = [panel["id"] for panel in panels]
    if len(numbers) != len(set(numbers)):
        faults.append("two panels have one id")
    for panel in panels:
        if panel["type"] == "row":
            continue
        expressions = [target["expr"] for target in panel.get("targets", [])]
        if not expressions or not panel.get("title"):
            faults.append(f"panel {panel['id']} shows nothing, or does not say what")
        for expression in expressions:
            faults += [
                f"{panel['title']}: {name} is no metric of docs/metrics.md" for name in _unknown(expression, known)
            ]
            if expression.count("(") != expression.count(")"):
                faults.append(f"{panel['title']}: brackets do not match")
    return faults


def _panels(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in holder.get("panels", []):
        yield panel
        yield from _panels(panel)
