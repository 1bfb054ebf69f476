"""The two files: a Postman collection (format 2.1) and requests for editors (`.http`)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from infra.tryout.steps import Step, description, steps, streams

_SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_ABOUT: Final = """Every request of Ocelot's API, in an order in which they work. They need `api_url`, `token` and \
`platform_token`, which `make dev` writes into `.ocelot/dev.json`."""
_HEAD: Final = """\
# Every request of Ocelot's API, in an order in which they work: the answers of some name what the next ones ask for.
# `make dev` writes api_url, token and platform_token into .ocelot/dev.json; start the editor with them:
#   OCELOT_TOKEN=... OCELOT_PLATFORM_TOKEN=... code .
# Made by `make collections` from the API's description. Run it whole with `make tryout`.

@api_url = http://localhost:8000
@token = {{$processEnv OCELOT_TOKEN}}
@platform_token = {{$processEnv OCELOT_PLATFORM_TOKEN}}
"""


def postman(described: Mapping[str, Any]) -> str:
    """The collection: a folder a group would break the order, so the requests stand one after another."""
    collection = {
        "info": {
            "_postman_id": str(uuid.uuid5(uuid.NAMESPACE_URL, "ocelot")),
            "name": "Ocelot",
            "description": _ABOUT + _left_out(described),
            "schema": _SCHEMA,
        },
        "variable": [
            {"key": "api_url", "value": "http://localhost:8000"},
            {"key": "token", "value": ""},
            {"key": "platform_token", "value": ""},
        ],
        "item": [_item(step) for step in steps(described)],
    }
    return json.dumps(collection, indent=2, ensure_ascii=False) + "\n"


def http_file(described: Mapping[str, Any]) -> str:
    """The `.http` file, in the form that VS Code's REST Client and httpyac read."""
    found = steps(described)
    left_out = "".join(f"#{line}\n" for line in _left_out(described).splitlines() if line)
    return "\n".join([_HEAD + left_out, *(_request(step, found) for step in found)])


def _item(step: Step) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": step.method,
        "header": [{"key": name, "value": value} for name, value in step.headers.items()],
        "url": {
            "raw": "{{api_url}}" + step.path + _encoded(step),
            "host": ["{{api_url}}"],
            "path": step.path.removeprefix("/").split("/"),
            "query": [{"key": name, "value": value} for name, value in step.query],
        },
        "description": step.about,
    }
    if step.body is not None:
        request["body"] = {"mode": "raw", "raw": step.body}
    checks = [f"pm.test('answers {step.status}', () => pm.response.to.have.status({step.status}));"]
    checks += [f"pm.collectionVariables.set('{name}', pm.response.json().{at});" for name, at in step.saves.items()]
    script = {"type": "text/javascript", "exec": checks}
    return {"name": step.name, "request": request, "event": [{"listen": "test", "script": script}]}


def _request(step: Step, found: Sequence[Step]) -> str:
    lines = [f"### {step.name}", f"# Answers {step.status}.", f"# @name {step.key}"]
    for name in sorted(step.needs):
        maker = next(other for other in found if name in other.saves)
        lines.append(f"@{name} = {{{{{maker.key}.response.body.$.{maker.saves[name]}}}}}")
    lines.append(f"{step.method} {{{{api_url}}}}{step.path}{_encoded(step)}")
    lines += [f"{name}: {value}" for name, value in step.headers.items()]
    if step.body is not None:
        lines += ["", step.body.rstrip("\n")]
    return "\n".join(lines) + "\n"


def _encoded(step: Step) -> str:
    return "?" + urlencode(step.query, quote_via=quote, safe=",:-") if step.query else ""


def _left_out(described: Mapping[str, Any]) -> str:
    found = streams(described)
    if not found:
        return ""
    return f"\n\n Left out, since they do not end: {', '.join(found)}. Follow them with `ocelot tail` or `curl -N`."


def contents() -> dict[str, str]:
    """Each file's text by its path from the repository's root."""
    described = description()
    return {"docs/ocelot.postman_collection.json": postman(described), "docs/ocelot.http": http_file(described)}
