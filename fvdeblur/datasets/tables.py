"""Tables of tab-separated text, the index of material that is not yet a dataset."""

from __future__ import annotations

import csv
from pathlib import Path

from fvdeblur.errors import UsageError

CLIPS_TABLE = "clips.tsv"
PORTRAITS_TABLE = "portraits.tsv"


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Rows of a table as dictionaries of column to text.

    Parameters
    ----------
    path
        The table; its first row names the columns.
    columns
        Columns in which every row must have a value.

    Raises
    ------
    UsageError
        The table cannot be read, or a row lacks such a value.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise UsageError(f"{path}: the index of the material cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: the index of the material is not a table of text ({error})") from error
    for number, row in enumerate(rows, 2):
        for column in columns:
            if not row.get(column):
                raise UsageError(f"{path}: row {number} has no value in the column {column!r}")
    return rows


def frame_rate(path: Path, text: str) -> float:
    """The number of frames a second that a table at ``path`` states.

    Raises
    ------
    UsageError
        The text is no number.
    """
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{path}: {text!r} is not a number of frames a second") from error
