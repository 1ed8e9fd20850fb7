"""``fvdeblur config``, and the defaults of options in ``fvdeblur.toml`` and the environment."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from fvdeblur.cli.messages import one_line, shown
from fvdeblur.errors import UsageError

FILE_NAME = "fvdeblur.toml"
ENVIRONMENT_PREFIX = "FVDEBLUR"

_SOURCES = {"ENVIRONMENT": "the environment", "DEFAULT_MAP": "a file", "DEFAULT": "the default"}


def config_files(given: Path | None) -> list[Path]:
    """Files that hold defaults, the ones that count more last: the user's, the current folder's; or the one given."""
    if given is not None:
        return [given]
    places = [Path(click.get_app_dir("fvdeblur")) / FILE_NAME, Path(FILE_NAME)]
    return [path for path in places if path.is_file()]


def read_defaults(
    paths: list[Path], commands: click.Group
) -> tuple[dict[str, Any], dict[tuple[str, str], Path]]:
    """Defaults of the commands' options, as click takes them, and the file of each.

    Raises
    ------
    UsageError
        A file cannot be read, or names a command or an option that does not exist.
    """
    defaults: dict[str, Any] = {}
    origins: dict[tuple[str, str], Path] = {}
    for path in paths:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{shown(path)}: cannot be read ({error.strerror}); check the path") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{shown(path)}: is not valid TOML ({one_line(str(error))})") from error
        for command, values in tables.items():
            if command not in commands.commands or not isinstance(values, dict):
                raise UsageError(
                    f"{shown(path)}: has a table [{command}]; there are tables for commands such as [run]"
                )
            options = _options(commands.commands[command])
            for key, value in values.items():
                option = options.get(key.replace("_", "-"))
                if option is None:
                    raise UsageError(
                        f"{shown(path)}: [{command}] has {key!r}, which is no option of that command"
                    )
                name = str(option.name)
                several = [value] if option.multiple and isinstance(value, str) else value
                defaults.setdefault(command, {})[name] = _turned(option, several)
                origins[command, name] = path
    return defaults, origins


def _options(command: click.Command) -> dict[str, click.Option]:
    """A command's options by what they are called (``min-face``)."""
    return {
        spelling.lstrip("-"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for spelling in parameter.opts
        if spelling.startswith("--")
    }


def _turned(option: click.Option, value: Any) -> Any:
    """The value of a flag that switches something off (``--no-resume``) for the setting behind it, and back."""
    return not value if option.is_flag and option.flag_value is False and isinstance(value, bool) else value


@click.group()
def config() -> None:
    """Show the defaults that are in force.

    Options have defaults in fvdeblur.toml, in the user's folder of settings and in the current folder (which counts
    more), and in the environment (FVDEBLUR_RUN_CRF=20), which counts more than both; what is typed counts most.

    \b
    [run]
    crf = 16
    min-face = 48
    """


@config.command()
@click.argument("command", default="run", metavar="[COMMAND]")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@click.pass_context
def show(context: click.Context, command: str, as_json: bool) -> None:
    """Show every option of COMMAND (default: run), its value and where that came from."""
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    if command not in root.command.commands:
        raise UsageError(
            f"there is no command {command!r}; there are {', '.join(sorted(root.command.commands))}"
        )
    target = root.command.commands[command]
    origins = root.obj or {}
    inner = click.Context(target, parent=root, info_name=command)
    rows = []
    for spelling, option in _options(target).items():
        name = str(option.name)
        value, source = option.consume_value(inner, {})
        value = _turned(option, value) if isinstance(value, str | int | float | bool | tuple | list) else None
        where = _SOURCES.get(source.name, source.name.lower())
        if source.name == "DEFAULT_MAP" and (command, name) in origins:
            where = shown(origins[command, name])
        elif source.name == "ENVIRONMENT":
            where = f"${ENVIRONMENT_PREFIX}_{command.replace('-', '_')}_{name}".upper()
        rows.append({"option": spelling, "value": value, "from": where})
    if as_json:
        click.echo(json.dumps(rows))
        return
    width = max(len(str(row["option"])) for row in rows)
    for row in rows:
        said = "-" if row["value"] is None else row["value"]
        click.echo(f"{row['option']:{width}}  {said}  ({row['from']})")
