"""``fvdeblur export``: released networks as ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fvdeblur.cli.messages import shown
from fvdeblur.cli.options import debug_option
from fvdeblur.restoration.settings import Settings


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.onnx]")
@click.option("--model", default=Settings.model, show_default=True, help="Released model to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@debug_option
def export(output: Path | None, model: str, overwrite: bool, as_json: bool, debug: bool) -> None:
    """Write a released network as an ONNX file.

    The file takes crops of any size and any number of them; what it gives is compared with what the network gives
    before it is written. Its metadata says what its inputs are.
    """
    from fvdeblur.restoration.export import export_onnx

    written = export_onnx(model, output or Path(f"{model}.onnx"), overwrite=overwrite)
    if as_json:
        values = {"file": str(written.path), "bytes": written.size, "inputs": written.inputs}
        click.echo(json.dumps({**values, "largest_difference": written.difference}))
        return
    click.echo(
        f"{shown(written.path)}  {written.size / 1e6:.1f} MB, differs by at most {written.difference * 255:.4f} of 255"
    )
    for name, meaning in written.inputs.items():
        click.echo(f"  {name}: {meaning}")
