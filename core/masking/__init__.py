"""Masking of secrets: what an event holds of passwords, tokens, keys and card numbers is replaced before it is stored.

`mask(item)` takes one event's JSON bytes as the client sent them and returns them with every secret's span replaced by
`[masked]`; every other byte stays. An event without a secret comes back as the same object. Never raises: what is not
JSON comes back as it is, for the decoder to refuse. docs/masking.md lists the rules.
"""

from core.masking.masker import DEFAULT, Found, Masker, mask, mask_all
from core.masking.rules import DEFAULT_RULES, Rules

__all__ = ["DEFAULT", "DEFAULT_RULES", "Found", "Masker", "Rules", "mask", "mask_all"]
