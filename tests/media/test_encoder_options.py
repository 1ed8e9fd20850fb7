"""Pixel formats, options of encoders, and hardware that is or is not there."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_samples import make_video, moving_photograph

from fvdeblur.errors import UsageError
from fvdeblur.media import VideoReader, acceleration, probe
from fvdeblur.media.encoder_table import ENCODERS
from fvdeblur.media.encoders import choose_encoder
from fvdeblur.media.segments import SegmentWriter


def rewrite(source: Path, target: Path, *, hwaccel: str = "none", **options: Any) -> SegmentWriter:
    """Send a video through the reader and two segments of the writer."""
    if not set(options) & {"codec", "preset"}:
        options["preset"] = "ultrafast"
    with (
        VideoReader(source, hwaccel=hwaccel) as reader,
        SegmentWriter(target, reader, **options) as writer,
    ):
        writer.take_up({}, resume=False)
        for decoded in reader:
            if decoded.index == 13:
                writer.end_segment({})
            writer.write(decoded.frame)
        writer.end_segment({})
        writer.finish()
    assert reader.decoder == "software"
    assert probe(target).frames in {25, None}
    return writer


@pytest.mark.parametrize(
    ("codec", "asked", "written"),
    [
        (None, "yuv420p10", "yuv420p10le"),
        ("hevc", "yuv444p", "yuv444p"),
        ("ffv1", "gbrp10", "gbrp10le"),
        ("mpeg2video", "yuv422p", "yuv422p"),
    ],
)
def test_the_pixel_format_that_is_asked_for_is_written(
    clip: Path, tmp_path: Path, codec: str | None, asked: str, written: str
) -> None:
    target = tmp_path / "out.mkv"
    options = {"preset": "ultrafast"} if codec in {None, "hevc"} else {}
    writer = rewrite(clip, target, codec=codec, pix_fmt=asked, **options)
    assert probe(target).pix_fmt == written
    assert writer.encoder.endswith(f" ({written})")
    assert writer.notes == []
    with VideoReader(clip) as one, VideoReader(target) as other:
        for before, after in zip(one, other, strict=True):
            pictures = [d.frame.to_ndarray(format="rgb24").astype(float) for d in (before, after)]
            assert np.sqrt(np.mean((pictures[0] - pictures[1]) ** 2)) < 8


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"pix_fmt": "yuva420p"},
            r"--pix-fmt yuva420p: libx264 does not take it; it takes yuv420p, .*gray10le",
        ),
        ({"pix_fmt": "yuv411p", "codec": "vp9"}, "libvpx-vp9 does not take it; it takes yuv420p, "),
        ({"pix_fmt": "mauve"}, "--pix-fmt mauve: there is no such pixel format"),
        ({"encoder_options": {"mood": "1"}}, "--encoder-option mood: libx264 has no such option"),
        ({"encoder_options": {"tune": "tuba"}}, "--encoder-option tune=tuba: libx264 takes animation, "),
        ({"encoder_options": {"g": "long"}}, "--encoder-option g=long: refused by libx264 .*value long"),
        ({"encoder_options": {"x264-params": "mood=1"}}, "libx264 says: Error parsing option 'mood = 1'"),
        (
            {"encoder_options": {"x265-params": "mood=1"}, "codec": "hevc"},
            "libx265 says: Unknown option: mood",
        ),
        (
            {"encoder_options": {"svtav1-params": "mood=1"}, "codec": "av1"},
            "libsvtav1 says: Error parsing option mood",
        ),
        ({"encoder_options": {"crf": "3"}}, "--encoder-option crf=3: give --crf 3 instead"),
        ({"encoder_options": {"preset": "slow"}}, "give --preset slow instead"),
        ({"encoder_options": {"flags": "cgop"}}, r"write flags=\+cgop"),
        ({"encoder_options": {"flags": "-global_header"}}, "must stay"),
        ({"encoder_options": {"qp": "3"}, "crf": 20}, "has no effect beside --crf"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_before_any_work(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: dict[str, Any], text: str
) -> None:
    with VideoReader(clip) as reader, pytest.raises(UsageError, match=text) as caught:
        SegmentWriter(tmp_path / "out.mp4", reader, **options)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]
    assert capfd.readouterr().err == ""


def test_options_reach_the_encoder(clip: Path, tmp_path: Path) -> None:
    plain, short, small = (tmp_path / f"{name}.mp4" for name in ("plain", "short", "small"))
    rewrite(clip, plain)
    writer = rewrite(clip, short, encoder_options={"g": "5", "x264-params": "scenecut=0"})
    rewrite(clip, small, encoder_options={"b": "60k"})
    with av.open(str(short)) as opened:
        keys = [packet.is_keyframe for packet in opened.demux(video=0) if packet.size]
    assert [number for number, key in enumerate(keys) if key] == [0, 5, 10, 13, 18, 23]
    assert writer.encoding["options"]["g"] == "5"
    assert "crf" in writer.encoding["options"]
    assert small.stat().st_size < plain.stat().st_size / 2


def test_a_quantiser_of_0_is_without_loss_at_every_depth(tmp_path: Path) -> None:
    source = make_video(tmp_path / "deep.mkv", moving_photograph(25), codec="ffv1", pix_fmt="yuv420p10le")
    target = tmp_path / "out.mp4"
    rewrite(source, target, codec="h264", preset="ultrafast", encoder_options={"qp": "0"})
    with VideoReader(source) as one, VideoReader(target) as other:
        for before, after in zip(one, other, strict=True):
            np.testing.assert_array_equal(before.frame.to_ndarray(), after.frame.to_ndarray())


def test_warnings_of_other_parts_are_not_taken_for_complaints(clip: Path, tmp_path: Path) -> None:
    level = av.logging.get_level()
    rewrite(clip, tmp_path / "out.mp4", encoder_options={"level": "1.0"})  # x264 warns of the picture's size
    assert av.logging.get_level() == level


def test_every_hardware_encoder_has_the_options_that_it_is_given() -> None:
    checked = 0
    for encoder in ENCODERS:
        if not encoder.hardware or encoder.name not in av.codecs_available:
            continue
        options = av.CodecContext.create(encoder.name, "w").supported_options
        known = {option.name for option in (*options.generic, *options.private)}
        wanted = {*encoder.options, *([encoder.quality] if encoder.crf is not None else [])}
        assert wanted <= known, encoder.name
        for option in options.private:
            if option.name == "preset" and option.choices:
                assert set(encoder.presets) <= {choice.name for choice in option.choices}, encoder.name
            if option.name == encoder.quality:
                assert encoder.crf_limit <= option.max
        assert encoder.pixel_formats
        checked += 1
    assert checked or not {"h264_nvenc", "h264_qsv", "h264_amf"} & av.codecs_available


def test_hardware_encoders_are_taken_by_name_only(clip: Path) -> None:
    info = probe(clip)
    assert choose_encoder(info, "mp4").encoder.name == "libx264"
    assert choose_encoder(info, "mp4", codec="h264").encoder.name == "libx264"
    if "h264_nvenc" in av.codecs_available:
        choice = choose_encoder(info, "mp4", codec="h264_nvenc", crf=23, preset="p4")
        assert (choice.encoder.name, choice.pix_fmt) == ("h264_nvenc", "yuv420p")
        assert choice.options == {"rc": "vbr", "b": "0", "cq": "23", "preset": "p4"}


def usable(name: str) -> bool:
    """Whether an encoder opens, found without this package."""
    try:
        context: Any = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = 320, 240, context.codec.video_formats[0].name
        context.time_base = Fraction(1, 25)
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", ["h264_nvenc", "h264_qsv", "h264_amf", "h264_videotoolbox"])
def test_an_encoder_whose_hardware_is_missing_is_refused_in_one_line(
    clip: Path, tmp_path: Path, name: str
) -> None:
    info = probe(clip)
    if usable(name):
        pytest.skip(f"this machine has {name}")
    with VideoReader(clip) as reader, pytest.raises(UsageError) as caught:
        SegmentWriter(tmp_path / "out.mp4", reader, codec=name)
    assert "\n" not in str(caught.value)
    if name in av.codecs_available:
        assert f"--codec {name}: cannot be used on this machine (" in str(caught.value)
        assert choose_encoder(info, "mp4", codec=name).encoder.hardware
    else:
        assert f"unknown codec {name!r}; available: h264, libx264" in str(caught.value)
    assert not (tmp_path / "out.mp4.partial").exists()


def test_hardware_that_is_missing_is_refused_with_what_is_there(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = {"cuda": "Cannot load libcuda.so.1", "vaapi": ""}
    monkeypatch.setattr(acceleration, "hwdevices_available", lambda: list(reasons))
    monkeypatch.setattr(acceleration, "_why_not", reasons.__getitem__)
    with pytest.raises(UsageError, match=r"--hwaccel cuda: .*Cannot load libcuda.so.1\); give one of vaapi$"):
        VideoReader(clip, hwaccel="cuda")
    with pytest.raises(UsageError, match=r"--hwaccel abacus: .*none of this name here"):
        VideoReader(clip, hwaccel="abacus")
    assert acceleration.find_accelerator("auto") == "vaapi"
    reasons["vaapi"] = "no render node"
    assert acceleration.find_accelerator("auto") is None
    with pytest.raises(UsageError, match=r"there is none here, leave it out$"):
        VideoReader(clip, hwaccel="vaapi")


def test_automatic_decoding_falls_back_to_software(clip: Path, tmp_path: Path) -> None:
    if acceleration.usable_accelerators():
        pytest.skip("this machine decodes on hardware")
    with pytest.raises(UsageError, match="cannot be had on this machine"):
        VideoReader(clip, hwaccel="cuda")
    writer = rewrite(clip, tmp_path / "out.mp4", hwaccel="auto")
    assert writer.notes == []


def test_frames_in_a_layout_of_the_hardware_are_brought_to_the_files_own(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA and VA-API give them: NV12 for yuv420p."""
    reader = VideoReader(clip)
    plain = [d.frame.to_ndarray() for d in reader]
    decode = reader._decode

    def on_hardware(*opened: Any) -> Any:
        reader._on_hardware, reader._accelerator = True, "cuda"
        for frame in decode(*opened):
            other = frame.reformat(format="nv12")
            other.pts, other.time_base = frame.pts, frame.time_base
            yield other

    monkeypatch.setattr(reader, "_decode", on_hardware)
    with reader:
        for before, after in zip(plain, reader, strict=True):
            assert after.frame.format.name == "yuv420p"
            np.testing.assert_array_equal(after.frame.to_ndarray(), before)
    assert reader.decoder == "cuda"
