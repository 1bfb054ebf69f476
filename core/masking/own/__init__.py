"""Masking by a tenant's own rules, on top of the default ones: what it wants removed, redacted or hashed.

`OwnMasker` holds a tenant's rules compiled; `check_rules` refuses those that cannot be. docs/masking.md has the rules
of the rules.
"""

from core.masking.own.limits import LIMITS
from core.masking.own.masker import Masked, OwnMasker
from core.masking.own.maskers import Maskers
from core.masking.own.program import check_rules

__all__ = ["LIMITS", "Masked", "Maskers", "OwnMasker", "check_rules"]
