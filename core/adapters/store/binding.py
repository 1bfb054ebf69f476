"""Beanie documents: bound to a database, and inserted once."""

from __future__ import annotations

from typing import TypeVar, cast

from beanie import Document
from pymongo.errors import DuplicateKeyError

from core.adapters.store.client import store_calls
from core.errors import Conflict

_D = TypeVar("_D", bound=Document)


def own(base: type[_D]) -> type[_D]:
    """A class of its own for one opening: Beanie binds a document class to one database.

    Call before `init_beanie`, which takes it.
    """
    # Beanie binds a document's parent too, by putting an expression in the place of each field: pydantic would take
    # those for the defaults of the class below.
    for name in base.model_fields.keys() & vars(base).keys():
        delattr(base, name)
    return cast("type[_D]", type(base.__name__, (base,), {"__module__": base.__module__}))


async def create(document: Document, conflict: str) -> None:
    """Insert; raises `Conflict` with this message when the id exists."""
    with store_calls():
        try:
            await document.insert()
        except DuplicateKeyError:
            raise Conflict(conflict) from None
