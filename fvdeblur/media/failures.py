"""Turning the errors of FFmpeg and of the operating system into one-line errors of this package."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import av

from fvdeblur.errors import FvdeblurError, InputError, OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
    errno.EFBIG: "the file became larger than this system allows; write elsewhere",
    errno.EACCES: "permission denied; check the rights or choose another place",
    errno.EPERM: "the system or the container refuses it; check the rights, or choose another place or suffix",
    errno.EROFS: "the file system is read-only; write elsewhere",
    errno.ENOENT: "no such folder or file; create the folder first",
    errno.ENOTDIR: "part of the path is a file, not a folder; correct the path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the device reports an input/output error; check the disk",
}


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as it can stand in a one-line message: control characters and broken bytes escaped."""
    text = os.fspath(path)
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def one_line(error: BaseException) -> str:
    """Return the reason of an error in one line, without a file name."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number in _REMEDIES:
        return _REMEDIES[number]
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(str(reason).strip().splitlines()[0])


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any error of FFmpeg or the system inside the block into an InputError that names `path`."""
    try:
        yield
    except FvdeblurError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{shown(path)}: cannot be read as a video ({one_line(error)}); check that the file is whole"
        ) from error


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any error of FFmpeg or the system inside the block into an OutputError that names `path`."""
    try:
        yield
    except FvdeblurError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise OutputError(f"{shown(path)}: cannot be written ({one_line(error)})") from error
