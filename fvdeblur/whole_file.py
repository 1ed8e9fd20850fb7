"""Files that have their names only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fvdeblur.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, beside the file's place; the file is moved there when the block ends without an error.

    Raises
    ------
    OutputError
        The system refuses.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
