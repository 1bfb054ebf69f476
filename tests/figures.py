"""Figures that tests leave, printed as short tables at a run's end, whichever process ran the test."""

from __future__ import annotations

from typing import Any

import pytest

_NAME = "figures"
_SUMS = "sums"
_rows: dict[str, list[dict[str, str]]] = {}


def record(request: pytest.FixtureRequest, table: str, **row: object) -> None:
    """One row of `table`; the columns are those of its first row."""
    request.node.user_properties.append((_NAME, {"table": table, **{k: str(v) for k, v in row.items()}}))


def tally(request: pytest.FixtureRequest, table: str, of: str, **numbers: int) -> None:
    """Adds to the row of `table` that begins with `of`."""
    request.node.user_properties.append((_SUMS, {"table": table, "of": of, "numbers": numbers}))


def _add(table: str, of: str, numbers: dict[str, int]) -> None:
    rows = _rows.setdefault(table, [])
    row = next((row for row in rows if row[table] == of), None)
    if row is None:
        rows.append(row := {table: of})
    for name, number in numbers.items():
        row[name] = str(int(row.get(name, 0)) + number)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "teardown":  # the last report of a test has all its properties
        return
    for name, value in report.user_properties:
        if name == _NAME and isinstance(value, dict):
            row = dict(value)
            _rows.setdefault(row.pop("table"), []).append(row)
        elif name == _SUMS and isinstance(value, dict):
            _add(**value)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for table, rows in _rows.items():
        terminalreporter.section(table, sep="-")
        columns = list(dict.fromkeys(column for row in rows for column in row))
        widths = {c: max(len(c), *(len(row.get(c, "")) for row in rows)) for c in columns}
        for line in ({c: c.replace("_", " ") for c in columns}, *rows):
            terminalreporter.write_line("  ".join(line.get(c, "").ljust(widths[c]) for c in columns).rstrip())
