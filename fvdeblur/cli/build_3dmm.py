"""``fvdeblur build-3dmm``: build the 3D morphable model of faces from labelled photographs and clips."""

from __future__ import annotations

from pathlib import Path

import click

from fvdeblur.cli.options import debug_option


@click.command("build-3dmm")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--meshes",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with the <stem>.mesh.npz files of tools/label_meshes.py, or with folders of them.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--people",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Table with tabs and the columns file and identity (clips.tsv is one); a column expression may say "
    "neutral. Can be given several times. A file in no table shows a person of its own.",
)
@click.option(
    "--side",
    type=click.IntRange(min=32, max=512),
    default=192,
    show_default=True,
    help="Texels along each side of the UV map.",
)
@click.option("--version", "version", default="1", show_default=True, help="Version of the model's data.")
@debug_option
def build_3dmm(
    photos: tuple[Path, ...],
    meshes: Path,
    output: Path,
    people: tuple[Path, ...],
    side: int,
    version: str,
    debug: bool,
) -> None:
    """Build a 3D morphable model of faces from PHOTOS: photographs, clips, or folders of them, with dense meshes.

    Writes model.safetensors, and report.json with what it was made of and how well it describes the validation
    people, who are held out.
    """
    from fvdeblur.cli.messages import shown
    from fvdeblur.datasets.index import is_validation
    from fvdeblur.datasets.tables import read_table
    from fvdeblur.morphable.building import build, read_material, write

    rows = [row for table in people for row in read_table(table, "file", "identity")]
    material = read_material(
        photos,
        meshes,
        people={row["file"]: row["identity"] for row in rows},
        neutral=[row["file"] for row in rows if row.get("expression") == "neutral"],
        is_held_out=is_validation,
    )
    model, report = build(material, side=side, version=version, report=click.echo)
    click.echo(shown(write(model, report, output)))
