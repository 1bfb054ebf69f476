"""Settings come from the documented variables alone, and a mistake is told without its secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.settings import BadSettings, FileQueueSettings, Settings, SqsQueueSettings, load

REQUIRED = {
    "OCELOT_QUEUE": "file",
    "MONGODB_URL": "mongodb://user:hidden@127.0.0.1",
    "OPENSEARCH_URL": "http://user:hidden@127.0.0.1:9200",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing but what is required."""
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(field.alias or name, raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def fault(environment: pytest.MonkeyPatch, name: str, value: str | None) -> str:
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(BadSettings) as caught:
        load()
    return caught.value.message


def test_variables_named_like_a_field_mean_nothing(environment: pytest.MonkeyPatch) -> None:
    before = load()
    for name, field in Settings.model_fields.items():
        if name.upper() != field.alias:
            environment.setenv(name.upper(), "file")
            environment.setenv(name, "file")
    assert load().model_dump() == before.model_dump()
    assert load().home == Path(".ocelot")


def test_the_documented_variables_are_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OCELOT_HOME", "/srv/ocelot")
    environment.setenv("PORT", "9000")
    assert (load().home, load().port) == (Path("/srv/ocelot"), 9000)
    assert load().queue_settings == FileQueueSettings(Path("/srv/ocelot/queue.db"))


def test_the_sqs_queue_has_what_it_needs(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OCELOT_QUEUE", "sqs")
    environment.setenv("SQS_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/q")
    environment.setenv("AWS_REGION", "eu-west-1")
    environment.setenv("SQS_ENDPOINT_URL", "")
    assert load().queue_settings == SqsQueueSettings("https://sqs.eu-west-1.amazonaws.com/1/q", "eu-west-1", None)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("OCELOT_QUEUE", None, "OCELOT_QUEUE: is required"),
        ("OCELOT_QUEUE", "memory", "OCELOT_QUEUE: Input should be 'sqs' or 'file'"),
        ("OCELOT_QUEUE", "sqs", "SQS_QUEUE_URL: is required with OCELOT_QUEUE=sqs"),
        ("MONGODB_URL", None, "MONGODB_URL: is required"),
        ("MONGODB_URL", "http://user:hidden@db", "MONGODB_URL: must be a mongodb:// or mongodb+srv:// URL"),
        ("MONGODB_URL", "mongodb://user:hidden@db:port", "MONGODB_URL: must be a mongodb:// or mongodb+srv:// URL"),
        ("MONGODB_URL", "mongodb://user:hidden@db:99999", "MONGODB_URL: must be a mongodb:// or mongodb+srv:// URL"),
        ("OPENSEARCH_URL", "user:hidden@search", "OPENSEARCH_URL: must be an http:// or https:// URL"),
        ("SQS_ENDPOINT_URL", "localhost:9324", "SQS_ENDPOINT_URL: must be an http:// or https:// URL"),
        ("OPENSEARCH_AUTH", "sigv4", "OPENSEARCH_AUTH: sigv4 takes no user and password"),
        ("OPENSEARCH_CA_FILE", "/nowhere/ca.pem", "OPENSEARCH_CA_FILE: Path does not point to a file"),
        ("OCELOT_KEEP_ALIVE", "0", "OCELOT_KEEP_ALIVE: Input should be greater than or equal to 1"),
        ("PORT", "70000", "PORT: Input should be less than or equal to 65535"),
        ("OCELOT_SENDS_IN_FLIGHT", "many", "OCELOT_SENDS_IN_FLIGHT: Input should be a valid integer"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_variable(
    environment: pytest.MonkeyPatch, name: str, value: str | None, line: str
) -> None:
    message = fault(environment, name, value)
    assert message.startswith(line)
    assert "\n" not in message
    assert "hidden" not in message


def test_every_mistake_has_its_line(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PORT", "x")
    lines = fault(environment, "OCELOT_QUEUE", None).splitlines()
    assert [line.split(":")[0] for line in lines] == ["OCELOT_QUEUE", "PORT"]


def test_secrets_are_not_shown() -> None:
    assert "hidden" not in repr(load()) + str(load()) + load().model_dump_json()
