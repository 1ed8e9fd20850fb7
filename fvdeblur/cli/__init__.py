"""The command line: one command a file, each a thin layer over the Python interface."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from fvdeblur import __version__
from fvdeblur.cli.analyze import analyze
from fvdeblur.cli.blur import blur
from fvdeblur.cli.build_3dmm import build_3dmm
from fvdeblur.cli.compare import compare
from fvdeblur.cli.completion import completion
from fvdeblur.cli.config import ENVIRONMENT_PREFIX, config, config_files, read_defaults
from fvdeblur.cli.crops import crops
from fvdeblur.cli.dataset import dataset
from fvdeblur.cli.doctor import doctor
from fvdeblur.cli.evaluate import evaluate
from fvdeblur.cli.export import export
from fvdeblur.cli.messages import one_line, say
from fvdeblur.cli.mine import mine
from fvdeblur.cli.models import models
from fvdeblur.cli.render import render
from fvdeblur.cli.run import run
from fvdeblur.cli.train import train
from fvdeblur.cli.train_fitting import train_fitting
from fvdeblur.cli.train_regressor import train_regressor
from fvdeblur.errors import EXIT_FAILURE, EXIT_INTERRUPT, EXIT_TERMINATED, EXIT_USAGE, FvdeblurError


@click.group(
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": ENVIRONMENT_PREFIX,
    },
)
@click.version_option(__version__, prog_name="fvdeblur")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take defaults from this file alone.  [default: fvdeblur.toml of the user and of this folder]",
)
@click.pass_context
def commands(context: click.Context, config_file: Path | None) -> None:
    """Deblur faces in video; everything but the faces stays as it was."""
    assert isinstance(context.command, click.Group)
    context.default_map, context.obj = read_defaults(config_files(config_file), context.command)
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


_USING = (run, crops, compare, analyze, render, evaluate, models, export, doctor, config, completion)
_MAKING = (mine, dataset, blur, train, train_fitting, train_regressor, build_3dmm)

for command in (*_USING, *_MAKING):
    commands.add_command(command)


class _Terminated(BaseException):
    """The system asks to stop. It unwinds as Ctrl-C does, so that what is half-written is removed."""


def _terminate(*_: Any) -> None:
    raise _Terminated


def _left_behind(stop: BaseException) -> str:
    """What is told of work that is kept by notes of an interrupt, which click may have wrapped."""
    notes = [note for each in (stop, stop.__cause__) for note in getattr(each, "__notes__", ())]
    return "; ".join(notes) or "nothing was left half-written"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 130 interrupted, 143 terminated."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):  # file names hold letters that a terminal may not know
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = commands.main(given, prog_name="fvdeblur", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as stop:
        say(f"interrupted; {_left_behind(stop)}")
        code = EXIT_INTERRUPT
    except _Terminated as stop:
        say(f"terminated; {_left_behind(stop)}")
        code = EXIT_TERMINATED
    except click.ClickException as error:
        if debug:
            traceback.print_exc()
        say(error.format_message())
        code = error.exit_code
    except FvdeblurError as error:
        if debug:
            traceback.print_exc()
        say(str(error))
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILURE
    except Exception as error:  # a defect of ours, or something that nobody thought of
        if debug:
            traceback.print_exc()
        say(f"unexpected {type(error).__name__}: {one_line(str(error))} (--debug shows where)")
        code = EXIT_FAILURE
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code or 0)


__all__ = ["commands", "main"]
