"""Many videos in several processes: the same result whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mining_material import coin_parts, coins, dying_parts, sway, write_video

from fvdeblur.datasets.checking import check_dataset
from fvdeblur.datasets.index import is_validation, read_index, write_index
from fvdeblur.datasets.mining.ledger import Ledger, Video
from fvdeblur.datasets.mining.run import MiningProgress, MiningSummary, find_videos, mine
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.errors import OutputError, UsageError

SETTINGS = MiningSettings(least_frames=8, most_frames=16, least_face=40)


def make_videos(folder: Path) -> Path:
    """Two videos with an object, one of them twice as long; one without; and one that is no video."""
    for name, count, x in (("b/one.mp4", 20, 100), ("a two.mp4", 10, 200)):
        places = [[(x + 2 * sway(i)[0], 110 + 2 * sway(i)[1])] for i in range(count)]
        write_video(folder / name, coins(places))
    write_video(folder / "empty.mp4", coins([[None]] * 6))
    (folder / "broken.mp4").write_bytes(b"no video " * 100)
    (folder / "notes.txt").write_text("no video either")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "c.mp4").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("mining") / "videos")


def run(inputs: Path, dataset: Path, settings: MiningSettings = SETTINGS, **options: Any) -> MiningSummary:
    return mine([inputs], dataset, settings, **{"processes": 1, "make_parts": coin_parts, **options})


@pytest.fixture(scope="module")
def mined(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MiningSummary]:
    dataset = tmp_path_factory.mktemp("mined") / "dataset"
    return dataset, run(videos, dataset)


def contents(dataset: Path) -> dict[str, bytes]:
    """All that is visible of a dataset."""
    return {
        path.relative_to(dataset).as_posix(): path.read_bytes()
        for path in dataset.rglob("*")
        if path.is_file() and ".mining" not in path.parts
    }


def report(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset / "mining.jsonl").read_text().splitlines()]


def test_what_a_run_gives(mined: tuple[Path, MiningSummary]) -> None:
    dataset, summary = mined
    lines = [(line["video"], line["reason"], line["first"], line["last"]) for line in report(dataset)]
    assert lines == [
        ("a two.mp4", "accepted", 0, 9),
        ("b/one.mp4", "accepted", 0, 15),
        ("b/one.mp4", "too short", 16, 19),
        ("broken.mp4", "unreadable", None, None),
        ("empty.mp4", "no face", None, None),
    ]
    records = read_index(dataset)
    assert [one.source.file for one in records] == ["a two.mp4", "b/one.mp4"]
    assert [one.file for one in records] == [line["clip"] for line in report(dataset)[:2]]
    assert check_dataset(dataset).problems == []
    for one in records:
        assert one.identity is None
        assert one.split == ("validation" if is_validation(one.source.file) else "train")
        assert one.licence is None
    assert {name: (tally.candidates, tally.frames) for name, tally in summary.reasons.items()} == {
        "accepted": (2, 26),
        "no face": (1, 0),
        "too short": (1, 4),
        "unreadable": (1, 0),
    }
    assert next(iter(summary.reasons)) == "accepted"
    assert [name for name, _ in summary.failed] == ["broken.mp4"]
    assert "is not a video" in str(summary.failed[0][1])
    assert (summary.videos, summary.done_before, summary.frames) == (4, 0, 36)
    assert not list((dataset / ".mining").glob("*.work"))


def test_the_same_with_two_processes(videos: Path, mined: tuple[Path, MiningSummary], tmp_path: Path) -> None:
    seen: list[MiningProgress] = []
    run(videos, tmp_path / "d", processes=2, progress=seen.append)
    assert contents(tmp_path / "d") == contents(mined[0])
    assert (seen[-1].videos, seen[-1].total, seen[-1].frames, seen[-1].clips) == (4, 4, 36, 2)


def test_what_is_done_is_not_done_again(
    mined: tuple[Path, MiningSummary], videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = mined
    (videos / "broken.mp4").rename(videos / "broken.bak")
    try:
        before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.mp4")}
        monkeypatch.setattr("fvdeblur.processes._Worker", None)  # nobody to work
        summary = run(videos, dataset)
    finally:
        (videos / "broken.bak").rename(videos / "broken.mp4")
    assert (summary.videos, summary.done_before, summary.frames) == (3, 3, 0)
    assert summary.reasons["accepted"].candidates == 2
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*.mp4")} == before


def test_a_changed_video_and_changed_settings(tmp_path: Path) -> None:
    folder, dataset = make_videos(tmp_path / "videos"), tmp_path / "d"
    (folder / "broken.mp4").unlink()
    run(folder, dataset)
    places = [[(160 + 2 * sway(i)[0], 100 + 2 * sway(i)[1])] for i in range(12)]
    write_video(folder / "a two.mp4", coins(places))
    summary = run(folder, dataset)
    assert (summary.videos, summary.done_before, summary.frames) == (3, 2, 12)
    assert [(one.source.file, one.frames) for one in read_index(dataset)] == [
        ("a two.mp4", 12),
        ("b/one.mp4", 16),
    ]
    other = MiningSettings(
        least_frames=8, most_frames=10, least_face=40, identity_from="folder", licence="CC0"
    )
    summary = run(folder, dataset, other)
    assert summary.done_before == 0
    assert [(one.source.file, one.frames, one.identity, one.licence) for one in read_index(dataset)] == [
        ("a two.mp4", 10, "videos", "CC0"),
        ("b/one.mp4", 10, "b", "CC0"),
        ("b/one.mp4", 10, "b", "CC0"),
    ]
    assert check_dataset(dataset).problems == []  # nothing is left of the clips before


def test_clips_from_elsewhere_stay(videos: Path, mined: tuple[Path, MiningSummary], tmp_path: Path) -> None:
    dataset = tmp_path / "d"
    run(videos / "a two.mp4", dataset, MiningSettings(least_frames=8, most_frames=16, least_face=40))
    one = read_index(dataset)[0]
    (dataset / "clips" / "mine.mp4").write_bytes((dataset / one.file).read_bytes())
    foreign = json.loads(one.to_json()) | {"file": "clips/mine.mp4"}
    write_index(dataset, [type(one).from_json(json.dumps(foreign))])
    run(videos, dataset)
    found = [record.file for record in read_index(dataset)]
    assert found == ["clips/mine.mp4", *(record.file for record in read_index(mined[0]))]


def test_a_killed_run_goes_on(videos: Path, mined: tuple[Path, MiningSummary], tmp_path: Path) -> None:
    dataset = tmp_path / "d"
    program = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\n"
        "from mining_material import slow_parts\n"
        "from test_mining_run import run\n"
        "if __name__ == '__main__':\n"
        "    run(Path(sys.argv[1]), Path(sys.argv[2]), make_parts=slow_parts)\n"
    )
    arguments = [sys.executable, "-c", program, str(videos), str(dataset), str(Path(__file__).parent)]
    work = dataset / ".mining"
    with subprocess.Popen(arguments) as process:
        until = time.monotonic() + 240
        # The first video is done and the second one is at work.
        while not (list(work.glob("a-two-*.jsonl")) and list(work.glob("one-*.work"))):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert [path.name[:5] for path in (dataset / "clips").iterdir()] == ["a-two"]
    assert [one.source.file for one in read_index(dataset)] in ([], ["a two.mp4"])
    summary = run(videos, dataset)
    assert summary.done_before == 1
    assert contents(dataset) == contents(mined[0])


def test_a_process_that_dies_takes_one_video_with_it(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    write_video(folder / "1.mp4", coins([[(160, 170)]] * 4))
    write_video(folder / "2.mp4", coins([[(160 + 2 * sway(i)[0], 100)] for i in range(10)]))
    summary = run(folder, tmp_path / "d", make_parts=dying_parts)
    assert [name for name, _ in summary.failed] == ["1.mp4"]
    assert "was killed by signal 9" in str(summary.failed[0][1])
    assert [(line["video"], line["reason"]) for line in report(tmp_path / "d")] == [
        ("1.mp4", "unreadable"),
        ("2.mp4", "accepted"),
    ]


def unprepared_parts(settings: MiningSettings) -> Any:
    if "spawn" in sys.modules["multiprocessing.process"].current_process().name.lower():
        raise UsageError("no such part")
    return coin_parts(settings)


def test_an_error_while_preparing_stops_the_run(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such part"):
        run(videos / "a two.mp4", tmp_path / "d", make_parts=unprepared_parts)
    assert not list((tmp_path / "d").rglob("*.mp4"))


def test_one_run_at_a_time(tmp_path: Path, videos: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.locked(), pytest.raises(UsageError, match="another process is mining into this dataset"):
        run(videos, tmp_path)


def test_another_video_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "x.mp4").write_bytes(folder.encode())
    ledger = Ledger(tmp_path / "d")
    first, second = Video(tmp_path / "a/x.mp4", "x.mp4"), Video(tmp_path / "b/x.mp4", "x.mp4")
    ledger.enter(first, "settings", ["{}"], [])
    assert ledger.is_done(first, "settings")
    assert not ledger.is_done(first, "other settings")
    with pytest.raises(UsageError, match=r"b/x\.mp4: the dataset .* holds another x\.mp4"):
        ledger.is_done(second, "settings")
    (tmp_path / "a/x.mp4").rename(tmp_path / "gone.mp4")
    assert not ledger.is_done(second, "settings")


def test_videos_are_found(videos: Path, tmp_path: Path) -> None:
    names = [video.name for video in find_videos([videos], videos / "b")]
    assert names == ["a two.mp4", "broken.mp4", "empty.mp4"]
    names = [video.name for video in find_videos([videos / "b", videos / "b/one.mp4"], tmp_path)]
    assert names == ["one.mp4"]
    assert len({video.key for video in find_videos([videos], tmp_path)}) == 4
    with pytest.raises(UsageError, match="holds no videos"):
        find_videos([tmp_path], tmp_path)
    with pytest.raises(UsageError, match="there is no such file"):
        find_videos([tmp_path / "none"], tmp_path)
    (tmp_path / "one.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="have one name"):
        find_videos([videos / "b/one.mp4", tmp_path / "one.mp4"], tmp_path)


def test_a_dataset_that_cannot_be_written(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make this folder"):
        run(videos, tmp_path / "file" / "d")
    with pytest.raises(UsageError, match="--processes is -1"):
        run(videos, tmp_path / "d", processes=-1)
