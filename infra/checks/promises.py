"""What the objects of a cluster promise beyond their schemas: they find each other, and no pod holds a right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

NAME: Final = "app.kubernetes.io/name"
SERVICES: Final = ("ocelot-api", "ocelot-consumer")
SECRETS: Final = {"MONGODB_URL", "OPENSEARCH_URL", "OCELOT_SIGNING_KEY"}
MIGRATION: Final = "ocelot-migrate"
_DRAIN_SECONDS: Final = 30


class Objects:
    """The objects of one overlay."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.all = documents

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.all if each["kind"] == kind]

    def named(self, kind: str) -> dict[str, dict[str, Any]]:
        return {each["metadata"]["name"]: each for each in self.of(kind)}

    def selected(self, kind: str, selector: dict[str, Any]) -> list[dict[str, Any]]:
        """Those whose pods (or, for a Service, whose own labels) `selector` finds."""
        return [each for each in self.of(kind) if _matches(selector, _labels(each))]


def promises(objects: Objects, catalogue: set[str]) -> Iterator[str]:
    """A line for each promise that is not kept."""
    deployments = objects.named("Deployment")
    yield from (f"no Deployment {name}" for name in SERVICES if name not in deployments)
    for kind in ("Deployment", "Job"):
        for each in objects.of(kind):
            for fault in _pod(each, objects):
                yield f"{kind} {each['metadata']['name']}: {fault}"
    for name in SERVICES:
        if name in deployments:
            yield from (f"Deployment {name}: {fault}" for fault in _probes(deployments[name]))
    yield from _settings(objects, catalogue)
    for rule in (_migration, _services, _scaling, _budgets, _network, _monitors):
        found: Callable[[Objects], Iterator[str]] = rule
        yield from found(objects)


def _pod(workload: dict[str, Any], objects: Objects) -> Iterator[str]:
    spec = workload["spec"]["template"]["spec"]
    if spec.get("serviceAccountName") not in objects.named("ServiceAccount"):
        yield "its account is not there"
    if spec.get("automountServiceAccountToken") is not False:
        yield "is given a token of the cluster"
    pod = spec.get("securityContext", {})
    if not (pod.get("runAsNonRoot") and pod.get("runAsUser") == 10001 and pod.get("seccompProfile")):
        yield "does not run as the image's user"
    for container in spec["containers"]:
        held = container.get("securityContext", {})
        if held.get("allowPrivilegeEscalation") is not False or held.get("capabilities") != {"drop": ["ALL"]}:
            yield "holds rights"
        if held.get("readOnlyRootFilesystem") is not True:
            yield "its root can be written to"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield "has no limit of memory"
        image, _, tag = container["image"].rpartition(":")
        if not image or tag == "latest":
            yield f"the image {container['image']} names no version"
        mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
        if not {"/tmp", "/var/lib/ocelot"} <= mounts:  # noqa: S108 - a mount
            yield "has nothing to write to"
        for source in container.get("envFrom", []):
            if "configMapRef" in source and source["configMapRef"]["name"] not in objects.named("ConfigMap"):
                yield f"reads {source['configMapRef']['name']}, which is not there"
        if {"secretRef": {"name": "ocelot"}} not in container.get("envFrom", []):
            yield "is not given the secrets"


def _probes(deployment: dict[str, Any]) -> Iterator[str]:
    spec = deployment["spec"]["template"]["spec"]
    container = spec["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for probe, end in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        asked = container.get(probe, {}).get("httpGet", {})
        if not asked.get("path", "").endswith(end) or asked.get("port") not in ports:
            yield f"has no {probe} that asks {end}"
    before = re.findall(r"sleep\((\d+)\)", str(container.get("lifecycle", {}).get("preStop", "")))
    if spec.get("terminationGracePeriodSeconds", 30) <= _DRAIN_SECONDS + sum(map(int, before)):
        yield "is killed before it has drained"
    if "replicas" in deployment["spec"]:
        yield "says how many it is, against what scales it"
    if not spec.get("topologySpreadConstraints"):
        yield "is not spread over zones"


def _settings(objects: Objects, catalogue: set[str]) -> Iterator[str]:
    for name, config in objects.named("ConfigMap").items():
        yield from (f"{name}: {each} is no setting" for each in sorted(config["data"].keys() - catalogue))
        yield from (f"{name}: {each} is missing" for each in sorted(catalogue - config["data"].keys() - SECRETS))
        yield from (f"{name}: {each} is a secret" for each in sorted(config["data"].keys() & SECRETS))


def _migration(objects: Objects) -> Iterator[str]:
    """It runs to its end before the new pods are there: what it needs is applied without them."""
    job = objects.named("Job").get(MIGRATION)
    if job is None:
        yield "nothing migrates the store"
        return
    if job["spec"]["template"]["spec"]["containers"][0].get("args") != ["migrate"]:
        yield f"Job {MIGRATION}: does not migrate"
    if any(config["data"].get("OCELOT_MIGRATE_ON_START") != "false" for config in objects.of("ConfigMap")):
        yield f"Job {MIGRATION}: the services do not wait for it"
    for kind in ("Job", "ConfigMap", "ServiceAccount", "NetworkPolicy"):
        for each in objects.of(kind):
            if each["metadata"].get("labels", {}).get(NAME) in SERVICES:
                yield f"{kind} {each['metadata']['name']}: comes with the services only, and the migration needs it"


def _services(objects: Objects) -> Iterator[str]:
    for name, service in objects.named("Service").items():
        chosen = objects.selected("Deployment", {"matchLabels": service["spec"]["selector"]})
        ports = {port["name"] for each in chosen for port in each["spec"]["template"]["spec"]["containers"][0]["ports"]}
        if not chosen:
            yield f"Service {name}: leads to no pod"
        yield from (
            f"Service {name}: leads to the port {port['targetPort']}, which is not there"
            for port in service["spec"]["ports"]
            if chosen and port["targetPort"] not in ports
        )


def _scaling(objects: Objects) -> Iterator[str]:
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for each in objects.of(kind)
    }
    yield from (f"nothing scales {name}" for name in sorted(set(SERVICES) - scaled))
    yield from (f"{name} is scaled and is not there" for name in sorted(scaled - objects.named("Deployment").keys()))
    for each in objects.of("ScaledObject"):
        triggers = [trigger["type"] for trigger in each["spec"]["triggers"]]
        if triggers != ["aws-sqs-queue"]:
            yield f"ScaledObject {each['metadata']['name']}: does not go by the queue"
        for trigger in each["spec"]["triggers"]:
            if trigger.get("authenticationRef", {}).get("name") not in objects.named("TriggerAuthentication"):
                yield f"ScaledObject {each['metadata']['name']}: may not look at the queue"


def _budgets(objects: Objects) -> Iterator[str]:
    for name in SERVICES:
        found = [
            each
            for each in objects.of("PodDisruptionBudget")
            if any(d["metadata"]["name"] == name for d in objects.selected("Deployment", each["spec"]["selector"]))
        ]
        if len(found) != 1:
            yield f"{name}: {len(found)} disruption budgets, where 1 counts"


def _network(objects: Objects) -> Iterator[str]:
    policies = objects.of("NetworkPolicy")
    if not any(
        policy["spec"]["podSelector"] == {}
        and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
        for policy in policies
    ):
        yield "no policy keeps out what no other lets in"
    for direction in ("Ingress", "Egress"):
        for name in SERVICES:
            if not any(
                direction in policy["spec"]["policyTypes"]
                and policy["spec"]["podSelector"] != {}
                and any(
                    d["metadata"]["name"] == name for d in objects.selected("Deployment", policy["spec"]["podSelector"])
                )
                for policy in policies
            ):
                yield f"{name}: no policy for {direction.lower()}"
    outward = [policy for policy in policies if policy["spec"].get("egress")]
    if not any(objects.selected("Job", policy["spec"]["podSelector"]) for policy in outward):
        yield f"{MIGRATION}: no policy lets it reach the stores"


def _monitors(objects: Objects) -> Iterator[str]:
    watched: set[tuple[str, str]] = set()
    for monitor in objects.of("ServiceMonitor"):
        ports = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
        for service in objects.of("Service"):
            if _matches(monitor["spec"]["selector"], service["metadata"]["labels"]):
                watched |= {
                    (service["metadata"]["name"], p["name"]) for p in service["spec"]["ports"] if p["name"] in ports
                }
    yield from (
        f"{name}: nobody reads its metrics" for name in SERVICES if name not in {service for service, _ in watched}
    )


def _labels(each: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = each["spec"]["template"]["metadata"]["labels"]
    return found


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )
