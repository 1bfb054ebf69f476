"""What an import tells: a progress bar and the refused lines on stderr, the counts on stdout."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.context import MISUSED, UserError
from cli.importing import state
from cli.importing.items import Refusal

# The rest is only counted: a wrong --format would fill the screen.
_MAX_SHOWN: Final = 20


class Report:
    """The screen's side of one import; `rejects` gets a JSON object for each refused line."""

    def __init__(self, name: str, size: int | None, rejects: Path | None) -> None:
        self._name = "stdin" if name == "-" else Path(name).name
        self._console = Console(stderr=True, highlight=False)
        self._size = size
        self._shown = 0
        self._hidden = 0
        self._rejects: IO[bytes] | None = None
        self._rejects_path = rejects
        self._started = time.monotonic()
        self._base: int | None = None
        self.lines = 0

    def __enter__(self) -> Self:
        if self._rejects_path is not None:
            try:
                self._rejects = self._rejects_path.open("wb")
            except OSError as error:
                raise UserError(f"{self._rejects_path}: {error.strerror}", MISUSED) from None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[events]:,} events"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(self._name, total=self._size, events=0, rate=0.0)
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        if self._hidden:
            self.say(f"and {self._hidden:,} more refused lines (--rejects FILE lists all)")
        if self._rejects is not None:
            self._rejects.close()

    def refused(self, refusal: Refusal) -> None:
        if self._rejects is not None:
            self._rejects.write(msgspec.json.encode(refusal) + b"\n")
            self._rejects.flush()
        if self._shown < _MAX_SHOWN:
            self._shown += 1
            where = "".join(f" [{'.'.join(map(str, error.loc))}]" for error in refusal.errors[:3] if error.loc)
            self.say(f"{self._name}: line {refusal.line}: {refusal.code}:{where} {refusal.message}")
        else:
            self._hidden += 1

    def settled(self, progress: state.Progress, position: int) -> None:
        events = progress.accepted + progress.refused
        self.lines = progress.lines
        self._bar.update(self._task, completed=position, events=events, rate=self._rate(events))

    def total(self, progress: state.Progress, *, ended: bool) -> None:
        """The counts, of earlier runs that this one went on from as well."""
        read = progress.accepted + progress.refused
        print(
            f"{self._name}: {read:,} events read, {progress.accepted:,} accepted, {progress.refused:,} refused"
            f"{'' if ended else ' (not all of the file)'}"
        )

    def say(self, line: str) -> None:
        """A line on stderr, above the bar; plain, whatever markup or control characters it may hold."""
        plain = "".join(c if c.isprintable() else " " for c in line)
        self._console.print(plain, markup=False, soft_wrap=True)

    def _rate(self, events: int) -> float:
        if self._base is None:
            self._base = events
            return 0.0
        return (events - self._base) / max(time.monotonic() - self._started, 0.001)
