"""The log of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fvdeblur.training.checkpoints import LOG, VALIDATION, read_lines, replace

PICTURE = "log.png"


def plot_log(output: str | Path, measure: str = "gain_db", label: str = "PSNR gain (dB)") -> bool:
    """Draw the loss, and a measure in training and in the validation of every protocol, over the steps: ``log.png``.

    Parameters
    ----------
    output
        Folder of the run.
    measure, label
        Name of the measure in log and validation, and what to call it.

    Returns
    -------
    Whether the picture was written; False where matplotlib is not installed or nothing was logged.
    """
    output = Path(output)
    log, validation = read_lines(output / LOG), read_lines(output / VALIDATION)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not log:
        return False
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    losses, gains = figure.subplots(2, 1, sharex=True)
    losses.plot(*_curve(log, "loss"), label="loss", color="tab:grey")
    losses.set_ylabel("training loss")
    rate = losses.twinx()
    rate.plot(*_curve(log, "learning_rate"), color="tab:olive", linewidth=1)
    rate.set_ylabel("learning rate")
    gains.plot(*_curve(log, measure), color="tab:grey", label="training")
    for name in [key for key in (validation[-1] if validation else {}) if key != "step"]:
        steps = [line["step"] for line in validation if name in line]
        values = [line[name][measure] for line in validation if name in line]
        gains.plot(steps, values, marker="o", markersize=3, label=f"validation, {name}")
    gains.set_xlabel("step")
    gains.set_ylabel(label)
    gains.legend()
    replace(output / PICTURE, lambda path: figure.savefig(path, format="png", dpi=100))
    return True


def _curve(lines: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    shown = [line for line in lines if line.get(key) is not None]
    return [line["step"] for line in shown], [line[key] for line in shown]
