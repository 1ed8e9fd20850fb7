"""Standard input and output as files: both ends of this program need to go back in what they read and write."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fvdeblur.errors import InputError, OutputError
from fvdeblur.media.containers import CONTAINERS


@contextmanager
def read_standard_input() -> Iterator[Path]:
    """Give a file with everything that standard input holds, in a temporary folder that only this user can read.

    Raises
    ------
    InputError
        Standard input is empty or a terminal.
    OutputError
        The temporary folder has no room.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("-: standard input is a terminal; pipe a video into it, or name a file")
    with tempfile.TemporaryDirectory(prefix="fvdeblur-") as folder:
        path = Path(folder, "standard input.mkv")
        try:
            with path.open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
        except OSError as error:
            raise OutputError(
                f"-: what came in cannot be kept in {folder} ({error.strerror}); set TMPDIR to a larger disk"
            ) from error
        if path.stat().st_size == 0:
            raise InputError("-: standard input is empty; pipe a video into it, or name a file")
        yield path


def suffix_of_standard_output(output: str | None) -> str | None:
    """The suffix that stands for the container of what goes to standard output: Matroska for ``-``, or as in ``-.y4m``.

    None where the output is a file.
    """
    if output == "-":
        return ".mkv"
    if output is not None and output.startswith("-.") and output[1:].lower() in CONTAINERS:
        return output[1:]
    return None


@contextmanager
def write_standard_output(suffix: str) -> Iterator[Path]:
    """Give a path for a file that is sent to standard output when the block ends without an error.

    Parameters
    ----------
    suffix
        Its suffix, which stands for its container.

    Raises
    ------
    OutputError
        Standard output is a terminal, or cannot be written.
    """
    if sys.stdout.isatty():
        raise OutputError("-o -: standard output is a terminal; pipe it into a program or a file")
    with tempfile.TemporaryDirectory(prefix="fvdeblur-") as folder:
        path = Path(folder, f"standard output{suffix}")
        yield path
        if not path.exists():
            return
        try:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, sys.stdout.buffer, 1 << 20)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"-o -: standard output cannot be written ({error.strerror})") from error
