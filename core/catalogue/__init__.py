"""The event catalogue of a tenant: which actions it knows, with a JSON Schema for each, and the check of an event.

A tenant without one (or with one that is `off`) costs its events a look into a dictionary, nothing else: the schema
library is loaded with the first event that is checked.
"""

from core.catalogue.cache import CatalogueCache
from core.catalogue.check import Checker
from core.catalogue.description import described
from core.catalogue.model import EMPTY, Action, Catalogue, Catalogues, Mode
from core.catalogue.schemas import MAX_ACTIONS, MAX_SCHEMA_BYTES, check_actions

__all__ = [
    "EMPTY",
    "MAX_ACTIONS",
    "MAX_SCHEMA_BYTES",
    "Action",
    "Catalogue",
    "CatalogueCache",
    "Catalogues",
    "Checker",
    "Mode",
    "check_actions",
    "described",
]
