"""`ocelot import`: the command's arguments, its progress bar and its report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import context, options

if TYPE_CHECKING:
    from cli.importing.report import Report


class Format(StrEnum):
    """The sources that are known; `cli.sources.FORMATS`, which is too heavy for `--help`, says the same."""

    CLOUDTRAIL = "cloudtrail"
    WINDOWS = "windows"
    K8S = "k8s"
    OKTA = "okta"
    GITHUB = "github"
    GCP = "gcp"
    AZURE = "azure"
    GSUITE = "gsuite"
    SLACK = "slack"
    NDJSON = "ndjson"


def import_command(
    file: Annotated[str, typer.Argument(help="One JSON object a line, plain, gzip or zstd; - is stdin.")],
    format_: Annotated[Format, typer.Option("--format", "-f", help="Whose log it is; ndjson is Ocelot's own form.")],
    url: options.Url = None,
    token: options.WriterToken = None,
    rejects: Annotated[Path | None, typer.Option(help="Write the refused lines' numbers and reasons here.")] = None,
    origin: Annotated[str | None, typer.Option(help="Name of the log, for parts of one that overlap.")] = None,
    state: Annotated[Path | None, typer.Option(help="File that keeps the progress; default: in OCELOT_HOME.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, whatever the progress is.")] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds without progress until it gives up.")] = 300.0,
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Requests under way at once.")] = 4,
) -> None:
    """Import a file of audit events. Safe to repeat, and to interrupt: run it again and it goes on.

    Exit code 0: every line was accepted. 1: some lines were refused, or it did not come to the end.
    """
    with context.clear_errors():
        from cli.importing.lines import Lines
        from cli.importing.report import Report
        from cli.importing.run import Hooks, run_import
        from cli.importing.state import state_of

        target = context.load(url, token)
        note = state_of(file, format_.value, origin, target, state)
        with Lines(file) as lines, Report(file, lines.size, rejects) as report:
            try:
                progress, ended = run_import(
                    lines, format_.value, origin, target, note, Hooks(report.refused, report.settled),
                    patience=patience, in_flight=in_flight, restart=restart,
                )  # fmt: skip
            except BaseException:
                _report_stop(report, note is not None)
                raise
            report.total(progress, ended=ended)
        if not ended:
            _report_stop(report, note is not None)
            raise typer.Exit(context.INTERRUPTED)
        if progress.refused:
            raise typer.Exit(context.FAILED)


def _report_stop(report: Report, resumable: bool) -> None:
    if resumable and report.lines:
        report.say(f"stopped after line {report.lines}; the same command goes on from there")
