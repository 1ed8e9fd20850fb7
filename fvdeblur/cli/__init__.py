"""The command line: one command a file, each a thin layer over the Python interface."""

from __future__ import annotations

import os
import sys
import traceback

import click

from fvdeblur import __version__
from fvdeblur.cli.run import run
from fvdeblur.cli.train import train
from fvdeblur.errors import EXIT_FAILURE, EXIT_INTERRUPT, FvdeblurError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fvdeblur")
def commands() -> None:
    """Deblur faces in video; everything but the faces stays as it was."""


commands.add_command(run)
commands.add_command(train)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        code = commands.main(given, prog_name="fvdeblur", standalone_mode=False)
    except click.exceptions.Abort:
        _say("interrupted; nothing was left half-written")
        code = EXIT_INTERRUPT
    except KeyboardInterrupt:
        _say("interrupted; nothing was left half-written")
        code = EXIT_INTERRUPT
    except click.ClickException as error:
        if debug:
            traceback.print_exc()
        _say(_one_line(error.format_message()))
        code = error.exit_code
    except FvdeblurError as error:
        if debug:
            traceback.print_exc()
        _say(_one_line(str(error)))
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILURE
    except Exception as error:  # a defect of ours, or something that nobody thought of
        if debug:
            traceback.print_exc()
        _say(f"unexpected {type(error).__name__}: {_one_line(str(error))} (--debug shows where)")
        code = EXIT_FAILURE
    sys.exit(code or 0)


def _say(text: str) -> None:
    print(f"fvdeblur: {text}", file=sys.stderr)


def _one_line(text: str) -> str:
    return " ".join(text.split())


__all__ = ["commands", "main"]
