"""Every container with its codecs, depths, rotations and kinds of streams, sent through the product: all is kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data
from media_samples import Frames, add_audio, everything, make_video, moving_photograph

from fvdeblur import Deblurrer
from fvdeblur.media import VideoReader, probe
from fvdeblur.media.pixel_formats import pixel_format
from fvdeblur.media.planes import channel_views
from fvdeblur.restoration import Summary

FRAMES = 12
STEPS = (40, 20, 53, 31, 40, 7, 81, 40, 40, 66, 12)  # milliseconds
SUBTITLE_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Alignment, Encoding
Style: Default,Arial,16,&Hffffff,0,2,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
LANGUAGES = ("ger", "eng", "spa")
LINES = ((40, 160, "first"), (240, 120, "second"))  # begin and length in milliseconds


@dataclass(frozen=True)
class Format:
    """What a container holds.

    Attributes
    ----------
    codecs
        Encoders and the pixel formats to try with each.
    sounds
        Encoders of its audio tracks.
    tick
        Seconds in a tick of the video's timestamps.
    rotations
        Degrees that it can carry.
    variable
        Whether frames may last differently long.
    subtitle
        Codec of its subtitles, and what of a text makes a packet.
    titled, tagged, aspect
        Whether it carries a title, languages and dispositions of streams, and the pixel aspect.
    coloured
        Whether it, or its codecs, carry colour tags.
    chapters, attachments
        Whether it holds them.
    """

    codecs: dict[str, tuple[str, ...]]
    sounds: tuple[str, ...]
    tick: Fraction
    rotations: tuple[int, ...] = (0,)
    variable: bool = True
    subtitle: tuple[str, Callable[[str], bytes]] | None = None
    titled: bool = True
    tagged: bool = True
    aspect: bool = True
    coloured: bool = True
    chapters: bool = True
    attachments: bool = False


def plain(text: str) -> bytes:
    return text.encode()


def counted(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


TURNS = (0, 90, 180, 270)
X26X = ("yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p")
FORMATS = {
    ".mp4": Format(
        {"libx264": X26X, "libx265": X26X, "mpeg4": ("yuv420p",), "libsvtav1": ("yuv420p", "yuv420p10le")},
        ("aac", "ac3"),
        Fraction(1, 16000),
        TURNS,
        subtitle=("mov_text", counted),
    ),
    ".mov": Format(
        {"libx264": X26X, "prores_ks": ("yuv422p10le",), "mjpeg": ("yuvj420p",)},
        ("pcm_s16le", "aac"),
        Fraction(1, 16000),
        TURNS,
        subtitle=("mov_text", counted),
    ),
    ".mkv": Format(
        {"libx264": X26X, "libx265": X26X, "ffv1": ("yuv420p", "yuv420p10le", "gbrp10le", "yuva420p")},
        ("aac", "libopus", "flac"),
        Fraction(1, 1000),
        TURNS,
        subtitle=("subrip", plain),
        attachments=True,
    ),
    ".webm": Format(
        {"libvpx-vp9": ("yuv420p", "yuv444p"), "libvpx": ("yuv420p",), "libsvtav1": ("yuv420p10le",)},
        ("libopus", "libopus"),
        Fraction(1, 1000),
        subtitle=("webvtt", plain),
        aspect=False,
    ),
    ".avi": Format(
        {
            "mpeg4": ("yuv420p",),
            "ffv1": ("yuv420p", "yuv422p10le"),
            "libx264": ("yuv420p",),
            "mjpeg": ("yuvj420p",),
        },
        ("pcm_s16le", "ac3"),
        Fraction(1, 25),
        tagged=False,
        chapters=False,
    ),
    ".ts": Format(
        {"libx264": X26X, "libx265": X26X, "mpeg2video": ("yuv420p",)},
        ("aac", "mp2"),
        Fraction(1, 90000),
        titled=False,
        chapters=False,
    ),
    ".mxf": Format(
        {
            "mpeg2video": ("yuv420p", "yuv422p"),
            "libx264": ("yuv420p", "yuv422p10le"),
            "prores_ks": ("yuv422p10le",),
            "ffv1": ("yuv420p", "yuv420p10le"),
        },
        ("pcm_s16le", "pcm_s16le"),
        Fraction(1, 25),
        variable=False,
        titled=False,
        tagged=False,
        chapters=False,
    ),
}
WITHOUT_LOSS: dict[str, dict[str, Any]] = {
    "libx264": {"preset": "ultrafast", "encoder_option": "qp=0"},
    "libx265": {"preset": "ultrafast", "encoder_option": "x265-params=lossless=1"},
    "ffv1": {},
}
QUICKLY: dict[str, dict[str, Any]] = {
    "libsvtav1": {"preset": "12"},
    "libvpx-vp9": {"encoder_option": {"cpu-used": "8", "deadline": "realtime"}},
    "libvpx": {"encoder_option": {"cpu-used": "8", "deadline": "realtime"}},
}


@dataclass(frozen=True)
class Case:
    """One cell of the matrix."""

    suffix: str
    codec: str
    pix_fmt: str
    variable: bool
    rotation: int

    @property
    def format(self) -> Format:
        return FORMATS[self.suffix]

    @property
    def tick(self) -> Fraction:
        return Fraction(1, 25) if self.codec == "mpeg2video" else self.format.tick

    @property
    def times(self) -> list[int]:
        """When the frames are shown, in ticks."""
        if not self.variable:
            return [round(i * Fraction(1, 25) / self.tick) for i in range(FRAMES)]
        steps = [round(Fraction(step, 1000) / self.tick) for step in STEPS]
        return [0, *np.cumsum([max(1, step) for step in steps]).tolist()]

    def __str__(self) -> str:
        rate = "variable" if self.variable else "constant"
        return f"{self.suffix[1:]}-{self.codec}-{self.pix_fmt}-{rate}-{self.rotation}"


SOME = [
    Case(".mp4", "libx264", "yuv420p", True, 90),
    Case(".mp4", "libx265", "yuv420p10le", False, 0),
    Case(".mp4", "mpeg4", "yuv420p", True, 180),
    Case(".mov", "prores_ks", "yuv422p10le", True, 0),
    Case(".mov", "libx264", "yuv420p10le", False, 270),
    Case(".mkv", "ffv1", "yuv420p10le", True, 90),
    Case(".mkv", "libx265", "yuv444p", True, 0),
    Case(".webm", "libvpx-vp9", "yuv420p", True, 0),
    Case(".avi", "ffv1", "yuv420p", False, 0),
    Case(".avi", "libx264", "yuv420p", False, 0),
    Case(".avi", "mpeg4", "yuv420p", True, 0),
    Case(".ts", "libx264", "yuv420p", True, 0),
    Case(".ts", "mpeg2video", "yuv420p", False, 0),
    Case(".mxf", "mpeg2video", "yuv420p", False, 0),
    Case(".mxf", "libx264", "yuv422p10le", False, 0),
]


def all_cases() -> Iterator[Case]:
    for suffix, held in FORMATS.items():
        for codec, pix_fmts in held.codecs.items():
            for pix_fmt, variable, rotation in product(pix_fmts, (False, True), held.rotations):
                if not variable or (held.variable and codec != "mpeg2video"):
                    yield Case(suffix, codec, pix_fmt, variable, rotation)


def cup(count: int) -> Frames:
    """A moving photograph without a face."""
    picture = cv2.resize(skimage.data.coffee(), (400, 280), interpolation=cv2.INTER_AREA)
    return [picture[i : i + 240, 2 * i : 2 * i + 320].copy() for i in range(count)]


def make_clip(case: Case, folder: Path, frames: Frames) -> Path:
    """A clip with all that its container holds: two sounds, subtitles, a font, chapters, tags and dispositions."""
    held = case.format
    turned = [np.ascontiguousarray(np.rot90(frame, (360 - case.rotation) // 90 % 4)) for frame in frames]
    seconds = 0.5

    def prepare(output: Any, stream: Any) -> Callable[[], None]:
        output.metadata["title"] = "A title, Ä"
        context = stream.codec_context
        if case.rotation:
            stream.set_display_rotation(case.rotation)
        if held.aspect and case.codec not in {"ffv1", "prores_ks"}:
            context.sample_aspect_ratio = Fraction(4, 3)
        if held.coloured:
            rgb = case.pix_fmt.startswith("gbr")
            context.color_primaries, context.color_trc, context.colorspace = 1, 1, 0 if rgb else 1
            context.color_range = 2 if rgb or case.pix_fmt.startswith("yuvj") else 1
        stream.metadata.update(language="fra", title="main picture")
        writers = [
            add_audio(
                output,
                seconds,
                codec,
                440.0 * (number + 1),
                rate=48000,
                language=language,
                title=f"T{number}",
            )
            for number, (codec, language) in enumerate(zip(held.sounds, LANGUAGES, strict=False))
        ]
        sounds = [s for s in output.streams if s.type == "audio"]
        sounds[1].disposition = av.stream.Disposition.comment
        if held.subtitle is not None:
            writers.append(add_subtitles(output, *held.subtitle))
        if held.attachments:
            output.add_attachment("font.ttf", "application/x-truetype-font", b"no real font" * 50)
        if held.chapters:
            halves = [(0, 200, "One"), (200, 480, "Two")]
            output.set_chapters(
                [
                    {
                        "id": i,
                        "start": a,
                        "end": b,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": name},
                    }
                    for i, (a, b, name) in enumerate(halves, 1)
                ]
            )

        def write() -> None:
            for writer in writers:
                writer()

        return write

    options = {"bf": "0"} if case.suffix in {".avi", ".mxf"} and case.codec == "libx264" else {}
    if case.codec in {"libvpx", "libvpx-vp9"}:
        options = {"deadline": "realtime", "cpu-used": "8"}
    if case.codec == "libsvtav1":
        options = {"preset": "12"}
    return make_video(
        folder / f"clip{case.suffix}",
        turned,
        codec=case.codec,
        pix_fmt=case.pix_fmt,
        times=case.times,
        time_base=case.tick,
        options=options,
        prepare=prepare,
    )


def add_subtitles(output: Any, codec: str, packed: Callable[[str], bytes]) -> Callable[[], None]:
    stream = output.add_stream(codec)
    stream.codec_context.subtitle_header = SUBTITLE_HEADER
    stream.metadata["language"] = "dut"
    stream.disposition = av.stream.Disposition.forced

    def write() -> None:
        for begin, length, text in LINES:
            packet = av.Packet(packed(text))
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = begin
            packet.duration = length
            output.mux(packet)

    return write


@pytest.fixture(scope="module")
def deblurrer(small_models: Path) -> Iterator[Deblurrer]:
    """The product with a small network; it is loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvdeblur.released.models_folder", lambda: small_models)
        yield Deblurrer(device="cpu", detector="centerface", threads=1)


@pytest.fixture(scope="module")
def face_box(deblurrer: Deblurrer) -> tuple[float, float, float, float]:
    """Twice as large as the boxes of the face in all frames: left, top, right, bottom."""
    boxes = np.array([deblurrer._detector.detect(frame)[0].box for frame in moving_photograph(FRAMES)])
    (left, top), (right, bottom) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    across, down = (right - left) / 2, (bottom - top) / 2
    return left - across, top - down, right + across, bottom + down


def frames_of(path: Path) -> list[tuple[Fraction, list[np.ndarray]]]:
    """Time on the file's own clock, and the planes as they are coded, of every frame."""
    with VideoReader(path) as reader:
        layout = pixel_format(reader.info.pix_fmt)
        assert layout is not None
        return [
            (
                (d.frame.pts or 0) * reader.info.time_base,
                [np.array(v) for v in channel_views(d.frame, layout)],
            )
            for d in reader
        ]


def streams_of(path: Path) -> list[tuple[Any, ...]]:
    """Kind, codec, language, title and dispositions of every stream."""
    with av.open(str(path)) as opened:
        return [
            (
                stream.type,
                getattr(stream, "name", None),
                stream.metadata.get("language"),
                stream.metadata.get("title", stream.metadata.get("name")),
                int(stream.disposition),
            )
            for stream in opened.streams
        ]


def file_of(path: Path) -> tuple[Any, ...]:
    """What holds for the whole file: chapters, title and fonts."""
    with av.open(str(path)) as opened:
        fonts = [stream.data for stream in opened.streams if stream.type == "attachment"]
        tags = {key.lower(): value for key, value in opened.metadata.items()}
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in opened.chapters()
        ]
        return chapters, tags.get("title"), fonts


def check_source(case: Case, source: Path) -> None:
    """The test's own clip holds what it is to hold; else nothing would be shown."""
    held = case.format
    info = probe(source)
    assert info.rotation == (360 - case.rotation) % 360
    assert info.pix_fmt == case.pix_fmt
    times = [time for time, _ in frames_of(source)]
    assert [time - times[0] for time in times] == [tick * case.tick for tick in case.times]
    kinds = [kind for kind, *_ in streams_of(source)]
    assert kinds.count("audio") == len(held.sounds)
    assert kinds.count("subtitle") == (held.subtitle is not None)
    chapters, title, fonts = file_of(source)
    assert (len(chapters), bool(title), len(fonts)) == (2 * held.chapters, held.titled, int(held.attachments))
    if held.tagged and case.suffix != ".ts":
        assert [stream[3] for stream in streams_of(source) if stream[0] == "video"] == ["main picture"]
    if held.tagged:
        languages = [stream[2] for stream in streams_of(source) if stream[0] == "audio"]
        assert languages == list(LANGUAGES[: len(held.sounds)])


def check_kept(case: Case, source: Path, target: Path) -> None:
    """Everything but the pictures is the same in both files."""
    assert streams_of(target) == streams_of(source)
    assert file_of(target) == file_of(source)
    before, after = probe(source), probe(target)
    for name in (
        *(
            "codec",
            "pix_fmt",
            "bit_depth",
            "width",
            "height",
            "rotation",
            "display_matrix",
            "sample_aspect_ratio",
        ),
        *(
            "color_primaries",
            "color_trc",
            "color_space",
            "color_range",
            "time_base",
            "interlaced",
        ),
    ):
        assert getattr(after, name) == getattr(before, name), name
    if not case.variable:  # else it depends on how long the last frame is said to last
        assert after.average_rate == before.average_rate
    one, other = (
        [packet for packet in everything(path) if packet[0] != info.stream_index]
        for path, info in ((source, before), (target, after))
    )
    for index in {packet[0] for packet in one + other}:
        if case.suffix == ".mxf":  # it cuts sound into pieces of a frame's length
            both = [b"".join(packet[-1] for packet in some if packet[0] == index) for some in (one, other)]
        else:
            both = [[packet for packet in some if packet[0] == index] for some in (one, other)]
        assert both[1] == both[0]
    times = [[time for time, _ in frames_of(path)] for path in (source, target)]
    assert len(times[1]) == FRAMES
    assert times[1] == times[0]


def check_pictures(case: Case, source: Path, target: Path, box: tuple[float, float, float, float]) -> None:
    """Without loss, the face alone is another; else the rest is nearly the same."""
    quarter = (360 - case.rotation) // 90 % 4
    for (_, one), (_, other) in zip(frames_of(source), frames_of(target), strict=True):
        height, width = one[0].shape
        for before, after in zip(one, other, strict=True):
            if case.codec not in WITHOUT_LOSS:
                top = (1 << probe(source).bit_depth) - 1
                error = (before.astype(float) - after)[: height // 8]
                assert 20 * np.log10(top / max(1e-9, np.sqrt(np.mean(error**2)))) > 32
                continue
            changed = np.argwhere(np.rot90(before != after, -quarter))
            scale = height / before.shape[0], width / before.shape[1]
            scale = scale if quarter % 2 == 0 else scale[::-1]
            assert len(changed) > 50
            low, high = changed.min(0) * scale, (changed.max(0) + 1) * scale
            assert box[0] <= low[1]
            assert box[1] <= low[0]
            assert high[1] <= box[2]
            assert high[0] <= box[3]


def deblur(deblurrer: Deblurrer, source: Path, target: Path, **values: Any) -> Summary:
    settings = deblurrer.settings.changed(values)
    summary = deblurrer.with_settings(settings).video(source, target)
    assert summary.damage == []
    return summary


def check_case(
    case: Case, deblurrer: Deblurrer, folder: Path, box: tuple[float, float, float, float]
) -> None:
    source, target = make_clip(case, folder, moving_photograph(FRAMES)), folder / f"out{case.suffix}"
    check_source(case, source)
    options = WITHOUT_LOSS.get(case.codec, QUICKLY.get(case.codec, {}))
    summary = deblur(deblurrer, source, target, **options)
    assert (summary.frames, summary.restored, summary.people) == (FRAMES, FRAMES, 1)
    assert summary.notes == []
    assert summary.encoder == f"{case.codec} ({case.pix_fmt})"
    assert summary.decoder == "software"
    check_kept(case, source, target)
    check_pictures(case, source, target, box)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_everything_is_kept(
    case: Case, deblurrer: Deblurrer, tmp_path: Path, face_box: tuple[float, float, float, float]
) -> None:
    check_case(case, deblurrer, tmp_path, face_box)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in all_cases() if case not in SOME], ids=str)
def test_everything_is_kept_in_every_cell(
    case: Case, deblurrer: Deblurrer, tmp_path: Path, face_box: tuple[float, float, float, float]
) -> None:
    check_case(case, deblurrer, tmp_path, face_box)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_video_without_a_face_is_copied_packet_by_packet(
    suffix: str, deblurrer: Deblurrer, tmp_path: Path
) -> None:
    codec, pix_fmts = next(iter(FORMATS[suffix].codecs.items()))
    case = Case(suffix, codec, pix_fmts[0], False, FORMATS[suffix].rotations[-1])
    source, target = make_clip(case, tmp_path, cup(FRAMES)), tmp_path / f"out{suffix}"
    check_source(case, source)
    summary = deblur(deblurrer, source, target)
    assert summary.copied
    assert (summary.people, summary.notes, summary.encoder) == (0, [], "")
    check_kept(case, source, target)
    both = [sorted(everything(path), key=lambda packet: packet[0]) for path in (source, target)]
    assert both[1] == both[0]


LOST = {
    ".mp4": ("subtitle stream", "attachment stream"),
    ".mov": ("audio stream 2", "audio stream 3", "subtitle stream", "attachment stream"),
    ".webm": ("audio stream 1", "subtitle stream", "attachment stream", "instead of h264", "pixel aspect"),
    ".avi": ("subtitle stream", "attachment stream", "2 chapters", "the rotation", "languages"),
    ".ts": ("audio stream 3", "subtitle stream", "attachment stream", "2 chapters", "the rotation"),
    ".mxf": ("audio stream 1", "subtitle stream", "attachment stream", "2 chapters", "the rotation"),
    ".y4m": ("audio stream 1", "subtitle stream", "attachment stream", "2 chapters", "the rotation"),
}


@pytest.mark.parametrize("suffix", LOST)
def test_what_another_container_cannot_hold_is_said(
    suffix: str, deblurrer: Deblurrer, tmp_path: Path
) -> None:
    case = Case(".mkv", "libx264", "yuv420p", False, 90)
    source, target = make_clip(case, tmp_path, moving_photograph(FRAMES)), tmp_path / f"out{suffix}"
    summary = deblur(deblurrer, source, target)
    said = "\n".join(summary.notes)
    assert [words for words in LOST[suffix] if words not in said] == []
    assert "timestamps" not in said
    assert summary.frames == FRAMES
    times = [time for time, _ in frames_of(target)]
    assert [time - times[0] for time in times] == [Fraction(i, 25) for i in range(FRAMES)]
    kinds = [kind for kind, *_ in streams_of(target)]
    for number, kind in enumerate(("video", "audio", "audio", "audio", "subtitle", "attachment")):
        named = f"{kind} stream {number} " in said
        assert named or kind in kinds
    chapters, title, _ = file_of(target)
    assert len(chapters) == 2 or "2 chapters" in said
    assert title == "A title, Ä" or "the file's tag title" in said
    assert probe(target).rotation == probe(source).rotation or "the rotation" in said


def test_times_that_a_container_cannot_hold_are_said(deblurrer: Deblurrer, tmp_path: Path) -> None:
    case = Case(".mkv", "libx264", "yuv420p", True, 0)
    source = make_clip(case, tmp_path, moving_photograph(FRAMES))
    times = [time for time, _ in frames_of(source)]
    for name in ("mxf", "avi", "y4m"):
        target = tmp_path / f"out.{name}"
        summary = deblur(deblurrer, source, target)
        written = [time for time, _ in frames_of(target)]
        assert len(written) == FRAMES
        most = max(abs(one - other) for one, other in zip(times, written, strict=True)) * 1000
        said = (
            f"timestamps differ by up to {float(most):.2g} ms from the source's: a {name} file counts frames"
        )
        assert summary.notes[-1] == said
    exact = deblur(deblurrer, source, tmp_path / "out.mp4", preset="ultrafast")
    assert not any("timestamps" in note for note in exact.notes)
    assert [time for time, _ in frames_of(exact.output)] == [time for time, _ in frames_of(source)]
