"""Every place to run carries the whole catalogue of settings, and starts with it; a mistake there is one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from core.settings import BadSettings, Settings, load
from infra.local.stack import Stack
from infra.settings_page import settings
from infra.targets import COMPOSE, HOME, KUBERNETES

ROOT = Path(__file__).parents[2]
CATALOGUE = [setting.name for setting in settings()]
SECRETS = {
    "MONGODB_URL": "mongodb+srv://ocelot:hidden@cluster.example.net/?w=majority",
    "OPENSEARCH_URL": "https://search.example.net",
    "OCELOT_SIGNING_KEY": "",
}
"""What the secret stores of the other places hold."""
AWS_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
"""Not settings of Ocelot's: the SDK's own."""


def document(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def variables(path: Path) -> dict[str, str]:
    """What an env file sets: no quotes, no interpolation, so that every reader of it sees the same."""
    lines = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines)
    assert [line for line in lines if re.search(r"""["'$\\]|\s$""", line)] == []
    return found


def compose() -> dict[str, str]:
    return variables(COMPOSE.path)


def kubernetes(overlay: str) -> dict[str, str]:
    changes = document(f"infra/k8s/overlays/{overlay}/kustomization.yaml")["configMapGenerator"][0]
    assert (changes["name"], changes["behavior"]) == ("ocelot", "merge")
    assert {line.split("=")[0] for line in changes["literals"]} <= variables(KUBERNETES.path).keys()
    return variables(KUBERNETES.path) | dict(line.split("=", 1) for line in changes["literals"]) | SECRETS


def dev() -> dict[str, str]:
    stack = Stack(Path("/srv/ocelot"), 8000, lambda _: None)
    defaults = {setting.name: setting.default or "" for setting in settings()}
    assert stack.environment.keys() <= defaults.keys()
    return defaults | stack.environment


def ecs(service: str) -> dict[str, str]:
    """A container's variables, with what a deploy fills in, and with what the Parameter Store holds."""
    filled = {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCOUNT_ID": "111122223333",
        "OCELOT_STAGE": "production",
        "OCELOT_PUBLIC_URL": "https://ocelot.example.com",
        "OCELOT_TRUSTED_PROXIES": "10.0.0.0/16",
        "ARCHIVE_LOCK_DAYS": "30",
        "IMAGE": f"registry/ocelot-log-{service}:1",
    }
    text = (ROOT / ".aws" / f"task-definition-{service}.json").read_text(encoding="utf-8")
    container = json.loads(Template(text).substitute(filled))["containerDefinitions"][0]
    assert {secret["name"] for secret in container["secrets"]} <= SECRETS.keys()
    plain = {variable["name"]: variable["value"] for variable in container["environment"]}
    assert not plain.keys() & SECRETS.keys()
    # The consumer signs nothing, so it is not given the key.
    return plain | SECRETS


PLACES = {
    "make dev": dev,
    "compose": compose,
    "ecs api": lambda: ecs("api"),
    "ecs consumer": lambda: ecs("consumer"),
    "kubernetes development": lambda: kubernetes("development"),
    "kubernetes production": lambda: kubernetes("production"),
}


@pytest.fixture(params=PLACES)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of one place, which are this process's as well."""
    found = PLACES[request.param]()
    for name in CATALOGUE:
        monkeypatch.delenv(name, raising=False)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_the_place_carries_the_catalogue_and_nothing_else(environment: dict[str, str]) -> None:
    assert sorted(environment) == sorted(CATALOGUE)


def test_the_place_differs_from_the_defaults_only_where_it_must(environment: dict[str, str]) -> None:
    places = r"OCELOT_QUEUE|OCELOT_HOME|PORT|OCELOT_(CONSUMER_PORT|HOST|PUBLIC_URL|INDEX_\w+|REBUILD_ON_START)|\w+_URL"
    places += (
        r"|AWS_REGION|ARCHIVE_\w+|OCELOT_TRUSTED_PROXIES|OPENSEARCH_AUTH|MONGODB_URL|OCELOT_MAX_\w*IN_FLIGHT_BYTES"
        r"|OCELOT_MIGRATE_ON_START"
    )
    defaults = {setting.name: setting.default or "" for setting in settings()}
    differs = [name for name, value in environment.items() if value != defaults[name]]
    assert [name for name in differs if not re.fullmatch(places, name)] == []


def test_a_process_starts_with_what_the_place_sets(environment: dict[str, str]) -> None:
    loaded = load()
    assert loaded.queue == environment["OCELOT_QUEUE"]
    assert (loaded.archive_url or "").startswith("s3://" if loaded.queue == "sqs" else "file://")


def test_what_is_missing_there_is_one_line_that_names_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    required = [setting.name for setting in settings() if setting.required]
    required += ["SQS_QUEUE_URL"] if environment["OCELOT_QUEUE"] == "sqs" else []
    assert len(required) >= 3
    for name in required:
        with monkeypatch.context() as patch:
            patch.delenv(name)
            with pytest.raises(BadSettings) as caught:
                load()
        assert caught.value.message.startswith(f"{name}: is required")
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("service", "name", "value", "line"),
    [
        ("api", "MONGODB_URL", None, "MONGODB_URL: is required"),
        ("consumer", "OCELOT_INDEX_SHARDS", "none", "OCELOT_INDEX_SHARDS: Input should be a valid integer"),
    ],
)
def test_the_containers_command_ends_with_that_line(service: str, name: str, value: str | None, line: str) -> None:
    found = {**compose(), name: value}
    environment = {key: text for key, text in found.items() if text is not None}
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", service],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"ocelot {service}: {line}")
    assert ended.stderr.count("\n") == 1


def test_the_services_of_compose_read_that_file_and_no_other_variable() -> None:
    found = document("compose.yaml")["services"]
    for name in ("api", "consumer"):
        assert [each if isinstance(each, str) else each["path"] for each in found[name]["env_file"]] == [
            str(COMPOSE.path),
            "compose.env",
        ]
        assert set(found[name]["environment"]) == AWS_KEYS
        assert f"home:{HOME}" in found[name]["volumes"]


def test_both_images_differ_in_what_they_run_alone() -> None:
    api, consumer = ((ROOT / f"Dockerfile.{name}").read_text(encoding="utf-8") for name in ("api", "consumer"))
    first = [text.split("\nFROM ")[1] for text in (api, consumer)]
    assert first[0] == first[1]
    assert f"OCELOT_HOME={HOME}" in api
    assert Settings.model_fields["port"].default == int(re.findall(r"^EXPOSE (\d+)$", api, re.MULTILINE)[0])
    ports = re.findall(r"^EXPOSE (\d+)$", consumer, re.MULTILINE)
    assert Settings.model_fields["consumer_port"].default == int(ports[0])
