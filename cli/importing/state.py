"""How far an import has come, on disk, so that one that was killed goes on where it was.

Only a convenience: every event has its key, so that sending one again changes nothing. Hence no fsync.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cli.context import Context, UserError, home

_VERSION: Final = 1


@dataclass(slots=True)
class Progress:
    """Lines 1 to `lines` are settled: `accepted` of them, `refused` others; blank lines are neither."""

    lines: int = 0
    accepted: int = 0
    refused: int = 0


class State:
    """The progress of one file, unchanged since, into one tenant of one Ocelot, in one format."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = identity

    def load(self) -> Progress:
        """What was saved for this very file, else the beginning; a damaged note counts as none."""
        try:
            saved = json.loads(self._path.read_text(encoding="utf-8"))
            if saved["identity"] == self._identity:
                return Progress(**{name: int(saved["progress"][name]) for name in ("lines", "accepted", "refused")})
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return Progress()

    def save(self, progress: Progress) -> None:
        """Replaces the note whole: a kill leaves the old one or the new one. Raises `UserError`."""
        beside = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({"identity": self._identity, "progress": asdict(progress)}), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise UserError(f"the progress cannot be written to {self._path}: {error.strerror}") from None

    def forget(self) -> None:
        """After the last line: a second import sends all again, and the keys make that harmless."""
        self._path.unlink(missing_ok=True)


def state_of(name: str, source: str, origin: str | None, context: Context, path: Path | None) -> State | None:
    """The state of the file `name`, in `path` or a file of its own below the home folder; None for a pipe."""
    if not Path(name).is_file():
        return None
    resolved = Path(name).resolve()
    about = resolved.stat()
    identity: dict[str, Any] = {
        "version": _VERSION,
        "path": str(resolved),
        "size": about.st_size,
        "modified": about.st_mtime_ns,
        "format": source,
        "origin": origin,
        "api_url": context.api_url,
        "tenant": context.tenant_id,
    }
    if path is None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
        path = home() / "imports" / f"{digest}.json"
    return State(path, identity)
