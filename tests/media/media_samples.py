"""Small real videos, made by real encoders from a photograph that moves."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import skimage.data

Frames = list[np.ndarray]


def moving_photograph(count: int, width: int = 320, height: int = 240) -> Frames:
    """A photograph panned a few pixels a frame: uint8 [h, w, 3]."""
    photograph = cv2.resize(skimage.data.astronaut(), (width * 2, height * 2), interpolation=cv2.INTER_AREA)
    return [
        np.ascontiguousarray(photograph[10 + i % 7 :, 3 * i % width :][:height, :width]) for i in range(count)
    ]


def tone(seconds: float, rate: int = 44100, pitch: float = 440.0) -> np.ndarray:
    """A sine as float32 [2, samples]."""
    time = np.arange(round(seconds * rate)) / rate
    wave = (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)
    return np.stack([wave, wave])


def add_audio(
    container: Any,
    seconds: float,
    codec: str = "aac",
    pitch: float = 440.0,
    rate: int | None = None,
    **tags: str,
) -> Callable[[], None]:
    """Add an audio stream; the returned function writes it."""
    rate = rate or (48000 if "opus" in codec else 44100)
    stream = container.add_stream(codec, rate=rate, layout="stereo")
    stream.metadata.update(tags)

    def write() -> None:
        samples = tone(seconds, stream.rate, pitch)
        layout = stream.codec_context.format.name
        size = stream.codec_context.frame_size or 1024
        for begin in range(0, samples.shape[1], size):
            part = samples[:, begin : begin + size]
            array = part if layout == "fltp" else (part.T.reshape(1, -1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(array), format=layout, layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = stream.rate, begin, Fraction(1, stream.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    return write


def make_video(
    path: Path,
    frames: Frames | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    container: str | None = None,
    audio: float | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    prepare: Callable[[Any, Any], Any] | None = None,
) -> Path:
    """Encode frames (25 a second unless `times` in ticks are given), with `audio` seconds of sound."""
    frames = moving_photograph(25) if frames is None else frames
    step = round(Fraction(1, 25) / time_base)
    times = [i * step for i in range(len(frames))] if times is None else times
    defaults = {
        "libx264": {"preset": "veryfast", "g": "10"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    }
    with av.open(str(path), "w", format=container, container_options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=25, options={**defaults.get(codec, {}), **(options or {})})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        sound = add_audio(output, audio) if audio else None
        more = prepare(output, stream) if prepare else None
        for pixels, pts in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = pts, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound:
            sound()
        if more:
            more()
    return path


def packets(path: Path) -> dict[int, list[tuple[Fraction, bytes]]]:
    """Time and bytes of every packet, by stream index, in the order of presentation."""
    found: dict[int, list[tuple[Fraction, bytes]]] = {}
    with av.open(str(path)) as source:
        for packet in source.demux():
            if packet.size:
                ticks = packet.pts if packet.pts is not None else packet.dts
                time = (ticks or 0) * packet.time_base  # cover art has no time
                found.setdefault(packet.stream.index, []).append((time, bytes(packet)))
    return {index: sorted(items) for index, items in found.items()}


def everything(path: Path) -> list[tuple[Any, ...]]:
    """All that the packets of a file carry."""
    with av.open(str(path)) as opened:
        return [
            (p.stream.index, p.pts, p.dts, p.duration, p.is_keyframe, bytes(p))
            for p in opened.demux()
            if p.size
        ]


def frame_times(path: Path) -> list[Fraction]:
    """Time of every decoded frame of the first video stream."""
    with av.open(str(path)) as source:
        return [frame.pts * frame.time_base for frame in source.decode(video=0)]
