"""``fvdeblur run`` where all is well: what it writes and what it says."""

import io
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media_samples import frame_times, make_video, moving_photograph, packets

from fvdeblur.cli.progress import ProgressDisplay
from fvdeblur.cli.reporting import summary_lines
from fvdeblur.media import VideoReader, probe
from fvdeblur.restoration import Progress, Summary

Run = Callable[..., Any]


def test_a_clip_is_deblurred_beside_the_input(fvdeblur: Run, clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(clip.read_bytes())
    result = fvdeblur("run", source, "-v")
    assert (result.code, result.err) == (0, "")
    target = tmp_path / "clip.deblurred.mp4"
    lines = result.out.splitlines()
    assert lines[0] == str(target)
    assert lines[1] == "  25 frames, 1 face track, 25 faces deblurred"
    assert "frames/s) on CPU, " in lines[2]
    assert "model fvd, faces found by CenterFace" in lines[3]
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "clip.deblurred.mp4"}
    assert source.read_bytes() == clip.read_bytes()
    assert frame_times(target) == frame_times(source)
    assert packets(target)[1] == packets(source)[1]
    assert probe(target).codec == "h264"


def test_faces_change_and_the_rest_does_not(fvdeblur: Run, clip: Path, tmp_path: Path) -> None:
    """CRF 0 is lossless: what differs was changed by the program."""
    target = tmp_path / "out.mp4"
    assert fvdeblur("run", clip, "-o", target, "--crf", "0").code == 0
    with VideoReader(clip) as before, VideoReader(target) as after:
        for one, other in zip(before, after, strict=True):
            assert other.frame.format.name == "yuv420p"
            changed = one.frame.to_ndarray() != other.frame.to_ndarray()
            assert 0.02 < changed[:240].mean() < 0.8
            luma = np.argwhere(changed[:240])
            # The face is in the upper part of the photograph; the lowest rows are far from it.
            assert luma[:, 0].max() < 238
            assert changed[30:150, 160:260].mean() > 0.2


def test_strength_scales_the_change(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    changes = []
    for strength in ("1", "0.5"):
        target = tmp_path / f"{strength}.mp4"
        assert fvdeblur("run", short_clip, "-o", target, "--crf", "0", "--strength", strength).code == 0
        with VideoReader(short_clip) as before, VideoReader(target) as after:
            pairs = zip(before, after, strict=True)
            changes.append(
                np.mean([np.abs(a.frame.to_ndarray().astype(int) - b.frame.to_ndarray()) for a, b in pairs])
            )
    assert 0.4 < changes[1] / changes[0] < 0.6


def test_strength_0_changes_nothing(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    result = fvdeblur("run", short_clip, "-o", tmp_path / "out.mp4", "--strength", "0")
    assert result.code == 0
    assert "left alone: 6 strength 0" in result.out
    assert packets(tmp_path / "out.mp4") == packets(short_clip)


def test_a_clip_without_faces_is_copied(fvdeblur: Run, faceless_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    result = fvdeblur("run", faceless_clip, "-o", target)
    assert (result.code, result.err) == (0, "")
    assert "no faces found in 10 frames" in result.out
    assert "copied" in result.out
    assert packets(target) == packets(faceless_clip)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("options", [["--crf", "30"], ["--codec", "hevc"], ["--end", "0.2"]])
def test_a_clip_without_faces_is_encoded_where_that_was_asked_for(
    fvdeblur: Run, faceless_clip: Path, tmp_path: Path, options: list[str]
) -> None:
    target = tmp_path / "out.mp4"
    result = fvdeblur("run", faceless_clip, "-o", target, *options)
    assert result.code == 0
    assert "no faces found" in result.out
    assert "copied" not in result.out
    assert packets(target)[0] != packets(faceless_clip)[0]
    assert probe(target).codec == ("hevc" if "hevc" in options else "h264")
    assert len(frame_times(target)) == (5 if "--end" in options else 10)


def test_a_clip_without_faces_in_another_container(
    fvdeblur: Run, faceless_clip: Path, tmp_path: Path
) -> None:
    """The streams are copied where the container holds them, and encoded where it does not."""
    assert "copied" in fvdeblur("run", faceless_clip, "-o", tmp_path / "out.mkv").out
    for index in (0, 1):
        copied, original = (packets(path)[index] for path in (tmp_path / "out.mkv", faceless_clip))
        assert sorted(data for _, data in copied) == sorted(data for _, data in original)
    result = fvdeblur("run", faceless_clip, "-o", tmp_path / "out.webm")
    assert result.code == 0
    assert "copied" not in result.out
    assert probe(tmp_path / "out.webm").codec == "vp9"
    assert len(frame_times(tmp_path / "out.webm")) == 10


@pytest.mark.parametrize(
    "name",
    [
        "two  spaces.mp4",
        'it\'s "quoted".mp4',
        "new\nline.mp4",
        "Gesicht лицо é 顔 🙂.mp4",
        "-dash.mp4",
        "100%d.mp4",
        "[brackets].mp4",
        "http:clip.mp4",
        b"broken \xff byte.mp4".decode("utf-8", "surrogateescape"),
    ],
)
def test_names_of_files(
    fvdeblur: Run, short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(short_clip.read_bytes())
    result = fvdeblur("run", "--preset", "ultrafast", "--", name)
    assert result.code == 0, result.err
    target = Path(f"{name[:-4]}.deblurred.mp4")
    assert {path.name for path in tmp_path.iterdir()} == {name, target.name}
    assert len(frame_times(target.absolute())) == 6
    assert len(result.out.splitlines()) == 3
    if name.isprintable():
        assert result.out.startswith(f"{target}\n")
    # The second time the output exists, which is one line that names it.
    fvdeblur("run", "--", name).failed(2, "deblurred.mp4 exists")


def test_a_leading_dash_in_the_output(
    fvdeblur: Run, short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fvdeblur("run", short_clip, "-o", "-out.mp4").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["-out.mp4"]


@pytest.mark.parametrize(("width", "height"), [(321, 240), (320, 241), (321, 241)])
def test_odd_sizes(fvdeblur: Run, tmp_path: Path, width: int, height: int) -> None:
    source = make_video(
        tmp_path / "odd.mkv", moving_photograph(5, width, height), codec="ffv1", time_base=Fraction(1, 1000)
    )
    for options in ([], ["--codec", "h264"]):
        target = tmp_path / "out.mkv"
        result = fvdeblur("run", source, "-o", target, "--overwrite", *options)
        assert result.code == 0, result.err
        assert "5 faces deblurred" in result.out
        info = probe(target)
        assert (info.width, info.height) == (width, height)
        assert frame_times(target) == frame_times(source)


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        (["--start", "0.2"], 5, 24),
        (["--end", "0:00.4"], 0, 9),
        (["--start", "0.2", "--end", "00:00:00.48"], 5, 11),
        (["--start", "0.19", "--end", "9"], 5, 24),
    ],
)
def test_a_part_is_kept(
    fvdeblur: Run, clip: Path, tmp_path: Path, options: list[str], first: int, last: int
) -> None:
    target = tmp_path / "part.mp4"
    result = fvdeblur("run", clip, "-o", target, "--crf", "0", *options)
    assert result.code == 0
    assert f"{last - first + 1} frames" in result.out
    assert frame_times(target) == [Fraction(k, 25) for k in range(last - first + 1)]
    before, after = packets(clip)[1], packets(target)[1]
    kept = [data for _, data in after]
    begin = [data for _, data in before].index(kept[0])
    assert kept == [data for _, data in before][begin : begin + len(kept)]
    length = (last - first + 1) / 25
    assert sum(1024 / 44100 for _ in kept) == pytest.approx(length, abs=2.5 * 1024 / 44100)
    # The sound stands where it stood relative to the picture.
    assert float(before[begin][0] - after[0][0]) == pytest.approx(first / 25, abs=1e-3)
    with VideoReader(clip) as whole, VideoReader(target) as part:
        same = [frame for frame in whole if first <= frame.index <= last]
        for one, other in zip(same, part, strict=True):
            corner = one.frame.to_ndarray()[200:240, :40].astype(int) - other.frame.to_ndarray()[200:240, :40]
            assert np.abs(corner).max() == 0


def test_small_faces_are_left_alone(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    result = fvdeblur("run", short_clip, "-o", tmp_path / "out.mp4", "--min-face", "500")
    assert result.code == 0
    assert "left alone: 6 too small" in result.out
    assert packets(tmp_path / "out.mp4") == packets(short_clip)


def test_quiet_prints_nothing(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    result = fvdeblur("run", short_clip, "-o", tmp_path / "out.mp4", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert (tmp_path / "out.mp4").exists()


def test_a_terminal_that_knows_few_letters(in_process: Run, short_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "лицо.mp4").write_bytes(short_clip.read_bytes())
    more = "sys.stdout.reconfigure(encoding='cp1252', errors='strict')"
    result = in_process("run", "лицо.mp4", cwd=tmp_path, more=more)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(r"\u043b")


def test_codec_and_preset_and_crf_reach_the_encoder(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    sizes = []
    for crf in ("10", "40"):
        target = tmp_path / f"{crf}.mkv"
        options = ["--codec", "hevc", "--preset", "ultrafast", "--crf", crf, "--threads", "1"]
        assert fvdeblur("run", short_clip, "-o", target, *options).code == 0
        assert probe(target).codec == "hevc"
        sizes.append(target.stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_plain_progress_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fvdeblur.cli.progress.PLAIN_INTERVAL", 0.0)
    with ProgressDisplay("a\nb.mp4") as display:
        display.update(Progress(frames=10, total=40, faces=7))
        display.update(Progress(frames=50, total=40, faces=9))
        display.update(Progress(frames=51, total=None, faces=9))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == r"a\nb.mp4: 10 of 40 frames, 7 faces"  # how fast it goes is not known yet
    assert lines[1].startswith(r"a\nb.mp4: 50 of 40 frames, ")
    assert " fps, 9 faces, " in lines[1]
    assert lines[1].endswith(" 0 s left")
    assert lines[2].endswith(" 9 faces")


def test_the_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressDisplay("[red]clip.mp4") as display:
        display.update(Progress(frames=10, total=40, faces=7))
        time.sleep(0.3)  # it is drawn ten times a second
    assert "10/40" in screen.getvalue()
    assert "7 faces" in screen.getvalue()
    assert "[red]clip.mp4" in screen.getvalue()


def test_the_summary_says_what_was_left_out() -> None:
    summary = Summary(
        input=Path("a.mp4"),
        output=Path("b\n.mp4"),
        frames=1,
        people=1,
        restored=1,
        left_alone={"too small": 3, "already sharp": 2},
        copied=False,
        model="fvd",
        device="CPU",
        precision="fp32",
        detector="d",
        seconds=0.0,
        damage=["3 packets could not be decoded (first at 1.00 s)"],
        notes=["a note"],
    )
    assert summary_lines(summary, verbose=False) == [
        r"b\n.mp4",
        "  1 frame, 1 face track, 1 face deblurred",
        "  left alone: 2 already sharp, 3 too small",
        "  damaged input: 3 packets could not be decoded (first at 1.00 s)",
        "  note: a note",
        "  0.0 s (0.0 frames/s) on CPU, fp32",
    ]
    assert summary_lines(summary, verbose=True)[-1] == "  model fvd, faces found by d"


def test_10_bit_and_rotation_reach_the_output(fvdeblur: Run, tmp_path: Path) -> None:
    frames = [cv2.rotate(f, cv2.ROTATE_90_COUNTERCLOCKWISE) for f in moving_photograph(5)]
    source = make_video(
        tmp_path / "phone.mp4",
        frames,
        pix_fmt="yuv420p10le",
        prepare=lambda _, stream: stream.set_display_rotation(270),
    )
    assert probe(source).rotation == 90
    result = fvdeblur("run", source)
    assert "5 faces deblurred" in result.out
    with av.open(str(tmp_path / "phone.deblurred.mp4")) as output:
        assert output.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    assert probe(tmp_path / "phone.deblurred.mp4").rotation == 90
