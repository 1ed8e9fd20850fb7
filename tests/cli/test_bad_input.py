"""What cannot be done is said in one line, with the right exit code, and nothing is left behind."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from media_samples import add_audio, frame_times, make_video, moving_photograph

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No test of this file may leave a half-written file."""
    yield
    assert not list(tmp_path.rglob("*.partial"))


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_a_missing_path(tmp_path: Path) -> None:
    """Through the installed program itself; PyTorch need not be loaded for it."""
    program = Path(sys.executable).with_name("fvdeblur")
    done = subprocess.run(
        [program, "run", "no such clip.mp4"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "fvdeblur: no such clip.mp4: there is no such file or folder\n"
    assert done.stdout == ""


def test_a_path_too_long_to_exist(fvdeblur: Run) -> None:
    fvdeblur("run", "x" * 300 + ".mp4").failed(2, "no such file")


def test_a_folder_without_videos(fvdeblur: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    fvdeblur("run", tmp_path).failed(2, "holds no videos", tmp_path.name)


def test_text_with_the_name_of_a_video(in_process: Run, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("This is no video.\n" * 50)
    in_process("run", "clip.mp4", cwd=tmp_path).failed(1, "clip.mp4")
    assert listed(tmp_path) == {"clip.mp4"}


@pytest.mark.parametrize("name", ["clip.mp4", "clip.txt"])
def test_an_empty_file(fvdeblur: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    fvdeblur("run", tmp_path / name).failed(1, "empty")
    assert listed(tmp_path) == {name}


def test_sound_alone(fvdeblur: Run, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        add_audio(output, 0.5)()
    fvdeblur("run", tmp_path / "sound.mp4").failed(1, "no video stream")
    assert listed(tmp_path) == {"sound.mp4"}


@pytest.mark.parametrize(("suffix", "words"), [(".mkv", "no frames"), (".mp4", "no video stream")])
def test_no_frames(fvdeblur: Run, tmp_path: Path, suffix: str, words: str) -> None:
    """MP4 does not even keep a stream without frames."""
    with av.open(str(tmp_path / f"none{suffix}"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        add_audio(output, 0.5)()
    fvdeblur("run", tmp_path / f"none{suffix}").failed(1, f"none{suffix}", words)
    assert listed(tmp_path) == {f"none{suffix}"}


@pytest.fixture
def cut_off(clip: Path, tmp_path: Path) -> Path:
    """A clip whose header promises 50 frames of which the last are missing."""
    whole = make_video(
        tmp_path / "whole.mp4",
        moving_photograph(50),
        audio=2.0,
        options={"bf": "0"},
        container_options={"movflags": "+faststart"},
    )
    data = whole.read_bytes()
    whole.unlink()
    path = tmp_path / "cut off.mp4"
    path.write_bytes(data[: len(data) * 6 // 10])
    return path


def test_a_clip_that_is_cut_off_is_done_as_far_as_it_goes(fvdeblur: Run, cut_off: Path) -> None:
    result = fvdeblur("run", cut_off)
    assert result.code == 0
    assert "damaged input: " in result.out
    assert result.err == ""
    times = frame_times(cut_off.with_name("cut off.deblurred.mp4"))
    assert 10 < len(times) < 50
    assert times == frame_times(cut_off)[: len(times)]


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_frames_that_are_said_to_last_for_months(fvdeblur: Run, tmp_path: Path, suffix: str) -> None:
    """An AVI whose header was damaged: every frame for itself is sound."""
    source = make_video(tmp_path / "in.avi", moving_photograph(3), codec="mpeg4")
    data = bytearray(source.read_bytes())
    scale = data.index(b"strh") + 28
    data[scale : scale + 4] = (25 * 10**6 + 1).to_bytes(4, "little")
    source.write_bytes(data)
    result = fvdeblur("run", source, "-o", tmp_path / f"out{suffix}")
    if suffix == ".avi":
        result.failed(1, "cannot be written")
    else:
        assert result.code == 0
        assert len(frame_times(tmp_path / f"out{suffix}")) == 3


def test_what_is_lost_is_said_even_when_quiet(fvdeblur: Run, cut_off: Path) -> None:
    result = fvdeblur("run", cut_off, "--quiet")
    assert (result.code, result.out) == (0, "")
    assert "cut off.mp4: damaged input: " in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "ren2091"], ["unknown model 'ren2091'", "fvd"]),
        (["--codec", "betamax"], ["unknown codec 'betamax'", "h264"]),
        (["--codec", "prores", "-o", "out.webm"], ["webm"]),
        (["--device", "tpu"], ["unknown device 'tpu'", "cuda"]),
        (["--device", "cuda:x"], ["unknown device 'cuda:x'"]),
        (["--detector", "haar"], ["unknown detector 'haar'", "centerface"]),
        (["--precision", "int8"], ["unknown precision 'int8'", "bf16"]),
        (["--precision", "fp16", "--device", "cpu"], ["fp16"]),
        (["--preset", "warp"], ["--preset warp", "veryfast"]),
        (["--crf", "99"], ["--crf 99", "51"]),
        (["--crf", "nan"], ["--crf nan"]),
        (["--crf", "good"], ["crf", "good"]),
        (["--strength", "1.5"], ["strength", "1.5"]),
        (["--strength", "-0.1"], ["strength"]),
        (["--strength", "nan"], ["strength"]),
        (["--min-face", "-1"], ["smallest face"]),
        (["--min-face", "nan"], ["smallest face"]),
        (["--threads", "-2"], ["threads"]),
        (["--start", "soon"], ["'soon' is not a time"]),
        (["--start", "-1"], ["'-1' is not a time"]),
        (["--end", "1:75"], ["'1:75' is not a time"]),
        (["--start", "0.6", "--end", "0.4"], ["0.6", "0.4"]),
        (["--end", "0"], ["empty"]),
        (["--loudness", "11"], ["--loudness"]),
        (["-o", "out.jpeg"], ["out.jpeg", ".mkv"]),
        (["-o", "out"], ["out: the suffix"]),
    ],
)
def test_wrong_use(
    fvdeblur: Run,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fvdeblur("run", clip, "-o", "out.mp4", *options).failed(2, *words)
    assert listed(tmp_path) == set()


@pytest.mark.parametrize("start", ["5", "9" * 30, "9" * 400])
def test_a_start_behind_the_end_of_the_clip(fvdeblur: Run, clip: Path, tmp_path: Path, start: str) -> None:
    result = fvdeblur("run", clip, "-o", tmp_path / "out.mp4", "--start", start)
    result.failed(result.code, "clip.mp4" if start == "5" else "")
    assert result.code in {1, 2}
    assert listed(tmp_path) == set()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_asked_for_and_absent(fvdeblur: Run, clip: Path, tmp_path: Path, device: str) -> None:
    fvdeblur("run", clip, "-o", tmp_path / "out.mp4", "--device", device).failed(2, device, "use cpu")
    assert listed(tmp_path) == set()


def test_folders_that_cannot_be_written(fvdeblur: Run, clip: Path, tmp_path: Path) -> None:
    fvdeblur("run", clip, "-o", tmp_path / "missing" / "out.mp4").failed(1, "out.mp4", "create the folder")
    fvdeblur("run", clip, "-o", clip / "out.mp4").failed(1, "out.mp4", "not a folder")
    fvdeblur("run", clip, "-o", "/proc/out.mp4").failed(1, "/proc/out.mp4")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if not os.access(locked, os.W_OK):  # for root, every folder is writable
        fvdeblur("run", clip, "-o", locked / "out.mp4").failed(1, "permission denied")
    assert listed(tmp_path) == {"locked"}


def test_output_folders_that_cannot_be_made(fvdeblur: Run, clip: Path, tmp_path: Path) -> None:
    fvdeblur("run", clip.parent, "-o", clip).failed(2, "clip.mp4", "not a folder")
    fvdeblur("run", clip.parent, "-o", clip / "sub").failed(1, "sub", "folder")
    fvdeblur("run", clip.parent, "-o", "/proc/sub").failed(1, "/proc/sub")


@pytest.mark.parametrize("size", [0, 30_000])
def test_a_full_disk(in_process: Run, clip: Path, tmp_path: Path, size: int) -> None:
    """The system refuses to let any file grow beyond a size, as a full disk does."""
    result = in_process(
        "run",
        clip,
        "-o",
        tmp_path / "out.mp4",
        "--crf",
        "5",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    result.failed(1, "out.mp4", "cannot be written")
    assert listed(tmp_path) == set()


def test_an_output_that_exists(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("precious")
    fvdeblur("run", short_clip, "-o", target).failed(2, "out.mp4", "--overwrite")
    assert target.read_text() == "precious"
    assert fvdeblur("run", short_clip, "-o", target, "--overwrite").code == 0
    assert len(frame_times(target)) == 6


def test_a_failure_keeps_the_output_that_was_to_be_replaced(fvdeblur: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    target = tmp_path / "out.mp4"
    target.write_text("precious")
    fvdeblur("run", tmp_path / "broken.mp4", "-o", target, "--overwrite").failed(1, "broken.mp4")
    assert target.read_text() == "precious"


def test_the_input_is_never_the_output(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(short_clip.read_bytes())
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    for target in (source, link, tmp_path / "." / "clip.mp4"):
        fvdeblur("run", source, "-o", target, "--overwrite").failed(2, "replace the input")
    assert source.read_bytes() == short_clip.read_bytes()


def test_debug_shows_where_an_error_came_from(in_process: Run, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    with pytest.raises(AssertionError, match=r"Traceback[\s\S]*open_input"):
        in_process("run", "clip.mp4", "--debug", cwd=tmp_path)


def test_a_folder_with_one_broken_video(
    fvdeblur: Run, short_clip: Path, faceless_clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(short_clip.read_bytes())
    (folder / "b.mp4").write_text("no video")
    (folder / "c.MP4").write_bytes(faceless_clip.read_bytes())
    (folder / "d.txt").write_text("no video")
    result = fvdeblur("run", folder, "-o", tmp_path / "new" / "out")
    assert result.code == 1
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert "b.mp4" in lines[0]
    assert lines[1] == "fvdeblur: 1 of 3 inputs failed"
    assert listed(tmp_path / "new" / "out") == {"a.mp4", "c.MP4"}
    # Without a folder for the outputs they stand beside the inputs, and are no inputs the next time.
    for overwrite in ([], ["--overwrite"]):
        again = fvdeblur("run", folder, *overwrite)
        assert again.code == 1
        assert "1 of 3" in again.err
    assert {"a.deblurred.mp4", "c.deblurred.MP4"} == {n for n in listed(folder) if "deblurred" in n}
