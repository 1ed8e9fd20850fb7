"""How videos are mined."""

from __future__ import annotations

from dataclasses import dataclass

from fvdeblur.errors import UsageError

IDENTITY_SOURCES = ("file", "folder")


@dataclass(frozen=True)
class MiningSettings:
    """What is looked for and what is kept; the defaults of the command line are these.

    Attributes
    ----------
    detector
        Face detector: ``auto``, ``centerface`` or ``scrfd``.
    landmarks
        Landmarker: ``auto``, ``dlib68`` or ``five``.
    identity_from
        What names the person of a video, where each shows one: ``file`` its name without the suffix, ``folder`` that
        of its folder; None where nothing does. Then the split goes by video.
    least_frames, most_frames
        Fewest and most frames of a clip.
    least_face
        Smallest face, longer side of its box in pixels.
    most_faces
        Faces that are followed at once; the best detected ones.
    licence
        Terms of use of the videos, to be noted in the index.

    Raises
    ------
    UsageError
        A value is out of range.
    """

    detector: str = "auto"
    landmarks: str = "auto"
    identity_from: str | None = None
    least_frames: int = 25
    most_frames: int = 250
    least_face: float = 80.0
    most_faces: int = 4
    licence: str | None = None

    def __post_init__(self) -> None:
        if self.least_frames < 2:
            raise UsageError(f"--least-frames is {self.least_frames}; a clip needs at least 2")
        if self.most_frames < self.least_frames:
            raise UsageError(
                f"--most-frames ({self.most_frames}) is less than --least-frames ({self.least_frames})"
            )
        if not self.least_face >= 32:
            raise UsageError(f"--least-face is {self.least_face:g}; give at least 32 pixels")
        if self.most_faces < 1:
            raise UsageError(f"--most-faces is {self.most_faces}; give at least 1")
        if self.identity_from not in (None, *IDENTITY_SOURCES):
            raise UsageError(
                f"--identity-from is {self.identity_from!r}; give one of {', '.join(IDENTITY_SOURCES)}"
            )
