"""The output file: written beside its place, and moved there only when it is whole."""

import os
from contextlib import suppress
from pathlib import Path

from fvdeblur.errors import UsageError
from fvdeblur.media.containers import CONTAINERS, container_format
from fvdeblur.media.failures import shown, writing


def check_free(path: str | os.PathLike[str], overwrite: bool, option: str = "-o") -> None:
    """Raise UsageError where a file must not be written to a path, which `option` names."""
    if os.path.isdir(path):
        raise UsageError(f"{shown(path)}: is a folder; name a file in it with {option}")
    if os.path.lexists(path) and not overwrite:
        other = option if option == "-o" else f"another {option}"
        raise UsageError(f"{shown(path)} exists; use --overwrite or {other}")


class OutputTarget:
    """A file that appears under its name only when `commit` is called.

    Parameters
    ----------
    path : str or os.PathLike
        Where the finished file will stand; its suffix decides the container.
    source : str or os.PathLike
        The input, which is never overwritten.
    overwrite : bool
        Whether a file that stands at `path` already may be replaced.
    in_folder : bool
        Whether the unfinished file lies in a folder ``<path>.partial`` (which the caller makes, and in which `create`
        makes the file) instead of being a file of this name.

    Attributes
    ----------
    path, partial, workplace : pathlib.Path
        The finished file, the unfinished one, and ``<path>.partial``.
    container : str
        FFmpeg's name of the container.

    Raises
    ------
    UsageError
        The suffix is unknown, the output is the input, or a file stands there and `overwrite` is False.
    OutputError
        The file cannot be created there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        source: str | os.PathLike[str],
        overwrite: bool,
        *,
        in_folder: bool = False,
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.workplace = self.path.with_name(self.path.name + ".partial")
        self.partial = self.workplace / f"output{self.path.suffix}" if in_folder else self.workplace
        self._committed = False
        container = container_format(self.path)
        if container is None:
            raise UsageError(
                f"{shown(path)}: the suffix names no video container; use one of {', '.join(CONTAINERS)}"
            )
        self.container = container
        if _same_file(self.path, source) or _same_file(self.workplace, source):
            raise UsageError(
                f"{shown(path)}: the output would replace the input; choose another name with -o"
            )
        with writing(self.path):
            check_free(path, overwrite)
            if not in_folder:
                if self.workplace.is_dir() and not self.workplace.is_symlink():
                    raise UsageError(
                        f"{shown(self.workplace)}: is a folder, as an unfinished run leaves it; finish that run, "
                        "remove the folder or write elsewhere with -o"
                    )
                self.create()

    def create(self) -> None:
        """Create the unfinished file, empty; what stood there is removed, and a symbolic link not followed.

        Raises
        ------
        OutputError
            The system refuses.
        """
        with writing(self.path):
            self.partial.unlink(missing_ok=True)
            self.partial.touch(exist_ok=False)

    def commit(self) -> None:
        """Bring the written data to the disk and give the file its name.

        Raises
        ------
        OutputError
            The system refuses.
        """
        with writing(self.path):
            _flush(self.partial)
            os.replace(self.partial, self.path)
            self._committed = True
        # Not every system can flush a folder; the file itself is safe.
        with suppress(OSError):
            _flush(self.path.parent)

    def discard(self) -> None:
        """Remove what was written, unless it was committed."""
        if not self._committed:
            with suppress(OSError):
                self.partial.unlink(missing_ok=True)


def _same_file(one: Path, other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
