"""The ECS task definitions: fresh, taken by ECS's own model, and with settings that the services start with."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from core.settings import BadSettings, Settings, load
from infra.aws import costs, task_definitions
from infra.aws.containers import CONTAINERS, Container, of_stage
from infra.aws.stages import STAGES, Stage
from infra.settings_page import settings

VALUES = {
    "AWS_ACCOUNT_ID": "000000000000",
    "AWS_REGION": "eu-central-1",
    "IMAGE": "registry.example/ocelot:1",
    "OCELOT_PUBLIC_URL": "https://ocelot.example",
}
SECRETS = {
    "MONGODB_URL": "mongodb+srv://ocelot:hidden@cluster.example/?retryWrites=false",
    "OPENSEARCH_URL": "https://search.example",
    "OCELOT_SIGNING_KEY": "-----BEGIN PRIVATE KEY-----",
}
EACH = pytest.mark.parametrize("container", CONTAINERS, ids=lambda each: each.name)
BOTH = pytest.mark.parametrize("stage", STAGES.values(), ids=lambda each: each.name)
Definition = dict[str, Any]


def filled(container: Container, stage: Stage = STAGES["production"]) -> Definition:
    return task_definitions.filled(container, VALUES | of_stage(stage))


def own(definition: Definition) -> Definition:
    (found,) = definition["containerDefinitions"]
    assert isinstance(found, dict)
    return found


@lru_cache(maxsize=1)
def _input() -> Any:
    model = botocore.session.get_session().get_service_model("ecs")
    return model.operation_model("RegisterTaskDefinition").input_shape


def faults_by_ecs(definition: Definition) -> str:
    """What ECS's model has against the definition; empty for nothing. Its enumerations are checked as well."""
    report = ParamValidator().validate(definition, _input())
    return "\n".join([report.generate_report(), *_strange(definition, _input(), "")]).strip()


def _strange(value: Any, shape: Any, path: str) -> list[str]:
    """Values that are none of their enumeration, which the driver itself leaves to the service."""
    if isinstance(value, dict) and shape.type_name == "structure":
        known = ((name, each) for name, each in value.items() if name in shape.members)
        return [fault for name, each in known for fault in _strange(each, shape.members[name], f"{path}.{name}")]
    if isinstance(value, list) and shape.type_name == "list":
        return [fault for each in value for fault in _strange(each, shape.member, f"{path}[]")]
    named = getattr(shape, "enum", [])
    return [f"{path}: {value} is none of {named}"] if named and value not in named else []


def faults_by_settings(definition: Definition, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is wrong with the container's settings, beside the catalogue and by starting with them."""
    plain = [each["name"] for each in own(definition)["environment"]]
    secret = [each["name"] for each in own(definition)["secrets"]]
    catalogue = {each.name: each for each in settings()}
    faults = [f"{name} is no setting" for name in [*plain, *secret] if name not in catalogue]
    faults += [f"{name} is missing" for name, each in catalogue.items() if not each.secret and name not in plain]
    faults += [f"{name} is in the open" for name in plain if name in catalogue and catalogue[name].secret]
    faults += [f"{name} is told twice" for name in {*plain, *secret} if [*plain, *secret].count(name) > 1]
    for name in catalogue:
        monkeypatch.delenv(name, raising=False)
    for each in own(definition)["environment"]:
        monkeypatch.setenv(each["name"], each["value"])
    for name in secret:
        monkeypatch.setenv(name, SECRETS.get(name, ""))
    try:
        load()
    except BadSettings as error:
        faults += error.message.splitlines()
    return faults


@EACH
def test_the_files_are_fresh(container: Container) -> None:
    found = task_definitions.path_of(container).read_text(encoding="utf-8")
    assert found == task_definitions.text(container), "stale: run `make docs`"


@EACH
@BOTH
def test_ecs_takes_the_definition(container: Container, stage: Stage) -> None:
    assert faults_by_ecs(filled(container, stage)) == ""


@EACH
@BOTH
def test_the_service_starts_with_these_settings(
    container: Container, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults_by_settings(filled(container, stage), monkeypatch) == []
    made = load()
    assert made.queue == "sqs"
    assert made.opensearch_auth == "sigv4"
    assert str(made.sqs_queue_url).endswith(f"/000000000000/ocelot-{stage.name}-events")
    assert [str(network) for network in made.proxy_networks] == list(stage.public_cidrs)
    assert made.archive_lock_days == stage.lock_days
    assert made.keep_alive > 60, "the load balancer keeps its connections for 60 s"


@EACH
def test_a_container_listens_where_its_definition_says(container: Container) -> None:
    told = {each["name"]: each["value"] for each in own(filled(container))["environment"]}
    port = told["PORT" if container.name == "api" else "OCELOT_CONSUMER_PORT"]
    assert [each["containerPort"] for each in own(filled(container))["portMappings"]] == [int(port)]


@EACH
def test_a_container_may_do_little(container: Container) -> None:
    found = own(filled(container))
    assert found["readonlyRootFilesystem"] is True
    assert found["privileged"] is False
    assert found["user"].split(":")[0] not in ("", "0", "root")
    assert found["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert [each["containerPath"] for each in found["linuxParameters"]["tmpfs"]] == ["/tmp"]
    assert found["memory"] >= found["memoryReservation"] + containers_tmp(found)


def containers_tmp(found: Definition) -> int:
    size = found["linuxParameters"]["tmpfs"][0]["size"]
    assert isinstance(size, int)
    return size


def test_only_the_api_signs_tokens() -> None:
    held = {each.name: {secret["name"] for secret in own(filled(each))["secrets"]} for each in CONTAINERS}
    assert held["api"] - held["consumer"] == {"OCELOT_SIGNING_KEY"}


@EACH
def test_no_account_region_or_image_is_in_the_files(container: Container) -> None:
    text = task_definitions.text(container)
    assert "${AWS_ACCOUNT_ID}" in text
    assert "${IMAGE}" in text
    with pytest.raises(ValueError, match=r"\$\{IMAGE\}, \$\{OCELOT_PUBLIC_URL\}"):
        task_definitions.filled(container, {"AWS_ACCOUNT_ID": "1", "AWS_REGION": "r"} | of_stage(STAGES["development"]))


def test_a_filled_definition_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--stage", "production", "--account", "000000000000", "--region", "eu-central-1"]
    more = ["--image", VALUES["IMAGE"], "--url", VALUES["OCELOT_PUBLIC_URL"]]
    assert task_definitions.main(["fill", "consumer", *given, *more]) == 0
    assert json.loads(capsys.readouterr().out) == filled(CONTAINERS[1])


def _set(name: str, value: str) -> Callable[[Definition], None]:
    def plant(definition: Definition) -> None:
        environment = own(definition)["environment"]
        environment[:] = [each for each in environment if each["name"] != name] + [{"name": name, "value": value}]

    return plant


def _drop(name: str) -> Callable[[Definition], None]:
    def plant(definition: Definition) -> None:
        for kind in ("environment", "secrets"):
            own(definition)[kind] = [each for each in own(definition)[kind] if each["name"] != name]

    return plant


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        (_set("OCELOT_QUEUES", "sqs"), "OCELOT_QUEUES is no setting"),
        (_drop("OCELOT_LOG_LEVEL"), "OCELOT_LOG_LEVEL is missing"),
        (_set("MONGODB_URL", "mongodb://x"), "MONGODB_URL is in the open"),
        (_drop("MONGODB_URL"), "MONGODB_URL: is required"),
        (_set("SQS_QUEUE_URL", ""), "SQS_QUEUE_URL: is required with OCELOT_QUEUE=sqs"),
        (_set("PORT", "http"), "PORT: Input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_found(
    plant: Callable[[Definition], None], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = copy.deepcopy(filled(CONTAINERS[0]))
    plant(definition)
    assert any(each.startswith(fault) for each in faults_by_settings(definition, monkeypatch))


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        ({"networkMode": "bridged"}, "bridged is none of"),
        ({"requiresCompatibility": ["EC2"]}, "Unknown parameter"),
        ({"containerDefinitions": [{"name": "api", "memory": "1024"}]}, "Invalid type"),
    ],
)
def test_what_ecs_would_refuse_is_found(plant: Definition, fault: str) -> None:
    assert fault in faults_by_ecs(filled(CONTAINERS[0]) | plant)


def test_every_secret_of_the_catalogue_has_its_place() -> None:
    given = {secret["name"] for each in CONTAINERS for secret in own(filled(each))["secrets"]}
    assert given == {field.alias for field in Settings.model_fields.values() if "SecretStr" in str(field.annotation)}


# Costs ---------------------------------------------------------------------------------------------------------------


def test_the_costs_are_fresh() -> None:
    assert costs.PAGE.read_text(encoding="utf-8") == costs.page(), "stale: run `make docs`"


@pytest.mark.parametrize("plan", costs.PLANS, ids=lambda plan: str(plan.rate))
def test_a_bill_is_its_own_arithmetic(plan: costs.Plan) -> None:
    """What is written as `2 x 730 h x $0.0416` is that much."""
    for line in costs.lines(plan):
        products = [part for part in re.split(r" \+ ", line.arithmetic.rpartition(" = ")[2]) if "$" in part]
        total = 0.0
        for product in products:
            figures = re.findall(r"(?<![\w.])\$?([\d,]+(?:\.\d+)?)", product.partition("(")[0])
            total += math.prod(float(figure.replace(",", "")) for figure in figures)
        assert total == pytest.approx(line.dollars, rel=0.02, abs=0.6), line
