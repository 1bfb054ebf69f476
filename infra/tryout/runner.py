"""Runs both files against a running stack, as Postman and an editor would: request by request, variables on the way."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

_VARIABLE: Final = re.compile(r"\{\{([^{}]+)\}\}")
_STATUS: Final = re.compile(r"to\.have\.status\((\d+)\)")
_SAVE: Final = re.compile(r"collectionVariables\.set\('(\w+)', pm\.response\.json\(\)\.([\w.]+)\)")
_FROM_ANSWER: Final = re.compile(r"(\w+)\.response\.body\.\$\.([\w.]+)")
_PATIENCE: Final = 10
"""How often a request is made again that is answered 503, as a new log's first search may be."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One request that was made; it is `good` when it was answered with the status that the file names."""

    name: str
    expected: int
    status: int
    text: str = field(repr=False)

    @property
    def good(self) -> bool:
        return self.status == self.expected


@dataclass(frozen=True, slots=True)
class _Asked:
    name: str
    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    expected: int


def run_postman(text: str, facts: Mapping[str, str]) -> Iterator[Ran]:
    """Make each request of a collection; `facts` stands for the environment that a user chooses."""
    collection = json.loads(text)
    variables = {item["key"]: item["value"] for item in collection["variable"]} | dict(facts)
    with httpx.Client(timeout=60) as client:
        for item in collection["item"]:
            script = "\n".join(item["event"][0]["script"]["exec"])
            status = _STATUS.search(script)
            assert status is not None, item["name"]  # noqa: S101 - each request tests its status
            ran = _make(client, _of_item(item, int(status[1]), variables))
            yield ran
            if ran.good:
                variables |= {name: _at(ran.text, path) for name, path in _SAVE.findall(script)}


def run_http(text: str, facts: Mapping[str, str]) -> Iterator[Ran]:
    """Make each request of an `.http` file; `facts` takes the place of the variables at its head."""
    variables = dict(facts)
    answers: dict[str, str] = {}
    with httpx.Client(timeout=60) as client:
        for block in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
            key, asked = _of_block(block, variables, answers)
            ran = _make(client, asked)
            yield ran
            answers[key] = ran.text


def _of_item(item: Mapping[str, Any], expected: int, variables: Mapping[str, str]) -> _Asked:
    request = item["request"]
    url = request["url"]
    assert url["raw"].startswith(url["host"][0] + "/" + "/".join(url["path"]))  # noqa: S101 - they say the same
    return _Asked(
        name=item["name"],
        method=request["method"],
        url=_filled(url["raw"], variables),
        headers={header["key"]: _filled(header["value"], variables) for header in request["header"]},
        body=_filled(request["body"]["raw"], variables) if "body" in request else None,
        expected=expected,
    )


def _of_block(block: str, variables: dict[str, str], answers: Mapping[str, str]) -> tuple[str, _Asked]:
    head, _, body = block.partition("\n\n")
    name, *lines = head.strip().split("\n")
    comments = "\n".join(line for line in lines if line.startswith("#"))
    for line in lines:
        if line.startswith("@"):
            variable, _, value = line[1:].partition(" = ")
            found = _FROM_ANSWER.search(value)
            assert found is not None, line  # noqa: S101 - each names an answer
            with suppress(KeyError):  # what it names was refused: the request then goes out with the name in it
                variables[variable] = _at(answers[found[1]], found[2])
    request, *headers = [line for line in lines if line[0] not in "#@"]
    method, _, url = request.partition(" ")
    key, status = re.search(r"@name (\w+)", comments), re.search(r"Answers (\d+)\.", comments)
    assert key is not None and status is not None, name  # noqa: S101, PT018 - each request has both
    return key[1], _Asked(
        name=name,
        method=method,
        url=_filled(url, variables),
        headers=dict(_filled(line, variables).split(": ", 1) for line in headers),
        body=_filled(body.strip("\n") + "\n", variables) if body.strip() else None,
        expected=int(status[1]),
    )


def _make(client: httpx.Client, asked: _Asked) -> Ran:
    for _ in range(_PATIENCE):
        content = None if asked.body is None else asked.body.encode()
        answer = client.request(asked.method, asked.url, headers=asked.headers, content=content)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(float(answer.headers.get("Retry-After", "1")))
    return Ran(asked.name, asked.expected, answer.status_code, answer.text)


def _filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables; one that nothing has set stays as it is written."""
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def _at(text: str, path: str) -> str:
    value = json.loads(text)
    for step in path.split("."):
        value = value[step]
    return str(value)
