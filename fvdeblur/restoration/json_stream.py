"""Reading one JSON object piece by piece, so that a long list in it never has to be held as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from fvdeblur.errors import InputError
from fvdeblur.media.failures import one_line, shown

CHUNK = 1 << 18
"""Characters that are read at a time."""

FAR = 1 << 16
"""An error so many characters before the end of what has been read is one of the text, not of its being cut there."""


class Piece(NamedTuple):
    """A value of the object, or an item of one of its long lists.

    Attributes
    ----------
    key
        Whose it is.
    number
        Which item it is; None for whole values.
    value
        As `json` gives it.
    """

    key: str
    number: int | None
    value: Any


def pieces(path: str | os.PathLike[str], long_list: str) -> Iterator[Piece]:
    """Yield the values of the object that a file holds, in order; of one key an empty list, then the items of its list.

    Raises
    ------
    InputError
        The file cannot be read, or is not one JSON object; the line is named.
    """
    try:
        with open(path, encoding="utf-8-sig", newline=None) as file:
            yield from _Walk(path, file).pieces(long_list)
    except (OSError, UnicodeError) as error:
        reason = "it is no UTF-8 text" if isinstance(error, UnicodeError) else one_line(error)
        raise InputError(
            f"{shown(path)}: cannot be read ({reason}); name a file of fvdeblur analyze"
        ) from error


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twin!r} stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


class _Walk:
    def __init__(self, path: str | os.PathLike[str], file: Any) -> None:
        self._path, self._file = path, file
        self._text, self._at, self._line, self._ended = "", 0, 1, False
        self._decoder = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_no_constant)

    def pieces(self, long_list: str) -> Iterator[Piece]:
        self._expect("{")
        seen: set[str] = set()
        more = self._peek() != "}"
        while more:
            key = self._value()
            if not isinstance(key, str) or key in seen:
                raise self._error(f"the key {key!r} stands twice" if key in seen else "a key is no text")
            seen.add(key)
            self._expect(":")
            if key == long_list and self._peek() == "[":
                yield from self._items(key)
            else:
                yield Piece(key, None, self._value())
            more = self._peek() == ","
            if more:
                self._expect(",")
        self._expect("}")
        if self._peek():
            raise self._error("something follows the object")

    def _items(self, key: str) -> Iterator[Piece]:
        self._expect("[")
        yield Piece(key, None, [])
        index, more = 0, self._peek() != "]"
        while more:
            yield Piece(key, index, self._value())
            index, more = index + 1, self._peek() == ","
            if more:
                self._expect(",")
        self._expect("]")

    def _error(self, reason: str, ahead: int = 0) -> InputError:
        line = self._line + self._text.count("\n", self._at, self._at + ahead)
        return InputError(f"{shown(self._path)}, line {line}: {reason}; mend it, or make the file anew")

    def _read(self) -> bool:
        """Read on; whether there was more."""
        more = "" if self._ended else self._file.read(CHUNK)
        self._ended = not more
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def _advance(self, until: int) -> None:
        self._line += self._text.count("\n", self._at, until)
        self._at = until

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            until = self._at
            while until < len(self._text) and self._text[until] in " \t\r\n":
                until += 1
            self._advance(until)
            if until < len(self._text):
                return self._text[until]
            if not self._read():
                return ""

    def _expect(self, character: str) -> None:
        found = self._peek()
        if found != character:
            what = f"{found!r}" if found else "the end of the file"
            raise self._error(f"{character!r} is wanted, not {what}")
        self._advance(self._at + 1)

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                ahead = error.pos - self._at
                if len(self._text) - error.pos > FAR or not self._read():
                    raise self._error(error.msg[:1].lower() + error.msg[1:], ahead) from error
                continue
            except (ValueError, RecursionError) as error:
                raise self._error(one_line(error)) from error
            if end == len(self._text) and self._read():  # a number may go on
                continue
            self._advance(end)
            return value
