"""Lines of JSON that have their file's name only when all of them are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from fvdeblur.errors import UsageError
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.target import check_free


class RowFile:
    """Lines of JSON, written beside their place and moved there by `commit`; nothing where no path is given.

    Parameters
    ----------
    path
        Where they will stand; None: nowhere.
    videos
        Files that must not be touched: the input and the output.
    overwrite
        Whether a file that stands there already may be replaced.

    Raises
    ------
    UsageError
        The path is one of the videos or a folder, or a file stands there and ``overwrite`` is False.
    OutputError
        The file cannot be created, here or, by the methods, written.
    """

    def __init__(self, path: str | os.PathLike[str] | None, videos: Iterable[Path], overwrite: bool) -> None:
        self.path = None if path is None else Path(path)
        self._file: TextIO | None = None
        if self.path is None:
            return
        self._partial = self.path.with_name(self.path.name + ".partial")
        taken = {os.path.realpath(f"{video}{end}") for video in videos for end in ("", ".partial")}
        if taken & {os.path.realpath(self.path), os.path.realpath(self._partial)}:
            raise UsageError(
                f"{shown(self.path)}: is the input or the output; choose another name with --json"
            )
        with writing(self.path):
            check_free(self.path, overwrite, "--json")
            self._partial.unlink(missing_ok=True)
            self._file = self._partial.open("x", encoding="utf-8", newline="\n")

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write a line for each row."""
        if self.path is not None and self._file is not None:
            with writing(self.path):
                self._file.writelines(json.dumps(row) + "\n" for row in rows)

    def close(self) -> None:
        """Bring everything to the disk."""
        if self.path is not None and self._file is not None:
            with writing(self.path):
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()

    def commit(self) -> None:
        """Give the file its name."""
        if self.path is not None:
            with writing(self.path):
                self._partial.replace(self.path)
