"""``fvdeblur models``: what is released with the package."""

from __future__ import annotations

import json
from typing import Any

import click

from fvdeblur.cli.options import debug_option
from fvdeblur.errors import EXIT_FAILURE


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Show, check and find the released models (without a command: list them)."""
    if context.invoked_subcommand is None:
        context.invoke(listing)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
def listing(as_json: bool = False) -> None:
    """List the models: name, what it is, size."""
    from fvdeblur.released import released

    entries: list[dict[str, Any]] = [
        {"name": each.name, "kind": each.kind, "bytes": each.size, "network": each.network}
        for each in released()
    ]
    if as_json:
        click.echo(json.dumps(entries))
        return
    width = max(len(str(entry["name"])) for entry in entries)
    for entry in entries:
        click.echo(f"{entry['name']:{width}}  {entry['bytes'] / 1e6:6.2f} MB  {entry['kind']}")


@models.command()
@click.argument("name")
@debug_option
def card(name: str, debug: bool) -> None:
    """Print the card of NAME: data, recipe, figures, licence."""
    from fvdeblur.released import find_released

    click.echo(find_released(name).card(), nl=False)


@models.command()
@click.argument("name")
@debug_option
def path(name: str, debug: bool) -> None:
    """Print the folder of NAME."""
    from fvdeblur.released import find_released

    click.echo(find_released(name).folder)


@models.command()
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@debug_option
def verify(names: tuple[str, ...], as_json: bool, debug: bool) -> int:
    """Compare every file of NAMES (default: all models) with the SHA-256 that it was released with."""
    from fvdeblur.released import find_released, released

    chosen = [find_released(name) for name in names] if names else released()
    rows: list[dict[str, Any]] = [
        {"model": each.name, "file": check.file, "ok": check.ok, "sha256": check.sha256}
        for each in chosen
        for check in each.verify()
    ]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            state = "ok" if row["ok"] else "DAMAGED: reinstall fvdeblur"
            click.echo(f"{row['model']}/{row['file']}  {row['sha256'] or 'missing'}  {state}")
    return 0 if all(row["ok"] for row in rows) else EXIT_FAILURE
