"""Encoded packets of one video stream in a file of our own: every timestamp to the tick, checked by SHA-256.

A file begins with `MAGIC`. Each packet is a head (`_HEAD`: presentation and decoding time and duration in ticks,
flags, number of side data, bytes), its side data (each a head `_SIDE`: number of the kind, bytes; then the bytes) and
its bytes. All numbers are little-endian.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, get_args

import av
from av.packet import PacketSideData, PktSideDataT

MAGIC = b"fvdeblur packets 1\n"
_HEAD = struct.Struct("<qqqHHI")
_SIDE = struct.Struct("<HI")
_KEY_FRAME = 1
_KINDS: tuple[str, ...] = get_args(PktSideDataT)
_OF_THE_ENCODER = "quality_stats"  # no muxer writes it
_CHUNK = 1 << 20


class Content(NamedTuple):
    """What was written to a packet file.

    Attributes
    ----------
    packets, bytes : int
        How many.
    sha256 : str
        Of the whole file.
    delay : int
        How many packets decoding must be ahead of display.
    """

    packets: int
    bytes: int
    sha256: str
    delay: int


class PacketWriter:
    """Writes the packets of one encoder, from its key frame at the beginning to its end, to a new file.

    Parameters
    ----------
    path : pathlib.Path
        Nothing must stand there; a symbolic link is not followed.

    Raises
    ------
    OSError
        The file cannot be created or, by the methods, written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = new_file(path)
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._times: list[tuple[int, int]] = []  # of presentation and of decoding
        self._put(MAGIC)

    def write(self, packets: Iterable[av.Packet]) -> None:
        """Add packets."""
        for packet in packets:
            side = [item for item in packet.iter_sidedata() if item.data_type != _OF_THE_ENCODER]
            data = bytes(packet)
            pts = packet.pts if packet.pts is not None else packet.dts
            if pts is None:
                raise ValueError("the encoder gave a packet without a time")
            dts = pts if packet.dts is None else packet.dts
            flags = _KEY_FRAME if packet.is_keyframe else 0
            self._put(_HEAD.pack(pts, dts, packet.duration or 0, flags, len(side), len(data)))
            for item in side:
                content = bytes(item)
                self._put(_SIDE.pack(_KINDS.index(item.data_type), len(content)) + content)
            self._put(data)
            self._times.append((pts, dts))

    def finish(self) -> Content:
        """Bring everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Content(len(self._times), self._bytes, self._hash.hexdigest(), _delay(self._times))

    def close(self) -> None:
        """Close the file, whatever state it is in."""
        self._file.close()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._bytes += len(data)


def read_packets(path: Path) -> Iterator[av.Packet]:
    """The packets of a file in their order; their times have no unit yet.

    Raises
    ------
    OSError, ValueError
        The file cannot be read or is cut off.
    """
    make_side: Any = PacketSideData  # whose arguments PyAV does not declare
    for pts, dts, duration, flags, side, data in _walk(path, with_data=True):
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.duration = pts, dts, duration
        packet.is_keyframe = bool(flags & _KEY_FRAME)
        for kind, content in side:
            item: Any = make_side(kind, len(content))
            item.update(content)
            packet.set_sidedata(item)
        yield packet


def read_times(path: Path) -> list[int]:
    """The times of presentation of a file's packets, in the order of display."""
    return sorted(pts for pts, *_ in _walk(path, with_data=False))


def decoding_times(shown: Iterable[int], delay: int) -> Iterator[int]:
    """When packets are to be decoded so that each is there when it is shown, and decoding times always rise.

    The first ``delay`` come before the first picture is shown. Any encoder with that delay whose pictures are shown at
    these times would write the same, and so it holds over the ends of encoders, too.

    Parameters
    ----------
    shown : iterable of int
        Times of presentation in the order of display, rising.
    delay : int
        Packets by which decoding is ahead.
    """
    times = iter(shown)
    first = [time for _, time in zip(range(delay + 1), times, strict=False)]
    if first:
        lead = first[-1] - first[0]
        yield from (time - lead for time in first[:delay])
        yield from first
        yield from times


def file_digest(path: str | os.PathLike[str], *, follow: bool = True) -> str:
    """SHA-256 of a file, read piece by piece.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    follow : bool
        Whether it may be a symbolic link.
    """
    digest = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | (0 if follow else _NOFOLLOW) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def new_file(path: Path) -> BinaryIO:
    """Create a file for writing, readable by its owner alone; where something stands at its name, that is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o600), "wb")


def _delay(times: list[tuple[int, int]]) -> int:
    """The delay of an encoder: by its own decoding times, and no less than its order of packets takes."""
    if not times:
        return 0
    rank = {pts: number for number, pts in enumerate(sorted(pts for pts, _ in times))}
    needed = max(number - rank[pts] for number, (pts, _) in enumerate(times))
    first = min(rank)
    return max(needed, sum(dts < first for _, dts in times))


def _walk(
    path: Path, *, with_data: bool
) -> Iterator[tuple[int, int, int, int, list[tuple[int, bytes]], bytes]]:
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("no packet file")
        while head := file.read(_HEAD.size):
            pts, dts, duration, flags, count, size = _HEAD.unpack(_whole(head, _HEAD.size))
            side = []
            for _ in range(count):
                kind, length = _SIDE.unpack(_whole(file.read(_SIDE.size), _SIDE.size))
                side.append((kind, _whole(file.read(length), length)))
            if with_data:
                data = _whole(file.read(size), size)
            else:
                data = b""
                file.seek(size, os.SEEK_CUR)
            yield pts, dts, duration, flags, side, data


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError("the packet file is cut off")
    return data
