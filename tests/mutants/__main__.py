"""`make mutants`: takes each guard away in a copy of the tree, and sees its test fail.

`python -m tests.mutants page` writes docs/mutants.md, and other words (a guard, a suite, a test) try those alone that
hold one of them. Exit code 1 when a test does not pass on the tree as it is, or
passes on one without its guard.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.table import TRIALS, Trial

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutants.md"
WORKERS = int(os.environ.get("WORKERS", "2"))
COPIED = ("api", "cli", "consumer", "core", "infra", "tests", "docs", "pyproject.toml", "Makefile")
_FAILED = 1  # pytest: some tests failed; 2 and up: it could not even run them
_INTRO = """# Guards that were taken away

`make mutants` tries these by itself: for each it changes one line in a copy of the tree, so that the guard is gone, and
runs the test named, which must fail; on the tree as it is they must all pass. The table is made from
`tests/mutants/table.py` by `python -m tests.mutants page`.

"""


def page() -> str:
    """docs/mutants.md."""
    lines = [_INTRO]
    for suite in dict.fromkeys(trial.suite for trial in TRIALS):
        lines.append(f"## {suite.capitalize()}\n\n| guard | in | becomes | the test that fails |\n|---|---|---|---|\n")
        lines += [_row(trial) for trial in TRIALS if trial.suite == suite]
        lines.append("\n")
    return "".join(lines).rstrip() + "\n"


def _row(trial: Trial) -> str:
    was, becomes = (_code(text) for text in (trial.old, trial.new))
    path, _, name = trial.test.partition("::")
    return f"| {trial.guard} | `{trial.file}`: {was} | {becomes} | `{Path(path).name}::{name.replace('|', ' ')}` |\n"


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def run(folder: Path, tests: list[str], log: Path, timeout: float = 300) -> int:
    """pytest's exit code of the tests in a copy of the tree."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("wb") as out:
        return subprocess.run(
            command, cwd=folder, env=environment, stdout=out, stderr=out, check=False, timeout=timeout
        ).returncode


def mutated(folder: Path, trial: Trial) -> str | None:
    """None once the guard is seen to be needed; else what happened instead."""
    path = folder / trial.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(trial.old) != 1:
        return f"{trial.old!r} stands {whole.count(trial.old)} times in {trial.file}"
    log = folder / "mutant.log"
    try:
        path.write_text(whole.replace(trial.old, trial.new), encoding="utf-8")
        code = run(folder, [trial.test], log)
    except subprocess.TimeoutExpired:
        return None  # without its guard it never ends, which is a failure too
    finally:
        path.write_text(whole, encoding="utf-8")
    if code == _FAILED:
        return None
    return "the test passes without it" if code == 0 else f"pytest ended with {code}:\n{log.read_text()[-1500:]}"


def _copy(to: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
        else:
            shutil.copy(source, to / name)
    shutil.copytree(ROOT / "api" / "static", to / "api" / "static")
    return to


def main() -> int:
    """Tries every mutant; prints each, and a table at the end."""
    started = time.monotonic()
    words = sys.argv[1:]
    trials = [t for t in TRIALS if not words or any(word in f"{t.suite} {t.guard} {t.test}" for word in words)]
    with tempfile.TemporaryDirectory(prefix="ocelot-mutants-") as base:
        folders: SimpleQueue[Path] = SimpleQueue()
        for n in range(WORKERS):
            folders.put(_copy(Path(base) / str(n)))
        first = folders.get()
        if code := run(first, sorted({trial.test for trial in trials}), first / "before.log", timeout=1800):
            print((first / "before.log").read_text()[-4000:])
            print(f"The tests do not pass on the tree as it is (pytest ended with {code})")
            return 1
        folders.put(first)

        def attempt(trial: Trial) -> str | None:
            folder = folders.get()
            try:
                fault = mutated(folder, trial)
            finally:
                folders.put(folder)
            told = "caught  " if fault is None else "SURVIVED"
            print(f"{told}  {trial.suite:9}  {trial.guard}" + (f": {fault}" if fault else ""), flush=True)
            return fault

        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(zip(trials, pool.map(attempt, trials), strict=True))
    return _summary(results, time.monotonic() - started)


def _summary(results: list[tuple[Trial, str | None]], seconds: float) -> int:
    tried = Counter(trial.suite for trial, _ in results)
    caught = Counter(trial.suite for trial, fault in results if fault is None)
    print(f"\n{'suite':10} {'guards':>7} {'caught':>7} {'survived':>9}")
    for suite in tried:
        print(f"{suite:10} {tried[suite]:7} {caught[suite]:7} {tried[suite] - caught[suite]:9}")
    print(f"{'all':10} {tried.total():7} {caught.total():7} {tried.total() - caught.total():9}   in {seconds:.0f} s")
    return int(tried.total() != caught.total())


if __name__ == "__main__":
    if sys.argv[1:] == ["page"]:
        PAGE.write_text(page(), encoding="utf-8")
        sys.exit(0)
    sys.exit(main())
