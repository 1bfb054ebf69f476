"""A tenant's masking rules from a file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cli import operator
from core.errors import Invalid
from core.masking.own import check_rules
from core.tenant_settings import MaskAction, MaskBy, MaskingRule


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    by: MaskBy
    match: str
    action: MaskAction


class _File(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[_Rule]


def read_rules(path: Path) -> tuple[MaskingRule, ...]:
    """The rules of a file that holds the body of `PUT /api/v1/masking`; ends the command where it does not."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
        rules = tuple(MaskingRule(rule.by, rule.match, rule.action) for rule in found.rules)
        check_rules(rules, ("rules",))
    except Invalid as error:
        raise operator.failed(f"{path}: {error.message}") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise operator.failed(f"{path}: {error}") from None
    return rules
