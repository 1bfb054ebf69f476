"""Beanie documents: bound to a database, and inserted once."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from beanie import Document
from pymongo.errors import DuplicateKeyError

from core.adapters.store.client import store_calls
from core.errors import Conflict

_D = TypeVar("_D", bound=Document)


def own(base: type[_D]) -> type[_D]:
    """A class of its own for one opening: Beanie binds a document class to one database.

    Call before `init_beanie`, which takes it.
    """
    # Defaults again, because Beanie puts expressions in their place on a base that it has bound once.
    own = {name: note for name, note in base.__annotations__.items() if not base.model_fields[name].is_required()}
    defaults = {name: base.model_fields[name].default for name in own}
    body: dict[str, Any] = {"__module__": base.__module__, "__annotations__": own, **defaults}
    return cast("type[_D]", type(base.__name__, (base,), body))


async def create(document: Document, conflict: str) -> None:
    """Insert; raises `Conflict` with this message when the id exists."""
    with store_calls():
        try:
            await document.insert()
        except DuplicateKeyError:
            raise Conflict(conflict) from None
