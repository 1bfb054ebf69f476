"""`ocelot quarantine`: events at fault that a tenant has had kept, listed, put right, replayed and discarded."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from cli import context, options
from cli.jobs import asked

quarantine = typer.Typer(no_args_is_help=True, help="Events at fault that were kept.")
_Ids = Annotated[list[str] | None, typer.Argument(help="Items, as `list` shows them; none: all that match.")]
_Code = Annotated[str | None, typer.Option(help="Items with this code.")]
_Field = Annotated[str | None, typer.Option(help="Items with a fault of this field.")]
_PAGE = 1000


@quarantine.command("list")
def list_items(
    code: _Code = None, field: _Field = None, url: options.Url = None, token: options.AdminToken = None
) -> None:
    """List them, the newest first, a line of JSON each."""
    with context.clear_errors():
        target = context.load(url, token)
        query: dict[str, Any] = _match(code, field) | {"limit": _PAGE}
        while True:
            page = asked(target, "GET", f"/quarantine?{urlencode(query)}")
            for item in page["data"]:
                typer.echo(json.dumps(item))
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]


@quarantine.command("show")
def show(item_id: Annotated[str, typer.Argument()], url: options.Url = None, token: options.AdminToken = None) -> None:
    """Print one with all that is kept of its event, and what it would be refused for now."""
    with context.clear_errors():
        typer.echo(json.dumps(asked(context.load(url, token), "GET", f"/quarantine/{item_id}"), indent=2))


@quarantine.command("fix")
def fix(
    ids: _Ids = None,
    code: _Code = None,
    field: _Field = None,
    rename: Annotated[list[str] | None, typer.Option(help="/path=new_name; repeat for several.")] = None,
    move: Annotated[list[str] | None, typer.Option(help="/path=/other/path; repeat for several.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="/path=JSON; repeat for several.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="/path; repeat for several.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what each would be and keep nothing.")] = False,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Put items right: renames first, then moves, sets and drops. Without any of them, back to what was sent."""
    with context.clear_errors():
        mapping = [{"op": "rename", "path": path, "to": to} for path, to in map(_pair, rename or [])]
        mapping += [{"op": "move", "path": path, "to": to} for path, to in map(_pair, move or [])]
        sets = [{"op": "set", "path": path, "value": _json(value)} for path, value in map(_pair, set_ or [])]
        body = {"mapping": [*mapping, *sets, *({"op": "drop", "path": path} for path in drop or [])]}
        _told(context.load(url, token), "fix", _chosen(ids, code, field) | body | {"dry_run": dry_run})


@quarantine.command("replay")
def replay(
    ids: _Ids = None,
    code: _Code = None,
    field: _Field = None,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Send items again; each is stored once, and leaves the quarantine once it is durable."""
    with context.clear_errors():
        _told(context.load(url, token), "replay", _chosen(ids, code, field))


@quarantine.command("discard")
def discard(
    ids: _Ids = None,
    code: _Code = None,
    field: _Field = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Delete items for good."""
    with context.clear_errors():
        target, chosen = context.load(url, token), _chosen(ids, code, field)
        if not yes:
            would = asked(target, "POST", "/quarantine/discard", chosen)["items"]
            number = sum(item["status"] == "would_be_discarded" for item in would)
            typer.confirm(f"Delete {number} items for good?", abort=True)
        _told(target, "discard", chosen | {"dry_run": False})


def _told(target: context.Context, what: str, body: dict[str, Any]) -> None:
    """Ask, print a line for each item, and end with 1 when one could not be dealt with."""
    answer = asked(target, "POST", f"/quarantine/{what}", body)
    for item in answer["items"]:
        error = item.get("error")
        facts = [item["id"], item["status"], *([item["event_id"]] if item.get("event_id") else [])]
        facts += [json.dumps(item["fixed"])] if item.get("fixed") else []
        facts += [f"{error['code']}: {error['message']}"] if error else []
        typer.echo("  ".join(facts))
    if answer["left"] is not None:
        typer.echo(f"{answer['left']} still match")
    if any(item["status"] in ("refused", "retry", "changed_meanwhile", "not_found") for item in answer["items"]):
        raise typer.Exit(context.FAILED)


def _match(code: str | None, field: str | None) -> dict[str, Any]:
    return {name: value for name, value in (("code", code), ("field", field)) if value is not None}


def _chosen(ids: list[str] | None, code: str | None, field: str | None) -> dict[str, Any]:
    match = _match(code, field)
    if ids and match:
        raise context.UserError("give either ids, or --code and --field", context.MISUSED)
    if not ids and not match:
        raise context.UserError("say which items: their ids, or --code or --field", context.MISUSED)
    return {"ids": ids} if ids else {"match": match}


def _pair(written: str) -> tuple[str, str]:
    path, sign, value = written.partition("=")
    if not sign:
        raise context.UserError(f"not POINTER=VALUE: {written!r}", context.MISUSED)
    return path, value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # a word is itself
