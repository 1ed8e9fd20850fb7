"""Folders to write to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fvdeblur.errors import OutputError, UsageError


def check_folders(folders: Iterable[Path]) -> None:
    """Raise UsageError where one of these is there and no folder."""
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is not a folder; for several inputs or a folder, give a folder")


def make_folders(folders: Iterable[Path]) -> None:
    """Make these folders where they are not there; OutputError where one cannot be made."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot make this folder ({error.strerror})") from error
