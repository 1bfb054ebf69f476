"""A tenant's catalogue as OpenAPI 3.1: what its own developers may load into their tools."""

from __future__ import annotations

import re
from typing import Any, Final

from core.catalogue.model import Action, Catalogue

_SCHEMAS: Final = "#/components/schemas/"


def described(catalogue: Catalogue, event: dict[str, Any], server: str | None) -> dict[str, Any]:
    """The OpenAPI document; `event` is the JSON Schema of any event, `server` where the API is reached."""
    components: dict[str, Any] = {"Event": event}
    forms = []
    for action in sorted(catalogue.actions, key=lambda each: each.name):
        name = _component(action.name, components)
        components[name] = _form(action, name)
        forms.append({"$ref": _SCHEMAS + name})
    body = {"oneOf": forms} if len(forms) > 1 else forms[0] if forms else {"$ref": _SCHEMAS + "Event"}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Audit events",
            "version": str(catalogue.version),
            "description": f"The event catalogue, mode `{catalogue.mode.value}`.",
        },
        "paths": {
            "/api/v1/logs": {
                "post": {
                    "summary": "Send one event",
                    "operationId": "sendEvent",
                    "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                    "responses": {
                        "202": {"description": "The event is durable"},
                        "422": {"description": "The event does not fit the catalogue"},
                    },
                }
            }
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
        "security": [{"token": []}],
    }
    return document | ({"servers": [{"url": server}]} if server else {})


def _form(action: Action, name: str) -> dict[str, Any]:
    """The component of one action. Its own schema's pointers lead into it from the document's root."""
    named: dict[str, Any] = {"const": action.name}
    if action.name.endswith("*"):
        named = {"type": "string", "pattern": f"^{re.escape(action.name[:-1])}"}
    parts: list[Any] = [{"$ref": _SCHEMAS + "Event"}, {"properties": {"action": named}, "required": ["action"]}]
    if action.schema is not None:
        own = {word: part for word, part in action.schema.items() if word != "$schema"}
        parts.append(_moved(own, f"{_SCHEMAS}{name}/allOf/2"))
    return {"description": action.description, "allOf": parts} if action.description else {"allOf": parts}


def _moved(node: Any, root: str) -> Any:
    if isinstance(node, list):
        return [_moved(part, root) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        word: root + part[1:] if word == "$ref" and isinstance(part, str) else _moved(part, root)
        for word, part in node.items()
    }


def _component(action: str, taken: dict[str, Any]) -> str:
    """A component's name, which OpenAPI allows letters, digits, `.`, `-` and `_` in."""
    name = plain = re.sub(r"[^A-Za-z0-9._-]", "_", action)
    number = 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name
