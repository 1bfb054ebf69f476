"""Events with 200 secrets where secrets hide, half of them for the default rules to find, half for a tenant's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

SECRETS: Final = 200
KEPT: Final = "zqkeptxq"
"""A word of every event that is no secret."""
RULES: Final[list[dict[str, str]]] = [
    {"by": "key", "match": "ssn", "action": "redact"},
    {"by": "key", "match": "*email", "action": "hash"},
    {"by": "key", "match": "diagnosis", "action": "remove"},
    {"by": "path", "match": "$.metadata.patient..name", "action": "redact"},
    {"by": "path", "match": "$.after_state.orders[*]['i-ban']", "action": "remove"},
    {"by": "path", "match": "$.metadata.items[*]", "action": "hash"},
    {"by": "path", "match": "$.user_id", "action": "hash"},
    {"by": "path", "match": "$.ip_address", "action": "hash"},
    {"by": "path", "match": "$.tags[*]", "action": "hash"},
    {"by": "key", "match": "session_id", "action": "remove"},
    {"by": "key", "match": "user-agent", "action": "redact"},
    {"by": "key", "match": "resourceId", "action": "hash"},
    {"by": "pattern", "match": r"(?i)\bzqpat[0-9]{3}xq\b", "action": "redact"},
]
_SPELLINGS: Final = ("ssn", "S-S-N", "s\\u0073n", "work_email", "\\u0065mail", "diagnosis", "Diagn\\u006fsis")
_DEFAULTS: Final = ("password", "apiKey", "X-Auth-Token", "client\\u005fsecret", "Set-Cookie", "P\\u0061SSWD", "Pwd")


class Planted:
    """`events` as JSON text, and the `secrets` in them."""

    def __init__(self) -> None:
        self.secrets: list[str] = []
        # Not all in one event, so that one that fails tells where.
        self.events = [self._default(), self._nested(), self._in_strings(), self._text(), self._named()]
        assert len(self.secrets) == len(set(self.secrets)) == SECRETS

    def _new(self, kind: str = "key") -> str:
        """A word that no id, digest, digit or time holds by chance."""
        secret = f"zq{kind}{len(self.secrets):03}xq"
        self.secrets.append(secret)
        return secret

    def _members(self, names: tuple[str, ...], count: int) -> Iterator[str]:
        for n in range(count):
            yield f'"{names[n % len(names)]}" : "{self._new()}"'

    def _event(self, **fields: str) -> str:
        """Fields as JSON, after an action and a word to find the event by."""
        rest = "".join(f', "{name}": {value}' for name, value in fields.items())
        return f'{{"action": "planted.{KEPT}"{rest}}}'

    def _default(self) -> str:
        deep = "{}"
        for member in self._members(_DEFAULTS, 30):
            deep = f'{{"a": [1e400, {deep}], {member}}}'
        pairs = [f'{{"name": "api-key", "value": "{self._new()}"}}' for _ in range(10)]
        text = "\\n".join(f"{name}={self._new()}; --db-password {self._new()}" for name in ("token", "pwd") * 15)
        return self._event(before_state=deep, metadata=f'{{"env": [{", ".join(pairs)}]}}', message=f'"{text}"')

    def _nested(self) -> str:
        deep = "{}"
        for member in self._members(_SPELLINGS, 28):
            deep = f'{{"a": [-0.0, {deep}], {member}, "b": 12345678901234567890123}}'
        orders = ", ".join(f'{{"n": {n}, "i-ban": "{self._new()}"}}' for n in range(6))
        items = ", ".join(f'"{self._new()}"' for _ in range(4))
        patient = f'{{"name": "{self._new()}", "of": [{{"name": {{"first": "{self._new()}"}}}}]}}'
        return self._event(
            before_state=deep,
            after_state=f'{{"orders": [{orders}]}}',
            metadata=f'{{"patient": {patient}, "items": [{items}]}}',
        )

    def _in_strings(self) -> str:
        once = "{" + ", ".join(self._members(_SPELLINGS, 14)) + f', "kept": "{KEPT}"' + "}"
        twice = json.dumps({"in": json.dumps([json.loads(f"{{{m}}}") for m in self._members(_DEFAULTS, 7)])})
        thrice = json.dumps([json.dumps({"x": json.dumps([{"ssn": self._new(), "y": self._new("pat")}])})])
        patient = json.dumps({"name": self._new()})
        texts = {"once": once, "twice": twice, "thrice": thrice, "patient": patient}
        return self._event(metadata=json.dumps(texts))

    def _text(self) -> str:
        words = [self._new("pat") for _ in range(16)]
        hidden = "".join(f"\\u{ord(c):04x}" for c in self._new("pat"))
        texts = json.dumps({words[0]: 1, "l": [words[1], {"m": f"({words[2]})"}], "j": json.dumps({"k": words[3]})})
        message = " and ".join([KEPT, *words[4:], hidden])
        return self._event(message=f'"{message}"', metadata=texts, source=f'"host-{self._new("pat")}"')

    def _named(self) -> str:
        fields = {name: f'"{self._new()}"' for name in ("user_id", "session_id", "user_agent", "resource_id")}
        tags = ", ".join(f'"{self._new()}"' for _ in range(3))
        return self._event(**fields, ip_address='"198.51.100.77"', tags=f"[{tags}]", metadata=self._rest())

    def _rest(self) -> str:
        left: dict[str, Any] = {"kept": KEPT, "ssn": [self._new() for _ in range(SECRETS - len(self.secrets))]}
        return json.dumps(left)
