"""Pixel formats and options of encoders from the command line to the file, over a stop, and raw video in a pipe."""

import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from media_samples import everything, make_video, moving_photograph

from fvdeblur import Deblurrer
from fvdeblur.cli import commands
from fvdeblur.cli.standard_streams import suffix_of_standard_output
from fvdeblur.errors import UsageError
from fvdeblur.media import VideoReader, VideoWriter, probe
from fvdeblur.media.pixel_formats import pixel_format
from fvdeblur.media.planes import channel_views
from fvdeblur.restoration import Progress, Settings, resuming


def test_raw_video_goes_through_a_pipe(short_clip: Path, small_model: Path) -> None:
    arguments = [
        "run",
        str(short_clip),
        "-o",
        "-.y4m",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--progress",
        "none",
        "-v",
    ]
    result = CliRunner().invoke(commands, arguments, standalone_mode=False)
    assert result.exception is None
    assert result.stdout_bytes.startswith(b"YUV4MPEG2 W320 H240 F25:1 ")
    assert "audio stream 1 (aac) is left out: a y4m file holds pictures alone" in result.stderr
    assert "decoded by software, encoded by rawvideo (yuv420p)" in result.stderr
    with av.open(io.BytesIO(result.stdout_bytes)) as piped, VideoReader(short_clip) as reader:
        pictures = [frame.to_ndarray() for frame in piped.decode(video=0)]
        sources = [decoded.frame.to_ndarray() for decoded in reader]
    assert len(pictures) == len(sources) == 6
    for before, after in zip(sources, pictures, strict=True):
        np.testing.assert_array_equal(after[:240, :100], before[:240, :100])  # beside the face
        assert (after[:240] != before[:240]).any()


@pytest.mark.parametrize(
    ("output", "suffix"),
    [("-", ".mkv"), ("-.y4m", ".y4m"), ("-.ts", ".ts"), ("-.xyz", None), ("./-.y4m", None), (None, None)],
)
def test_what_names_standard_output(output: str | None, suffix: str | None) -> None:
    assert suffix_of_standard_output(output) == suffix


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray"])
def test_raw_video_keeps_every_sample(tmp_path: Path, pix_fmt: str) -> None:
    source = make_video(tmp_path / "clip.mkv", moving_photograph(4), codec="ffv1", pix_fmt=pix_fmt)
    with VideoReader(source) as reader, VideoWriter(tmp_path / "out.y4m", reader) as writer:
        for decoded in reader:
            writer.write(decoded.frame)
        writer.finish()
    layout = pixel_format(probe(source).pix_fmt)
    assert layout is not None
    assert probe(tmp_path / "out.y4m").pix_fmt == pix_fmt
    with VideoReader(source) as one, VideoReader(tmp_path / "out.y4m") as other:
        for before, after in zip(one, other, strict=True):
            views = [channel_views(d.frame, layout) for d in (before, after)]
            for plane, copied in zip(*views, strict=True):
                np.testing.assert_array_equal(copied, plane)


def test_a_rate_that_mxf_does_not_have_is_refused(tmp_path: Path) -> None:
    times = [i * 1000 for i in range(8)]
    source = make_video(tmp_path / "slow.mp4", moving_photograph(8), times=times)
    with (
        VideoReader(source) as reader,
        pytest.raises(
            UsageError, match=r"a mxf file cannot hold 1\d\.\d+ frames a second; choose another suffix"
        ),
    ):
        VideoWriter(tmp_path / "out.mxf", reader)


def test_options_hold_over_a_stop_and_a_changed_one_begins_afresh(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "LONGEST", 6)
    source = make_video(tmp_path / "clip.mp4", moving_photograph(15), audio=0.6)
    asked: dict[str, Any] = {"pix_fmt": "yuv422p10", "encoder_option": {"tune": "film", "g": "3"}}
    deblurrer = Deblurrer(Settings(device="cpu", threads=1, preset="ultrafast", **asked))
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    deblurrer.video(source, whole)
    assert probe(whole).pix_fmt == "yuv422p10le"
    with av.open(str(whole)) as opened:
        keys = [packet.is_keyframe for packet in opened.demux(video=0) if packet.size]
    assert [number for number, key in enumerate(keys) if key] == [0, 3, 6, 9, 12]

    def stop(progress: Progress) -> None:
        if progress.frames == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deblurrer.video(source, target, progress=stop)
    again = deblurrer.video(source, target)
    assert (again.segments, again.reused, again.notes) == (3, 2, [])
    assert everything(target) == everything(whole)

    with pytest.raises(KeyboardInterrupt):
        deblurrer.video(source, tmp_path / "other.mp4", progress=stop)
    changed = deblurrer.with_settings(deblurrer.settings.changed({"encoder_option": ("tune=film", "g=5")}))
    afresh = changed.video(source, tmp_path / "other.mp4")
    assert afresh.reused == 0
    assert afresh.notes[0].startswith("begun afresh: since the unfinished run these changed: ")
    assert "settings.encoder_option" in afresh.notes[0]


def test_settings_of_encoder_options() -> None:
    assert Settings(encoder_option="tune=film").encoder_option == ("tune=film",)
    assert Settings(encoder_option={"g": 5, "x264-params": "a=1:b=2"}).encoding["encoder_options"] == {
        "g": "5",
        "x264-params": "a=1:b=2",
    }
    assert Settings(pix_fmt="gray").encoding_asked_for
    assert Settings(encoder_option="g=5").encoding_asked_for
    assert not Settings(hwaccel="auto").encoding_asked_for
    for wrong in ("tune", "=film", {"": "film"}):
        with pytest.raises(UsageError, match="is not of the form KEY=VALUE"):
            Settings(encoder_option=wrong)


def test_defaults_of_these_options_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "fvdeblur.toml"
    for written in ('["tune=film", "g=5"]', '"tune=film"'):
        config.write_text(f'[run]\npix-fmt = "gray"\nhwaccel = "auto"\nencoder-option = {written}\n')
        arguments = ["--config", str(config), "config", "show", "run", "--json"]
        result = CliRunner().invoke(commands, arguments, standalone_mode=False)
        rows = {row["option"]: row["value"] for row in json.loads(result.stdout)}
        assert (rows["pix-fmt"], rows["hwaccel"]) == ("gray", "auto")
        assert rows["encoder-option"] == (["tune=film", "g=5"] if written[0] == "[" else ["tune=film"])
