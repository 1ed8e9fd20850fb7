"""The folder of unfinished work: which segments are done, for what input and settings, and whether they are whole.

``manifest.json`` says what the work is for. Segment ``n`` is ``<n>.packets``, and ``<n>.json`` its record: what is
known of it, with the length and SHA-256 of its packets and the SHA-256 of the record before it, under a SHA-256 of its
own. Packets are brought to the disk before their record, and the record before it gets its name: at any moment the
records up to the first that is missing or wrong are true.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from fvdeblur.errors import BusyError, UsageError
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.packet_file import Content, file_digest, new_file

try:
    import fcntl
except ImportError:  # no file locks of this kind: two runs at once are the user's to avoid
    fcntl = None  # type: ignore[assignment]

FORMAT, VERSION = "fvdeblur unfinished work", 1
_MANIFEST = "manifest.json"
BESIDE = "beside.json"
"""What its user may keep in the folder; it goes where the identity changes."""

_OURS = re.compile(r"(manifest|beside)\.json(\.new|\.partial)?|\d{6,}\.(packets|json|json\.new)|output\.\w+")


class Journal:
    """A folder of unfinished work, held by one process at a time.

    Parameters
    ----------
    folder : pathlib.Path
        Made where it is not there.

    Attributes
    ----------
    records : list of dict
        What is known of the segments that are done, oldest first.
    is_new : bool
        Whether the folder was made here.

    Raises
    ------
    UsageError
        The name is a symbolic link, or a folder of another user or with other things in it; or another run works in it.
    OutputError
        The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[dict[str, Any]] = []
        self.is_new = False
        self._last_digest = ""
        self._lock: int | None = None
        with writing(folder):
            if folder.is_file() and not folder.is_symlink():
                folder.unlink()  # what an earlier version left
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                self.is_new = True
            self._check()
            self._hold()
            names = os.listdir(folder)
        other = next((name for name in sorted(names) if not _OURS.fullmatch(name)), None)
        if other is not None or (names and not {_MANIFEST, f"{_MANIFEST}.new"} & set(names)):
            self.close()
            raise UsageError(
                f"{shown(folder)}: holds something else than unfinished work; move it or write elsewhere with -o"
            )

    def take_up(self, identity: dict[str, Any], *, resume: bool) -> list[str]:
        """Find out what is done already for this input and these settings, and remove all else.

        Parameters
        ----------
        identity : dict
            All that the result depends on, ready for JSON.
        resume : bool
            False: nothing that lies there is taken up.

        Returns
        -------
        list of str
            What could not be taken up and why, one line each.
        """
        notes: list[str] = []
        same = False
        identity = json.loads(json.dumps(identity))
        with writing(self.folder):
            manifest, digest = self._read_manifest()
            if manifest is not None and resume:
                if manifest.get("version") != VERSION or manifest.get("format") != FORMAT:
                    notes.append("begun afresh: the unfinished work there is of another version")
                elif changed := list(_differences(manifest.get("identity"), identity)):
                    notes.append(
                        f"begun afresh: since the unfinished run these changed: {', '.join(changed)}"
                    )
                else:
                    self._last_digest = digest
                    same = True
                    notes += self._read_records()
            elif resume and os.path.lexists(self.folder / _MANIFEST):
                notes.append("begun afresh: the manifest of the unfinished work is damaged")
            self._clear({_MANIFEST, BESIDE, *self._names()} if same else set())
            if not self.records:
                content = {"format": FORMAT, "version": VERSION, "identity": identity}
                self._last_digest = self._write(_MANIFEST, content)
        return notes

    def drop(self, number: int) -> None:
        """Forget the segments from a number on."""
        with writing(self.folder):
            del self.records[number:]
            self._last_digest = self.records[-1]["digest"] if self.records else self._read_manifest()[1]
            self._clear({_MANIFEST, BESIDE, *self._names()})

    def packets(self, number: int) -> Path:
        """Where the packets of a segment lie or are to be written."""
        return self.folder / f"{number:06d}.packets"

    def add(self, content: Content, facts: dict[str, Any]) -> None:
        """Note that the next segment is done; its packets are on the disk.

        Parameters
        ----------
        content : Content
            What was written.
        facts : dict
            What else is to be known of it, ready for JSON.
        """
        record = {"content": content._asdict(), "facts": facts, "previous": self._last_digest}
        digest = self._write(f"{len(self.records):06d}.json", record)
        self._last_digest = digest
        self.records.append({**record, "digest": digest})

    def remove(self) -> None:
        """Remove the folder with all that is in it, and let it go."""
        with suppress(OSError):
            self._clear(set())
            self.folder.rmdir()
        self.close()

    def close(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check(self) -> None:
        """Refuse what another user could have put there to have files of ours written elsewhere."""
        found = os.lstat(self.folder)
        if stat.S_ISLNK(found.st_mode):
            raise UsageError(
                f"{shown(self.folder)}: is a symbolic link; remove it or write elsewhere with -o"
            )
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{shown(self.folder)}: is no folder; remove it or write elsewhere with -o")
        if hasattr(os, "geteuid"):
            trusted = {os.geteuid(), os.stat(self.folder.parent).st_uid}
            if found.st_uid not in trusted:
                raise UsageError(f"{shown(self.folder)}: belongs to another user; write elsewhere with -o")

    def _hold(self) -> None:
        if fcntl is None:
            return
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BusyError(f"{shown(self.folder)}: another run is at work there; wait for it") from None
        except OSError:  # not every file system has locks
            pass

    def _read_manifest(self) -> tuple[dict[str, Any] | None, str]:
        try:
            return self._read(_MANIFEST)
        except (OSError, ValueError):
            return None, ""

    def _read_records(self) -> list[str]:
        """Read records as far as they and their packets are whole; return what was wrong with the next one."""
        while (self.folder / f"{len(self.records):06d}.json").exists():
            number = len(self.records)
            try:
                record, digest = self._read(f"{number:06d}.json")
                content = Content(**record["content"])
                if record["previous"] != self._last_digest or not isinstance(record["facts"], dict):
                    raise ValueError("another record stood before it")
                size = os.stat(self.packets(number), follow_symlinks=False).st_size
                if size != content.bytes or file_digest(self.packets(number), follow=False) != content.sha256:
                    raise ValueError("its packets are damaged")
            except (OSError, ValueError, KeyError, TypeError):
                return [
                    f"segment {number + 1} of the unfinished run was damaged; it and what follows was done anew"
                ]
            self._last_digest = digest
            self.records.append({**record, "digest": digest})
        return []

    def _names(self) -> Iterator[str]:
        for number in range(len(self.records)):
            yield f"{number:06d}.json"
            yield f"{number:06d}.packets"

    def _clear(self, kept: set[str]) -> None:
        """Remove what is ours but for some names, the manifest last: without it, nothing here counts as ours."""
        for name in sorted(os.listdir(self.folder), key=lambda name: name == _MANIFEST):
            if _OURS.fullmatch(name) and name not in kept:
                (self.folder / name).unlink()

    def _read(self, name: str) -> tuple[dict[str, Any], str]:
        """A JSON object under its own SHA-256, and that; ValueError where they do not fit."""
        handle = os.open(self.folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with open(handle, encoding="utf-8") as file:
            whole = json.load(file)
        if not isinstance(whole, dict) or not isinstance(whole.get("content"), dict):
            raise ValueError("no record")
        if _digest(whole["content"]) != whole.get("sha256"):
            raise ValueError("the SHA-256 differs")
        return whole["content"], whole["sha256"]

    def _write(self, name: str, content: dict[str, Any]) -> str:
        digest = _digest(content)
        text = json.dumps({"content": content, "sha256": digest})
        beside = self.folder / f"{name}.new"
        with writing(self.folder):
            beside.unlink(missing_ok=True)
            with new_file(beside) as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.folder / name)
            if self._lock is not None:
                with suppress(OSError):  # not every system can flush a folder
                    os.fsync(self._lock)
        return digest


def _digest(content: dict[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Names of what differs, as ``settings.strength``."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        yield name or "everything"
