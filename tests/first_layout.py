"""The store that the first version left, for the suites of migrations: see tests/data/first_layout.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bson import json_util

_FILE: Final = Path(__file__).parent / "data" / "first_layout.json"
Documents = dict[str, list[dict[str, Any]]]


class FirstLayout:
    """Its documents and indexes; `tenants` tells of each tenant's key, events and how many there are."""

    def __init__(self) -> None:
        found = json.loads(_FILE.read_text(encoding="utf-8"))
        self.tenants: list[dict[str, Any]] = found["facts"]["tenants"]
        self.indexes: dict[str, list[list[tuple[str, int]]]] = {
            name: [[(field, order) for field, order in index] for index in each["indexes"]]
            for name, each in found["collections"].items()
        }
        self.documents: Documents = {
            name: [_plain(json_util.loads(json.dumps(document))) for document in each["documents"]]
            for name, each in found["collections"].items()
        }

    async def load(self, database: Any) -> None:
        """Put everything into an empty database."""
        for name, indexes in self.indexes.items():
            for keys in indexes:
                await database[name].create_index(keys)
            if self.documents[name]:
                await database[name].insert_many([dict(document) for document in self.documents[name]])


def _plain(value: Any) -> Any:
    return {name: bytes(each) if isinstance(each, bytes) else each for name, each in value.items()}
