"""The compiled rules of the tenants that were heard of lately, compiled once for each change of them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from core.errors import Invalid, Unavailable
from core.masking.own.masker import OwnMasker
from core.tenant import Tenant

log = logging.getLogger(__name__)
_KEPT: Final = 256
"""Tenants; compiling anew takes a few milliseconds, and 1 MiB is what hostile patterns may take of memory."""


class Maskers:
    """One a process."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, OwnMasker] = OrderedDict()

    def of(self, tenant: Tenant) -> OwnMasker | None:
        """The tenant's masker, None for a tenant without rules.

        Raises `Unavailable` for rules that do not compile: what should be masked is never taken in without.
        """
        rules = tenant.masking
        if not rules:
            return None
        known = self._known.get(tenant.id)
        if known is None or (known.rules is not rules and known.rules != rules):
            known = self._compiled(tenant)
        known.rules = rules  # the next comparison is one of identity
        self._known.move_to_end(tenant.id)
        return known

    def _compiled(self, tenant: Tenant) -> OwnMasker:
        try:
            made = OwnMasker(tenant.masking, tenant.secret)
        except Invalid as error:
            log.error("masking rules of tenant %s do not compile: %s", tenant.id, error.message)
            raise Unavailable("masking rules") from None
        self._known[tenant.id] = made
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return made
