"""Errors that a user can cause or must know about.

Each error carries a one-line text (what is wrong, in which file, what to do) and the exit code that the command
line returns for it.
"""

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPT = 130
EXIT_TERMINATED = 143


class FvdeblurError(Exception):
    """Something went wrong that is not a defect of this program: unreadable input, a full disk, a lost device."""

    exit_code = EXIT_FAILURE


class UsageError(FvdeblurError):
    """The request itself cannot be carried out as it was written: a missing path, an unknown name, a bad value."""

    exit_code = EXIT_USAGE


class BusyError(UsageError):
    """Another run is at work on the same output; it may end."""


class InputError(FvdeblurError):
    """The input file cannot be read as a video, or holds nothing that can be processed."""


class CancelledError(FvdeblurError):
    """The caller's own question whether to stop was answered with yes; nothing stands under the output's name."""

    exit_code = EXIT_INTERRUPT


class OutputError(FvdeblurError):
    """The output cannot be written: no permission, no space, or a container that cannot hold the streams."""
