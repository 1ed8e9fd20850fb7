"""How well faces are read off blurred crops: landmarks, rendered faces, doubts, and what it costs.

    python -m benchmarks.regressor --data FOLDER --meshes FOLDER [--weights FILE] [--json FILE] [--sheet FILE]
    python -m benchmarks.regressor --cost
    python -m benchmarks.regressor --photographs FILE

FOLDER of the data is one that `fvdeblur.datasets.load_clips` reads; that of the meshes holds ``clips/`` and
``portraits/`` with the labels of ``tools/label_meshes.py``. Faces are those of the validation identities alone (CRC-32
of the identity is 0 modulo 8). Conditions (see `benchmarks.regressor_crops`): sharp; the clips' own motion over an
exposure of 4 frame intervals of every 2nd or 3rd frame; straight motion kernels of 21 and of 41 pixels at a face 220
pixels wide.

- Landmarks: error in % of the eye distance (iris to iris of the label) against the mesh labelled on the sharp frame;
  the mean over people of each one's mean, with a bootstrap interval over people. ``regressor`` is `FaceReader.read`,
  ``detector`` what `create_detector("auto")` gives, ``mesh`` the network that made the labels, run on the same crops.
  Over five points, with each method's constant offset (see `benchmarks.regressor_errors`) taken away, and over the
  dense points.
- Render quality: the face rendered from the blurred crop's coefficients against the sharp crop, inside the rendered
  mask; beside it that of the coefficients fitted to the sharp frame with its labels, and the blurred crop itself.
- Doubt: what `Reading.doubt` says of the dense error, on these and on worse crops, on half covered faces and on no
  faces.

The mesh network lives in an environment of its own, so that it takes three commands to have it in the table:

    python -m benchmarks.regressor --data FOLDER --meshes FOLDER --write-crops CROPS
    meshenv/bin/python tools/label_meshes.py CROPS -o LABELS
    python -m benchmarks.regressor --data FOLDER --meshes FOLDER --meshes-of-crops LABELS
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import describe_machine
from benchmarks.regressor_cost import measure_cost
from benchmarks.regressor_crops import MEASURED, write_crops
from benchmarks.regressor_measurements import (
    judge_target,
    make_material,
    measure_doubts,
    measure_landmarks,
    measure_quality,
    read_crops,
)
from benchmarks.regressor_pictures import draw_photographs, draw_sheet
from benchmarks.regressor_tables import print_cost, print_doubts, print_landmarks, print_quality
from fvdeblur import released
from fvdeblur.morphable.reader import FaceReader, load_regressor, read_regressor
from fvdeblur.morphable.regressor import Regressor


def load(weights: Path | None, network: str) -> Regressor:
    """The released regressor, or other weights of a network, ready for inference."""
    return load_regressor() if weights is None else read_regressor(weights, network)


FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--data", type=FOLDER, help="Folder with clips.tsv and portraits.tsv.")
@click.option("--meshes", type=FOLDER, help="Folder of their labels: clips/ and portraits/.")
@click.option("--people", type=FILE, help="Which portraits show one person; default: the face model's table.")
@click.option("--weights", type=FILE, help="Other weights than the released ones.")
@click.option("--network", default="light", show_default=True, help="What these weights are for.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--write-crops", "write_crops_to", type=FOLDER, help="Write the crops here and measure nothing."
)
@click.option("--meshes-of-crops", type=FOLDER, help="Labels of these crops.")
@click.option("--sheet", type=FILE, help="Write validation faces here: blurred, rendered, sharp.")
@click.option("--photographs", type=FILE, help="Write such faces of two photographs here; needs no material.")
@click.option("--cost", "cost_alone", is_flag=True, help="Measure the cost alone.")
@click.option("--json", "json_file", type=FILE, help="Write all figures here.")
def main(
    data: Path | None,
    meshes: Path | None,
    people: Path | None,
    weights: Path | None,
    network: str,
    seed: int,
    write_crops_to: Path | None,
    meshes_of_crops: Path | None,
    sheet: Path | None,
    photographs: Path | None,
    cost_alone: bool,
    json_file: Path | None,
) -> None:
    """Measure a regressor on the validation identities."""
    if not (data and meshes) and not (cost_alone or photographs):
        raise click.UsageError("--data and --meshes are needed, but for --cost and --photographs")
    regressor = load(weights, network)
    reader = FaceReader(regressor)
    if photographs is not None:
        draw_photographs(reader, photographs)
        if not (data and meshes) and not cost_alone:
            return
    results: dict[str, Any] = {"machine": describe_machine(), "weights": str(weights or "released")}
    click.echo(json.dumps(results["machine"]))
    if data is not None and meshes is not None and not cost_alone:
        table = people or released.models_folder() / "face3d" / "portraits.people.tsv"
        if write_crops_to is not None:
            material = make_material(reader, data, meshes, table, seed, MEASURED)
            count = write_crops(material.measured + material.training, write_crops_to)
            click.echo(f"{count} crops in {write_crops_to}; label them with tools/label_meshes.py")
            return
        material = make_material(reader, data, meshes, table, seed)
        if sheet is not None:
            draw_sheet(reader, material.measured, sheet)
        read = read_crops(reader, material.measured)
        results["landmarks"] = measure_landmarks(reader, material, read, meshes_of_crops)
        results["target"] = judge_target(results["landmarks"])
        print_landmarks(results["landmarks"], results["target"])
        results["quality"] = measure_quality(reader, material.measured, read)
        print_quality(results["quality"])
        results["doubts"] = measure_doubts(reader, material, read, seed)
        print_doubts(results["doubts"])
    results["cost"] = measure_cost(regressor)
    print_cost(results["cost"])
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
