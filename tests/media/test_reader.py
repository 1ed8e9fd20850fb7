"""Probing and decoding, of whole files and of broken ones."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import add_audio, frame_times, make_video, moving_photograph

from fvdeblur.errors import FvdeblurError, InputError, UsageError
from fvdeblur.media import VideoReader, parse_timecode, probe


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("0", 0),
        ("1:02", 62),
        ("00:01:02.500", 62.5),
        ("2:00:00", 7200),
        (".5", 0.5),
        ("90", 90),
    ],
)
def test_timecodes(text: str, seconds: float) -> None:
    assert parse_timecode(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "abc", "1:60", "1:2:3:4", "-1", "1:", "60:00:00:00", "nan", "1e3", "1:75.0"]
)
def test_bad_timecodes(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_timecode(text)


def test_probe_describes_a_clip(clip: Path) -> None:
    info = probe(clip)
    assert (info.codec, info.width, info.height, info.pix_fmt, info.bit_depth) == (
        "h264",
        320,
        240,
        "yuv420p",
        8,
    )
    assert (info.display_width, info.display_height, info.rotation) == (320, 240, 0)
    assert info.average_rate == 25
    assert info.time_base == Fraction(1, 12800)
    assert info.frames == 25
    assert info.duration == pytest.approx(1.0)
    assert info.audio_streams == 1
    assert info.sample_aspect_ratio == 1
    assert "mp4" in info.container


@pytest.mark.parametrize(("counterclockwise", "clockwise"), [(0, 0), (90, 270), (180, 180), (270, 90)])
def test_rotation_is_the_turn_that_shows_the_picture_upright(
    tmp_path: Path, counterclockwise: int, clockwise: int
) -> None:
    path = make_video(
        tmp_path / "turned.mp4",
        moving_photograph(3),
        prepare=lambda output, stream: stream.set_display_rotation(counterclockwise),
    )
    info = probe(path)
    assert info.rotation == clockwise
    expected = (240, 320) if clockwise % 180 else (320, 240)
    assert (info.display_width, info.display_height) == expected


def test_reader_delivers_every_frame_with_its_time(clip: Path) -> None:
    with VideoReader(clip) as reader:
        frames = [(f.index, f.time, f.frame.pts) for f in reader]
        assert reader.damage == []
    assert frames == [(i, pytest.approx(i / 25), 512 * i) for i in range(25)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(("start", "end"), [(None, 0.4), (0.2, 0.4), (0.52, None), (0.55, 0.9), (0.0, 5.0)])
def test_trim_keeps_exactly_the_frames_inside(
    tmp_path: Path, suffix: str, start: float | None, end: float | None
) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    base = Fraction(1, 25) if suffix == ".avi" else Fraction(1, 12800)
    path = make_video(tmp_path / f"clip{suffix}", codec=codec, time_base=base)
    with VideoReader(path) as reader:
        expected = [
            (f.time, f.frame.to_ndarray())
            for f in reader
            if (start or 0) - 1e-6 <= f.time < (end or 99) - 1e-6
        ]
    with VideoReader(path, start=start, end=end) as reader:
        got = [(f.index, f.time, f.frame.to_ndarray()) for f in reader]
    assert [i for i, _, _ in got] == list(range(len(expected)))
    assert 4 < len(expected) <= 25
    for (time, pixels), (_, got_time, got_pixels) in zip(expected, got, strict=True):
        assert got_time == pytest.approx(time)
        np.testing.assert_array_equal(got_pixels, pixels)


def test_trims_that_hold_nothing(clip: Path) -> None:
    with (
        VideoReader(clip, start=7.0) as reader,
        pytest.raises(InputError, match="no frame lies between 7 s and the end"),
    ):
        list(reader)
    with pytest.raises(UsageError, match="empty"):
        VideoReader(clip, start=2.0, end=1.0)
    with pytest.raises(UsageError, match="before the beginning"):
        VideoReader(clip, start=-1.0)


def test_a_reader_can_be_read_twice(clip: Path) -> None:
    with VideoReader(clip, threads=1) as reader:
        assert len(list(reader)) == len(list(reader)) == 25


def test_deep_and_unusual_formats_decode(tmp_path: Path) -> None:
    path = make_video(tmp_path / "deep.mkv", moving_photograph(3), codec="ffv1", pix_fmt="yuv420p10le")
    assert probe(path).bit_depth == 10
    path = make_video(tmp_path / "rare.mkv", moving_photograph(3), codec="ffv1", pix_fmt="yuv411p")
    with VideoReader(path) as reader:
        formats = {f.frame.format.name for f in reader}
    assert formats == {"yuv422p"}
    assert "yuv411p is worked on as yuv422p" in reader.notes[0]


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4",
        'it\'s "quoted".mp4',
        "new\nline.mp4",
        "müller 脸 😀.mp4",
        "http:clip.mp4",
        "-v.mp4",
        "frame%03d.mp4",
        "concat:a|b.mp4",
        "pipe:0",
        b"latin-\xe9.mp4".decode("utf-8", "surrogateescape"),
    ],
)
def test_hostile_names(clip: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    os.rename(clip, name)
    assert probe(name).frames == 25
    with VideoReader(name) as reader:
        assert len(list(reader)) == 25


def check_message(error: FvdeblurError, path: Path) -> str:
    text = str(error)
    assert "\n" not in text
    assert path.name.replace("\n", "\\n") in text
    return text


def test_missing_paths_folders_and_a_newline_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "not\nthere.mp4"
    with pytest.raises(UsageError, match="no such file") as caught:
        probe(path)
    check_message(caught.value, path)
    with pytest.raises(UsageError, match="is a folder"):
        probe(tmp_path)


def broken_files(folder: Path) -> dict[str, Path]:
    """Files that are no video, by what is wrong with them."""
    files = {"text": folder / "text.mp4", "empty": folder / "empty.mp4", "noise": folder / "noise.mkv"}
    files["text"].write_text("this is no video\n" * 200)
    files["empty"].write_bytes(b"")
    files["noise"].write_bytes(np.random.default_rng(0).bytes(5000))
    files["plain text"] = folder / "note.txt"
    files["plain text"].write_text("this is no video\n" * 200)
    files["sound"] = folder / "sound.mp4"
    with av.open(str(files["sound"]), "w") as output:
        add_audio(output, 0.3)()
    files["cover art"] = folder / "song.mp4"
    with av.open(str(files["cover art"]), "w") as output:
        write = add_audio(output, 0.3)
        picture = output.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(moving_photograph(1, 64, 64)[0], format="rgb24")
        output.mux(picture.encode(frame.reformat(format="yuvj420p")))
        output.mux(picture.encode(None))
        write()
    files["no frames"] = folder / "none.mp4"
    with av.open(str(files["no frames"]), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        add_audio(output, 0.3)()
    files["picture"] = folder / "picture.png"
    av.VideoFrame.from_ndarray(moving_photograph(1, 64, 64)[0], format="rgb24").save(str(files["picture"]))
    return files


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text", "not a video or is cut off"),
        ("empty", "is empty"),
        ("noise", "not a video or is cut off"),
        ("plain text", "no video stream|not a video"),
        ("sound", "no video stream"),
        ("cover art", "no video stream"),
        ("no frames", "no frames|no video stream"),
        ("picture", "is a picture"),
    ],
)
def test_what_is_no_video(tmp_path: Path, kind: str, text: str) -> None:
    path = broken_files(tmp_path)[kind]
    with pytest.raises(InputError, match=text) as caught:
        probe(path)
    check_message(caught.value, path)
    with pytest.raises(InputError):
        VideoReader(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_cut_off_files_deliver_what_decodes_and_report_the_loss(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    whole = make_video(
        tmp_path / f"whole{suffix}",
        moving_photograph(50),
        audio=2.0 if suffix != ".ts" else None,
        container_options=options,
    )
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) * 6 // 10])
    expected = frame_times(whole)
    with VideoReader(cut) as reader:
        times = [f.frame.pts * f.frame.time_base for f in reader]
    assert 10 < len(times) < 50
    assert times == expected[: len(times)]
    if suffix != ".ts":  # a transport stream has no header that could tell how long it should be
        assert any("cut off" in line or "stopped" in line for line in reader.damage)
    assert all("\n" not in line for line in reader.damage)


def test_an_mp4_cut_off_before_its_index_is_refused(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:9000])
    with pytest.raises(InputError, match="cut off"):
        probe(clip)


def test_damage_in_the_middle_is_passed_over_and_reported(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.ts", moving_photograph(50))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        times = [f.time for f in reader]
    assert 25 < len(times) <= 50
    assert times == sorted(set(times))
    assert reader.damage


def test_a_video_of_which_nothing_decodes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", moving_photograph(5))
    with av.open(str(path)) as source:
        positions = [(p.pos, p.size) for p in source.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in positions:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(InputError, match="decoded"):
        probe(path)


def test_a_change_of_picture_size_is_refused(tmp_path: Path) -> None:
    small = make_video(tmp_path / "a.ts", moving_photograph(20))
    large = make_video(tmp_path / "b.ts", moving_photograph(20, 640, 360))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(joined) as reader, pytest.raises(InputError, match="changes from 320x240 to 640x360"):
        list(reader)
