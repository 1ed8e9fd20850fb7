"""``fvdeblur blur``: what it writes, what it says, and what it leaves behind when it is stopped."""

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch
from media_samples import frame_times, make_video, moving_photograph, packets
from running import Result, finished

from fvdeblur.datasets.index import ClipRecord, Source, write_index
from fvdeblur.datasets.protocols import PROTOCOLS, Modifiers, apply, stream
from fvdeblur.evaluation import psnr
from fvdeblur.media import FramePlanes, VideoReader, probe

Run = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 95 x 61 without loss, 25 a second, with sound."""
    frames = moving_photograph(12, 95, 61)
    return make_video(
        tmp_path_factory.mktemp("short") / "short.mkv",
        frames,
        codec="ffv1",
        pix_fmt="bgr0",
        time_base=Fraction(1, 1000),
        audio=0.5,
    )


def decoded(path: Path) -> torch.Tensor:
    """uint8 [T, 3, H, W], upright, as the command reads them."""
    with VideoReader(path) as reader:
        frames = [
            FramePlanes(one.frame, reader.info.rotation).preview(max(one.frame.width, one.frame.height))
            for one in reader
        ]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def record_of(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["average-5", "jung", "exposure", "shake", "mixed"])
def test_the_files_hold_what_the_library_makes(fvdeblur: Run, short: Path, tmp_path: Path, name: str) -> None:
    options = ["--set", "noise=1,2", "--set", "light=linear"]
    settings: dict[str, Any] = {"light": "linear"}
    if name == "mixed":
        options += ["--set", "layouts=field"]
        settings["layouts"] = ("field",)
    result = fvdeblur("blur", short, "-o", tmp_path, "--protocol", name, "--seed", 5, *options)
    assert (result.code, result.err) == (0, "")
    assert files(tmp_path) == {"blurred/short.mkv", "sharp/short.mkv", "short.json"}
    source = decoded(short)
    expected = apply(name, source, 5, settings=settings, modifiers=Modifiers(noise=(1.0, 2.0)))
    blurred, sharp = (decoded(tmp_path / part / "short.mkv") for part in ("blurred", "sharp"))
    assert torch.equal(blurred, expected.blurred)
    assert torch.equal(sharp, expected.sharp)
    times = [frame_times(short)[index] for index in expected.frames]
    for part in ("blurred", "sharp"):
        assert frame_times(tmp_path / part / "short.mkv") == times
        assert probe(tmp_path / part / "short.mkv").average_rate == 25
        assert packets(tmp_path / part / "short.mkv")[1] == packets(short)[1]
    record = record_of(tmp_path, "short")
    made = json.loads(json.dumps(expected.record))
    assert [{k: v for k, v in frame.items() if k != "time"} for frame in record["frames"]] == made.pop(
        "frames"
    )
    assert [frame["time"] for frame in record["frames"]] == [float(time) for time in times]
    assert {key: record[key] for key in made} == made
    assert (record["source"], record["blurred"], record["sharp"]) == (
        "short.mkv",
        "blurred/short.mkv",
        "sharp/short.mkv",
    )
    assert (record["width"], record["height"], record["frame_rate"]) == (95, 61, "25")
    assert (record["encoding"], record["count"], record["notes"]) == ("lossless", len(times), [])
    lines = result.out.splitlines()
    assert lines[0] == str(tmp_path / "short.json")
    assert lines[1].startswith(f"  {len(times)} frames, ")


def test_frames_are_read_as_they_are_needed(
    fvdeblur: Run, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few frames are held at once, the files are the same, and no frame waits for the end."""
    assert fvdeblur("blur", short, "-o", tmp_path / "a", "--protocol", "exposure", "--seed", 2).code == 0
    monkeypatch.setattr(stream, "MOST_FRAMES", 2)
    read, held = itertools.count(), []
    planes = FramePlanes.preview
    monkeypatch.setattr(FramePlanes, "preview", lambda *given: (next(read), planes(*given))[1])
    stacked = torch.stack
    monkeypatch.setattr(
        torch,
        "stack",
        lambda frames, *given, **more: (held.append(len(frames)), stacked(frames, *given, **more))[1],
    )
    assert fvdeblur("blur", short, "-o", tmp_path / "b", "--protocol", "exposure", "--seed", 2).code == 0
    assert next(read) == 12
    assert max(held) == 2 + 2 * 2
    one, other = (decoded(tmp_path / part / "blurred/short.mkv").int() for part in ("a", "b"))
    assert (one - other).abs().max() <= 1


def test_lossy_files(fvdeblur: Run, tmp_path: Path) -> None:
    source = make_video(tmp_path / "clip.mp4", moving_photograph(6, 96, 64))
    sizes = []
    for crf in (8, 36):
        folder = tmp_path / str(crf)
        result = fvdeblur("blur", source, "-o", folder, "--protocol", "gaussian", "--seed", 1, "--crf", crf)
        assert (result.code, result.err) == (0, "")
        assert files(folder) == {"blurred/clip.mp4", "sharp/clip.mp4", "clip.json"}
        info = probe(folder / "sharp/clip.mp4")
        assert (info.codec, info.pix_fmt, info.container.split(",")[1]) == ("h264", "yuv420p", "mp4")
        assert record_of(folder, "clip")["encoding"] == f"H.264, CRF {crf}"
        sizes.append((folder / "sharp/clip.mp4").stat().st_size)
        assert frame_times(folder / "sharp/clip.mp4") == frame_times(source)
    expected = apply("gaussian", decoded(source), 1)
    fine = decoded(tmp_path / "8" / "blurred/clip.mp4")
    assert psnr(fine.numpy(), expected.blurred.numpy()) > 36  # the colours are right, too
    assert sizes[0] > 2 * sizes[1]


def test_uneven_times_are_kept(fvdeblur: Run, tmp_path: Path) -> None:
    times = [0, 40, 90, 100, 180, 250, 251]
    source = make_video(
        tmp_path / "vfr.mkv",
        moving_photograph(7, 64, 48),
        codec="ffv1",
        times=times,
        time_base=Fraction(1, 1000),
    )
    assert fvdeblur("blur", source, "-o", tmp_path / "out", "--protocol", "average-5", "--seed", 0).code == 0
    assert frame_times(tmp_path / "out/blurred/vfr.mkv") == [Fraction(t, 1000) for t in times[2:-2]]


def test_a_turned_video_is_written_upright(fvdeblur: Run, tmp_path: Path) -> None:
    frames = [cv2.rotate(frame, cv2.ROTATE_90_COUNTERCLOCKWISE) for frame in moving_photograph(3, 80, 60)]
    source = make_video(
        tmp_path / "phone.mp4", frames, prepare=lambda _, video: video.set_display_rotation(270)
    )
    assert probe(source).rotation == 90
    assert fvdeblur("blur", source, "-o", tmp_path / "out", "--protocol", "sharp", "--seed", 0).code == 0
    info = probe(tmp_path / "out/sharp/phone.mkv")
    assert (info.width, info.height, info.rotation) == (80, 60, 0)
    sharp = decoded(tmp_path / "out/sharp/phone.mkv").permute(0, 2, 3, 1).numpy()
    assert psnr(sharp[0], moving_photograph(1, 80, 60)[0]) > 28


def test_one_frame(fvdeblur: Run, tmp_path: Path) -> None:
    source = make_video(tmp_path / "one.mp4", moving_photograph(1, 64, 48))
    assert fvdeblur("blur", source, "-o", tmp_path / "out", "--protocol", "jung", "--seed", 0).code == 0
    assert len(decoded(tmp_path / "out/blurred/one.mkv")) == 1
    result = fvdeblur("blur", source, "-o", tmp_path / "none", "--protocol", "average-5", "--seed", 0)
    result.failed(1, "one.mp4: no 5 consecutive frames, which average-5 needs")
    assert files(tmp_path / "none") == set()


def test_frames_that_a_rule_rejects_are_named(fvdeblur: Run, tmp_path: Path) -> None:
    moving = moving_photograph(16, 96, 64)
    source = make_video(
        tmp_path / "rests.mkv",
        [moving[0]] * 9 + moving[1:],
        codec="ffv1",
        pix_fmt="bgr0",
        time_base=Fraction(1, 1000),
    )
    options = ["--set", "counts=7", "--set", "least_psnr=5"]
    result = fvdeblur(
        "blur", source, "-o", tmp_path / "out", "--protocol", "average-7-11", "--seed", 0, *options
    )
    assert result.code == 0
    record = record_of(tmp_path / "out", "rests")
    assert len(record["rejected"]) >= 5
    assert f", {len(record['rejected'])} rejected, " in result.out
    assert all("no movement" in each["rejected"] for each in record["rejected"])
    assert len(decoded(tmp_path / "out/blurred/rests.mkv")) == record["count"] == 18 - len(record["rejected"])


def test_blur_stays_within_a_shot(fvdeblur: Run, tmp_path: Path) -> None:
    shots = [moving_photograph(7, 96, 64), [255 - frame for frame in moving_photograph(6, 96, 64)]]
    source = make_video(tmp_path / "cut.mp4", shots[0] + shots[1], options={"crf": "5"})
    assert fvdeblur("blur", source, "-o", tmp_path / "out", "--protocol", "average-5", "--seed", 0).code == 0
    frames = [each["frame"] for each in record_of(tmp_path / "out", "cut")["frames"]]
    assert frames == [2, 3, 4, 9, 10]


def test_a_folder_of_videos(fvdeblur: Run, short: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "a.mp4", moving_photograph(3, 64, 48))
    make_video(folder / "a.mkv", moving_photograph(3, 64, 48))
    make_video(folder / "b.mp4", moving_photograph(3, 64, 48))
    (folder / "c.mp4").write_text("no video")
    result = fvdeblur("blur", folder, "-o", tmp_path / "out", "--protocol", "jung", "--seed", 4)
    assert result.code == 1
    lines = result.err.splitlines()
    assert "c.mp4" in lines[0]
    assert lines[1] == "fvdeblur: 1 of 4 videos failed"
    out = tmp_path / "out"
    assert {path.name for path in out.glob("*.json")} == {"a.mp4.json", "a.mkv.json", "b.json"}
    assert {path.name for path in (out / "sharp").iterdir()} == {"a.mp4.mkv", "a.mkv.mkv", "b.mkv"}
    seeds = {name: record_of(out, name)["seed"] for name in ("a.mp4", "a.mkv", "b")}
    assert len(set(seeds.values())) == 3
    # one of them alone, with the seed that its record names, comes out the same
    again = ["blur", folder / "b.mp4", "-o", tmp_path / "again", "--protocol", "jung", "--seed", seeds["b"]]
    assert fvdeblur(*again).code == 0
    assert torch.equal(decoded(tmp_path / "again/blurred/b.mkv"), decoded(out / "blurred/b.mkv"))


def test_a_dataset(fvdeblur: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "clips").mkdir(parents=True)
    records = []
    for name, split in (("anna", "train"), ("berta", "validation")):
        make_video(data / "clips" / f"{name}.mp4", moving_photograph(3, 64, 48))
        records.append(
            ClipRecord(
                file=f"clips/{name}.mp4",
                identity=name,
                split=split,
                frames=3,
                fps=25.0,
                width=64,
                height=48,
                boxes=np.array([[4, 4, 20, 24]] * 3, np.float32),
                landmarks=None,
                sharpness=None,
                motion=None,
                source=Source(f"{name}.mov"),
                sha256="0" * 64,
            )
        )
    write_index(data, records)
    options = ["--protocol", "mixed", "--seed", 1, "--set", "layouts=face", "--set", "components=sharp,jung"]
    result = fvdeblur("blur", data, "-o", tmp_path / "out", "--split", "validation", *options)
    assert (result.code, result.err) == (0, "")
    assert files(tmp_path / "out") == {"blurred/berta.mkv", "sharp/berta.mkv", "berta.json"}
    seed = record_of(tmp_path / "out", "berta")["seed"]
    settings = {"layouts": ("face",), "components": ("sharp", "jung")}
    source = decoded(data / "clips/berta.mp4")
    expected = apply("mixed", source, seed, settings=settings, boxes=records[1].boxes)
    assert torch.equal(decoded(tmp_path / "out/blurred/berta.mkv"), expected.blurred)
    assert fvdeblur("blur", data, "-o", tmp_path / "all", "--protocol", "sharp", "--seed", 1).code == 0
    assert {path.stem for path in (tmp_path / "all").glob("*.json")} == {"anna", "berta"}


def test_the_protocols_are_listed(fvdeblur: Run) -> None:
    result = fvdeblur("blur", "--list")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == list(PROTOCOLS)
    assert all(len(line.split()) > 4 for line in lines)


def test_nothing_is_overwritten_unasked(fvdeblur: Run, tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", moving_photograph(3, 64, 48))
    arguments = ["blur", source, "-o", tmp_path / "out", "--protocol", "jung", "--quiet"]
    assert fvdeblur(*arguments, "--seed", 1) == Result(0, "", "")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    fvdeblur(*arguments, "--seed", 2).failed(2, "a.mkv exists; use --overwrite")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == before
    assert fvdeblur(*arguments, "--seed", 2, "--overwrite").code == 0
    after = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    assert after.keys() == before.keys()
    assert record_of(tmp_path / "out", "a")["seed"] == 2
    assert after["blurred/a.mkv"] != before["blurred/a.mkv"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.mp4", "--protocol", "jung"], 2, "missing.mp4: there is no such file or folder"),
        (["a.mp4", "--protocol", "junk"], 2, "unknown protocol 'junk'; use one of average-5, "),
        (["a.mp4", "--protocol", "jung", "--set", "size=3"], 2, "jung has no setting 'size'"),
        (["a.mp4", "--protocol", "jung", "--crf", "60"], 2, "--crf 60 is out of range"),
        (["a.mp4", "--protocol", "jung", "--device", "tpu"], 2, "unknown device 'tpu'"),
        (["a.mp4", "--protocol", "jung", "--split", "train"], 2, "has no splits; leave --split out"),
        (["text.mp4", "--protocol", "jung"], 1, "text.mp4: "),
        (["empty", "--protocol", "jung"], 2, "empty: holds no videos"),
        (["a.mp4", "--protocol", "jung", "-o", "text.mp4"], 2, "text.mp4: is not a folder"),
        (["a.mp4", "--protocol", "jung", "-o", "text.mp4/out"], 1, "cannot make this folder"),
    ],
)
def test_what_cannot_be_done(
    fvdeblur: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", moving_photograph(2, 64, 48))
    Path("text.mp4").write_text("no video")
    Path("empty").mkdir()
    before = files(tmp_path)
    place = [] if "-o" in arguments else ["-o", "out"]
    fvdeblur("blur", *arguments, *place, "--seed", 0).failed(code, words)
    assert files(tmp_path) == before


def test_a_full_disk_leaves_nothing(
    fvdeblur: Run, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is the last file to get its name; when that fails, the videos lose theirs."""
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    result = fvdeblur("blur", short, "-o", tmp_path, "--protocol", "jung", "--seed", 0)
    result.failed(1, "short.json: cannot be written (No space left on device)")
    assert files(tmp_path) == set()


def test_a_damaged_video_is_reported(fvdeblur: Run, tmp_path: Path) -> None:
    source = make_video(
        tmp_path / "a.mp4", moving_photograph(20, 96, 64), container_options={"movflags": "faststart"}
    )
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 2 // 3])
    result = fvdeblur("blur", source, "-o", tmp_path / "out", "--protocol", "sharp", "--seed", 0)
    assert result.code == 0
    assert "note: " in result.out
    record = record_of(tmp_path / "out", "a")
    assert record["notes"]
    assert 0 < record["count"] < 20


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopped_at_work(start: Start, tmp_path: Path, number: signal.Signals, code: int, word: str) -> None:
    source = make_video(
        tmp_path / "long.mp4", moving_photograph(8, 64, 48) * 60, options={"preset": "ultrafast"}
    )
    slow = "import torch; torch.set_num_threads(1); import time, av\n"
    slow += "from fvdeblur.media import VideoWriter\nwrite = VideoWriter.write\n"
    slow += "VideoWriter.write = lambda *given: (time.sleep(0.02), write(*given))[1]\n"
    out = tmp_path / "out"
    process = start("blur", source, "-o", out, "--protocol", "jung", "--seed", 0, more=slow)
    until = time.monotonic() + 240
    partial = out / "sharp" / "long.mkv.partial"
    while not partial.exists() and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    finished(process).failed(code, word, "nothing was left half-written")
    assert files(out) == set()


def test_10_bit_video_is_read(fvdeblur: Run, tmp_path: Path) -> None:
    source = make_video(tmp_path / "deep.mp4", moving_photograph(3, 64, 48), pix_fmt="yuv420p10le")
    assert fvdeblur("blur", source, "-o", tmp_path / "out", "--protocol", "sharp", "--seed", 0).code == 0
    with av.open(str(tmp_path / "out/sharp/deep.mkv")) as video:
        assert video.streams.video[0].codec_context.pix_fmt == "bgr0"
    sharp = decoded(tmp_path / "out/sharp/deep.mkv").permute(0, 2, 3, 1).numpy()
    assert psnr(sharp[0], moving_photograph(1, 64, 48)[0]) > 26


def test_the_face_is_found_for_a_mixture(fvdeblur: Run, tmp_path: Path) -> None:
    """A face in the upper left of the picture, far from its middle, has the blur of its own."""
    photograph = skimage.data.astronaut()
    picture = np.full((360, 480, 3), 90, np.uint8)
    picture[::6, 200:] = picture[220::6] = 160
    picture[10:210, 10:210] = photograph[20:220, 125:325]
    source = make_video(
        tmp_path / "a.mkv", [picture] * 2, codec="ffv1", pix_fmt="bgr0", time_base=Fraction(1, 1000)
    )
    options = ["--set", "layouts=face", "--set", "components=sharp,gaussian"]
    arguments = ["blur", source, "-o", tmp_path / "out", "--protocol", "mixed", "--seed", 1, *options]
    assert fvdeblur(*arguments).code == 0
    parts = [part["protocol"] for part in record_of(tmp_path / "out", "a")["drawn"]["parts"]]
    blurred, sharp = (decoded(tmp_path / "out" / part / "a.mkv").int() for part in ("blurred", "sharp"))
    difference = (blurred - sharp).abs().amax(dim=1)[0]
    inside, outside = difference[80:120, 85:125].max(), difference[260:, 300:].max()
    assert (inside == 0, outside == 0) == (parts[0] == "sharp", parts[1] == "sharp")
    assert max(inside, outside) > 5
