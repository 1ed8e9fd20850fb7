"""Reading, changing and writing video files."""

from fvdeblur.media.pixel_formats import supported
from fvdeblur.media.planes import FramePlanes
from fvdeblur.media.probe import VideoInfo, probe
from fvdeblur.media.reader import DecodedFrame, VideoReader
from fvdeblur.media.remux import can_copy, copy_streams
from fvdeblur.media.timecode import parse_timecode
from fvdeblur.media.writer import VideoWriter

__all__ = [
    "DecodedFrame",
    "FramePlanes",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "can_copy",
    "copy_streams",
    "parse_timecode",
    "probe",
    "supported",
]
