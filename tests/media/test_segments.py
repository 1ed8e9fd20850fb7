"""Writing in segments: what is stopped anywhere and taken up again is packet by packet what was never stopped."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_samples import everything, frame_times, make_video, moving_photograph, packets

from fvdeblur.errors import OutputError, UsageError
from fvdeblur.media import VideoReader, VideoWriter
from fvdeblur.media.packet_file import decoding_times, read_packets
from fvdeblur.media.segments import SegmentWriter

STARTS = (12, 13, 22)
FAST = {"codec": "h264", "preset": "ultrafast"}


class StopError(Exception):
    """Stands for whatever stops the work."""


def write(
    source: Path,
    target: Path,
    *,
    stop: int | None = None,
    identity: Any = "same",
    resume: bool = True,
    starts: tuple[int, ...] = STARTS,
    part: tuple[float | None, float | None] = (None, None),
    **options: Any,
) -> tuple[int, list[str]]:
    """Write a video in segments; return how many had been done before, and the notes on that."""
    with (
        VideoReader(source, start=part[0], end=part[1]) as reader,
        SegmentWriter(target, reader, **{**FAST, **options}) as writer,
    ):
        facts, notes = writer.take_up({"settings": identity, **writer.encoding}, resume=resume)
        assert [fact["number"] for fact in facts] == list(range(len(facts)))
        done, number = writer.frames, len(facts)
        for decoded in reader:
            if decoded.index < done:
                continue
            if decoded.index in starts and decoded.index > done:
                writer.end_segment({"number": number})
                number += 1
            if decoded.index == stop:
                raise StopError("stopped")
            writer.write(decoded.frame)
        if decoded.index >= done:
            writer.end_segment({"number": number})
        writer.finish()
    return len(facts), notes


def stop_at(frame: int, source: Path, target: Path, **more: Any) -> str:
    """Write until a frame; return what the error says."""
    with pytest.raises(StopError) as caught:
        write(source, target, stop=frame, **more)
    assert not target.exists()
    return str(caught.value)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames at uneven times, with sound."""
    times = np.cumsum([0, *np.random.default_rng(1).integers(7, 120, 29)]).tolist()
    path = tmp_path_factory.mktemp("uneven") / "vfr.mkv"
    return make_video(path, moving_photograph(30), times=times, time_base=Fraction(1, 1000), audio=1.0)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {"preset": "veryfast"}),
        (".mkv", {"preset": "veryfast"}),
        (".ts", {"preset": "veryfast"}),
        (".avi", {}),
        (".mp4", {"codec": "libx265", "preset": "ultrafast"}),
        (".webm", {"codec": "vp9", "preset": None, "crf": 40}),
        (".mkv", {"codec": "av1", "preset": "10"}),
        (".avi", {"codec": "mpeg4", "preset": None}),
        (".mp4", {"codec": "mpeg4", "preset": None}),
        (".mpg", {"codec": "mpeg2video", "preset": None}),
        (".mkv", {"codec": "ffv1", "preset": None}),
        (".mov", {"codec": "mjpeg", "preset": None}),
    ],
)
def test_resumed_is_as_never_stopped(
    uneven: Path, tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    whole, resumed = tmp_path / f"whole{suffix}", tmp_path / f"resumed{suffix}"
    assert write(uneven, whole, **options) == (0, [])
    stop_at(18, uneven, resumed, **options)
    assert write(uneven, resumed, **options) == (2, [])
    assert everything(resumed) == everything(whole)
    plain = tmp_path / f"plain{suffix}"
    with VideoReader(uneven) as reader, VideoWriter(plain, reader, **{**FAST, **options}) as writer:
        for decoded in reader:
            writer.write(decoded.frame)
        writer.finish()
    assert len(frame_times(whole)) == 30
    assert frame_times(whole) == frame_times(plain)
    assert packets(whole).get(1) == packets(plain).get(1)
    video = [(pts, dts) for index, pts, dts, *_ in everything(whole) if index == 0 and dts is not None]
    assert all(before[1] < after[1] for before, after in pairwise(video))
    assert all(dts <= pts for pts, dts in video if pts is not None)
    assert not list(tmp_path.glob("*.partial"))


def test_one_segment_is_what_the_plain_writer_writes(uneven: Path, tmp_path: Path) -> None:
    for suffix in (".mp4", ".ts"):
        write(uneven, tmp_path / f"one{suffix}", starts=(), preset="veryfast")
        with (
            VideoReader(uneven) as reader,
            VideoWriter(tmp_path / f"plain{suffix}", reader, codec="h264", preset="veryfast") as writer,
        ):
            for decoded in reader:
                writer.write(decoded.frame)
            writer.finish()
        assert everything(tmp_path / f"one{suffix}") == everything(tmp_path / f"plain{suffix}")


def test_segments_begin_with_key_frames_and_b_frames_stay_inside(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    write(clip, target, preset="medium", starts=(10,))
    with av.open(str(target)) as opened:
        video = [(p.pts, p.dts, p.is_keyframe) for p in opened.demux(video=0) if p.size]
    times = sorted(pts for pts, *_ in video)
    assert video[10][0] == times[10]
    assert video[0][2]
    assert video[10][2]
    assert [pts for pts, *_ in video] != times
    assert all(before[1] < after[1] for before, after in pairwise(video))


def test_a_trimmed_part_is_resumed(clip: Path, tmp_path: Path) -> None:
    part = (0.2, 0.9)
    write(clip, tmp_path / "whole.mp4", part=part, starts=(6,))
    stop_at(9, clip, tmp_path / "out.mp4", part=part, starts=(6,))
    assert write(clip, tmp_path / "out.mp4", part=part, starts=(6,))[0] == 1
    assert everything(tmp_path / "out.mp4") == everything(tmp_path / "whole.mp4")
    assert frame_times(tmp_path / "out.mp4")[0] == 0


def test_decoding_times() -> None:
    assert list(zip(range(6), decoding_times([0, 40, 80, 120, 160, 200], 2), strict=False)) == [
        (0, -80),
        (1, -40),
        (2, 0),
        (3, 40),
        (4, 80),
        (5, 120),
    ]
    assert list(decoding_times([5, 6, 9], 0)) == [5, 6, 9]
    assert list(decoding_times([], 2)) == []
    # fewer pictures than the delay; ticks that stand side by side
    assert next(iter(decoding_times([7], 2))) == 7
    random = np.random.default_rng(2)
    for _ in range(50):
        shown = np.cumsum(random.integers(1, 4, 40)).tolist()
        delay = int(random.integers(0, 4))
        decoded = list(decoding_times(shown, delay))[:40]
        assert all(a < b for a, b in pairwise(decoded))
        assert all(dts <= shown[max(0, n - delay)] for n, dts in enumerate(decoded))


def test_what_stops_the_work_says_that_it_is_kept(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    assert stop_at(5, clip, target) == "stopped"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    said = stop_at(20, clip, target)
    assert said.startswith("stopped; the work so far (13 frames) is kept in ")
    assert said.endswith("out.mp4.partial; the same command goes on with it")
    names = {path.name for path in (tmp_path / "out.mp4.partial").iterdir()}
    assert names == {"manifest.json", *(f"00000{n}.{end}" for n in (0, 1) for end in ("json", "packets"))}
    assert (tmp_path / "out.mp4.partial").stat().st_mode & 0o777 == 0o700


def test_an_interrupt_just_as_a_segment_begins(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there, but nobody has taken it yet; it goes with what is half done."""
    begin = SegmentWriter._begin_segment

    def interrupted(writer: SegmentWriter) -> Any:
        begun = begin(writer)
        if (target.with_name("out.mp4.partial") / "000001.packets").exists():
            raise KeyboardInterrupt
        return begun

    target = tmp_path / "out.mp4"
    monkeypatch.setattr(SegmentWriter, "_begin_segment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(clip, target, starts=(12, 16))
    left = target.with_name("out.mp4.partial").glob("0*")
    assert sorted(path.name for path in left) == ["000000.json", "000000.packets"]
    monkeypatch.setattr(SegmentWriter, "_begin_segment", begin)
    assert write(clip, target, starts=(12, 16))[0] == 1


def test_another_identity_and_no_resume_begin_afresh(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    stop_at(20, clip, target, identity={"strength": 1.0, "crf": None})
    reused, notes = write(clip, target, identity={"strength": 0.5, "crf": None})
    assert reused == 0
    assert notes == ["begun afresh: since the unfinished run these changed: settings.strength"]
    target.unlink()
    stop_at(20, clip, target)
    assert write(clip, target, resume=False) == (0, [])


def cut_packets(folder: Path) -> None:
    path = folder / "000001.packets"
    path.write_bytes(path.read_bytes()[:-1])


def flip_packets(folder: Path) -> None:
    path = folder / "000001.packets"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_packets(folder: Path) -> None:
    (folder / "000001.packets").unlink()


def link_packets(folder: Path) -> None:
    (folder / "000001.packets").rename(folder.parent / "elsewhere")
    (folder / "000001.packets").symlink_to(folder.parent / "elsewhere")


def edit_record(folder: Path) -> None:
    path = folder / "000001.json"
    path.write_text(path.read_text().replace('"frames": 13', '"frames": 14'))


def empty_record(folder: Path) -> None:
    (folder / "000001.json").write_bytes(b"")


def swap_record(folder: Path) -> None:
    (folder / "000001.json").write_bytes((folder / "000000.json").read_bytes())


def odd_record(folder: Path) -> None:
    (folder / "000001.json").write_text(json.dumps({"content": [1], "sha256": 3}))


@pytest.mark.parametrize(
    "damage",
    [
        cut_packets,
        flip_packets,
        lose_packets,
        link_packets,
        edit_record,
        empty_record,
        swap_record,
        odd_record,
    ],
)
def test_a_damaged_segment_is_done_anew(clip: Path, tmp_path: Path, damage: Any) -> None:
    target = tmp_path / "out.mp4"
    write(clip, tmp_path / "whole.mp4")
    stop_at(24, clip, target)
    damage(tmp_path / "out.mp4.partial")
    reused, notes = write(clip, target)
    assert reused == 1
    assert notes == ["segment 2 of the unfinished run was damaged; it and what follows was done anew"]
    assert everything(target) == everything(tmp_path / "whole.mp4")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"content": {"version": 1}, "sha256": "0"}'])
def test_a_damaged_manifest_begins_afresh(clip: Path, tmp_path: Path, text: str) -> None:
    target = tmp_path / "out.mp4"
    stop_at(20, clip, target)
    (tmp_path / "out.mp4.partial" / "manifest.json").write_text(text)
    assert write(clip, target) == (0, ["begun afresh: the manifest of the unfinished work is damaged"])


def test_what_was_half_written_is_removed(clip: Path, tmp_path: Path) -> None:
    """As a loss of power leaves it: a segment without a record, a record without its name, half an output."""
    target = tmp_path / "out.mp4"
    write(clip, tmp_path / "whole.mp4")
    stop_at(20, clip, target)
    for name in ("000002.packets", "000002.json.new", "output.mp4", "manifest.json.new"):
        (tmp_path / "out.mp4.partial" / name).write_bytes(b"half")
    assert write(clip, target) == (2, [])
    assert everything(target) == everything(tmp_path / "whole.mp4")


def test_a_symbolic_link_is_refused(clip: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out.mp4.partial").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a symbolic link"):
        write(clip, tmp_path / "out.mp4")
    assert not list(elsewhere.iterdir())


def test_a_folder_of_somebody_elses_is_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = tmp_path / "out.mp4.partial"
    partial.mkdir()
    (partial / "diary.txt").write_text("precious")
    with pytest.raises(UsageError, match="holds something else than unfinished work"):
        write(clip, tmp_path / "out.mp4")
    assert (partial / "diary.txt").read_text() == "precious"
    (partial / "diary.txt").unlink()
    real = os.lstat

    def of_another(path: Any) -> os.stat_result:
        found = list(real(path))
        found[4] = found[4] + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "lstat", of_another)
    with pytest.raises(UsageError, match="belongs to another user"):
        write(clip, tmp_path / "out.mp4")
    assert partial.exists()


def test_two_runs_do_not_write_into_one_folder(clip: Path, tmp_path: Path) -> None:
    with (
        VideoReader(clip) as reader,
        SegmentWriter(tmp_path / "out.mp4", reader, **FAST),
        pytest.raises(UsageError, match="another run is at work there"),
    ):
        write(clip, tmp_path / "out.mp4")


def test_a_run_that_is_refused_leaves_earlier_work_alone(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    stop_at(20, clip, target)
    with pytest.raises(UsageError, match="--preset warp"):
        write(clip, target, preset="warp")
    target.write_text("precious")
    with pytest.raises(UsageError, match="exists; use --overwrite or -o"):
        write(clip, target)
    with VideoReader(clip) as reader, pytest.raises(UsageError, match="as an unfinished run leaves it"):
        VideoWriter(target, reader, overwrite=True)
    assert write(clip, target, overwrite=True) == (2, [])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond a size, as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_keeps_what_is_done(clip: Path, tmp_path: Path) -> None:
    """In a segment, in its end, and while the output is put together."""
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    write(clip, whole)
    stop_at(24, clip, target)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out.mp4.partial").glob("*.packets"))]
    for limit in (0.5 * sizes[0], max(sizes) + 100, whole.stat().st_size - 1000):
        with largest_file(int(limit)), suppress(OutputError):
            write(clip, target)
            pytest.fail("the disk was not full")
        assert not target.exists()
    with largest_file(whole.stat().st_size - 1000), pytest.raises(OutputError) as caught:
        write(clip, target)
    assert "out.mp4: cannot be written" in str(caught.value)
    assert "; the work so far (25 frames) is kept in " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert write(clip, target) == (4, [])
    assert everything(target) == everything(whole)


def test_side_data_of_packets_is_kept(tmp_path: Path) -> None:
    """Transparency of VP9 lies beside the packets."""
    source = make_video(tmp_path / "clear.mkv", moving_photograph(6), codec="ffv1", pix_fmt="yuva420p")
    stop_at(5, source, tmp_path / "out.webm", codec="vp9", preset=None, starts=(3,))
    stored = list(read_packets(tmp_path / "out.webm.partial" / "000000.packets"))
    assert len(stored) == 3
    assert all(packet.has_sidedata("matroska_block_additional") for packet in stored)
    write(source, tmp_path / "out.webm", codec="vp9", preset=None, starts=(3,))
    write(source, tmp_path / "whole.webm", codec="vp9", preset=None, starts=(3,))

    def clear(path: Path) -> list[bytes]:
        with av.open(str(path)) as opened:
            side = [p.get_sidedata("matroska_block_additional") for p in opened.demux(video=0) if p.size]
            return [bytes(data) for data in side]

    assert clear(tmp_path / "out.webm") == clear(tmp_path / "whole.webm")
    assert all(clear(tmp_path / "out.webm"))
