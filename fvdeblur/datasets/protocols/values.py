"""Settings written as text, ``name=value``, as a command line takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from fvdeblur.datasets.protocols import PROTOCOLS, Modifiers, Protocol, create
from fvdeblur.errors import UsageError


def parse_settings(name: str, texts: Iterable[str]) -> tuple[Protocol, Modifiers]:
    """Make a protocol and the modifiers from settings such as ``exposure=0.5,2`` or ``noise=2``.

    Several values are separated by commas; one number stands for a range of itself alone.

    Raises
    ------
    UsageError
        The protocol or a setting is unknown, or a value is not one.
    """
    create(name)
    own = {field.name: field.default for field in dataclasses.fields(PROTOCOLS[name])}
    after = {field.name: field.default for field in dataclasses.fields(Modifiers)}
    settings: dict[str, Any] = {}
    modifiers: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        key = key.strip()
        if not separator:
            raise UsageError(f"{text!r} is no setting; write name=value")
        if key in own:
            settings[key] = _value(key, value.strip(), own[key])
        elif key in after:
            modifiers[key] = _value(key, value.strip(), after[key])
        else:
            raise UsageError(f"{name} has no setting {key!r}; there are {', '.join([*own, *after])}")
    return create(name, settings), Modifiers(**modifiers)


def _value(key: str, text: str, default: Any) -> Any:
    """A value of the kind that the default is of."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{key} must be true or false, not {text!r}")
        return text.lower() == "true"
    if isinstance(default, str):
        return text
    parts = [part.strip() for part in text.split(",")]
    if isinstance(default, tuple) and isinstance(default[0], str):
        return tuple(parts)
    kind = int if isinstance(default, tuple) and isinstance(default[0], int) else float
    try:
        numbers = tuple(kind(part) for part in parts)
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"{key} must be {what} separated by commas, not {text!r}") from error
    if isinstance(default, float):
        if len(numbers) != 1:
            raise UsageError(f"{key} must be one number, not {text!r}")
        return numbers[0]
    is_list = key == "counts"
    return numbers * 2 if len(numbers) == 1 and not is_list else numbers
