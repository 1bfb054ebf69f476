"""`make bench`: run every benchmark (or those named), print the table, write results.json."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row

ALL = ("masking", "own_masking", "ingest", "consumer", "memory", "pipeline", "search", "export", "stats", "limits")


def main() -> None:
    rows: list[Row] = []
    for name in sys.argv[1:] or ALL:
        sys.stderr.write(f"benchmark: {name} ...\n")
        found = importlib.import_module(f"benchmarks.{name}").run()
        rows += [row if isinstance(row, Row) else Row(**row) for row in found]
        _keep(rows)
    table = Table("benchmark", "ours", "peer", "ratio", "goal", "met", "unit")
    for row in rows:
        table.add_row(row.name, f"{row.ours:,}", f"{row.peer or '':,}" if row.peer else "", str(row.ratio or ""),
                      str(row.goal), "yes" if row.met else "NO", row.unit)  # fmt: skip
    Console(width=150).print(table)


def _keep(rows: list[Row]) -> None:
    """Write the rows to results.json, over those of the same name; the others stay from the run before."""
    path = Path(__file__).parent / "results.json"
    kept = {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    kept |= {row.name: row.as_dict() for row in rows}
    path.write_text(json.dumps(list(kept.values()), indent=2) + "\n")


if __name__ == "__main__":
    main()
