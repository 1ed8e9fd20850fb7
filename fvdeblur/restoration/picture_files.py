"""Pictures of faces on the disk, and rows of them for a contact sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import OutputError
from fvdeblur.media.failures import shown

Picture = NDArray[np.uint8]

QUALITIES = {"png": [], "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], "webp": [cv2.IMWRITE_WEBP_QUALITY, 95]}

SHOWN = 8
"""Crops of a person on the contact sheet: the best shot, and others evenly spread."""

TILE = 160


def sheet_row(paths: list[Path], title: str, full: bool) -> Picture:
    """Tiles side by side under a title, uint8 [TILE + 24, W, 3]."""
    row = np.full((TILE + 24, (SHOWN if full else 1) * TILE, 3), 24, np.uint8)
    row = np.pad(row, ((0, 0), (0, max(0, 2 * TILE - row.shape[1])), (0, 0)), constant_values=24)
    for place, path in enumerate(paths[:SHOWN]):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            shrinks = picture.shape[0] > TILE
            tile = cv2.resize(
                picture, (TILE, TILE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            )
            row[24:, place * TILE : (place + 1) * TILE] = tile[..., ::-1]
    cv2.putText(row, title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230, 230, 230), 1, cv2.LINE_AA)
    return row


def write_picture(path: Path, picture: Picture) -> None:
    """Write uint8 [H, W, 3], R'G'B', in the format of the suffix."""
    done, data = cv2.imencode(path.suffix, picture[..., ::-1], QUALITIES[path.suffix[1:]])
    if not done:
        raise OutputError(f"{shown(path)}: cannot be written as {path.suffix[1:]}; choose another format")
    path.write_bytes(data.tobytes())


def read_picture(path: Path) -> Picture:
    """Read what `write_picture` wrote as PNG."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise OutputError(f"{shown(path)}: cannot be read again; check the disk")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)
