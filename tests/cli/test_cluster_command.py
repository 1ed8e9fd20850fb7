"""``fvdeblur run --ray``: the same as one process does, on several machines, of which one may be lost.

The cluster is a real one of two nodes on this machine; what needs it is slow and needs the extra ``ray``.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import LONGEST, SHORTEST, fail, prepare, refuse
from media_samples import everything
from running import Result, finished

from benchmarks.speed import family
from fvdeblur.errors import InputError, UsageError

Run = Callable[..., Result]
Begin = Callable[..., subprocess.Popen[str]]

OPTIONS = ("--preset", "ultrafast", "--progress", "jsonl", "--json")


def test_without_ray(
    fvdeblur: Run, short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    target = tmp_path / "out" / "a.mp4"
    for address in ([], ["127.0.0.1:6379"]):
        result = fvdeblur("run", short_clip, "-o", target, "--ray", *address)
        result.failed(2, 'work on a Ray cluster needs the package ray: pip install "fvdeblur[ray]"')
    assert not target.exists()


def test_what_does_not_go_together(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    output = ("-o", tmp_path / "out.mp4")
    fvdeblur("run", "--ray", short_clip, *output).failed(2, "is no address", "behind the inputs")
    fvdeblur("run", short_clip, *output, "--ray", "--workers", "2").failed(2, "exclude each other")
    fvdeblur("run", short_clip, *output, "--ray", "--device", "cuda:1").failed(2, "--device cuda")
    assert not list(tmp_path.iterdir())


class TwoNodes:
    """A cluster of two nodes on this machine, of which the second can be lost and comes again."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._node = {"num_cpus": 1, "object_store_memory": 80 << 20}
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**self._node, "include_dashboard": False}
        )
        self._second: Any = None
        self.address: str = self._cluster.address
        self.complete()

    def complete(self) -> None:
        if self._second is None:
            self._second = self._cluster.add_node(**self._node)

    def lose_one(self) -> None:
        """By SIGKILL of all its processes, as when a machine loses power: else its work goes on for a while."""
        (raylet,) = self._second.all_processes["raylet"]
        for number in reversed(family(raylet.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def shut_down(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[TwoNodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # of the nodes
        patch.setenv("RAY_worker_niceness", "0")  # else they wait for whatever else this machine does
        nodes = TwoNodes()
        yield nodes
        nodes.shut_down()


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> TwoNodes:
    two_nodes.complete()
    return two_nodes


PROGRAM = """
import signal, sys
from functools import partial
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {here!r})
import cluster_jobs
import fvdeblur.cli.progress as progress
import fvdeblur.restoration.batch as batch
progress.JSON_INTERVAL = 0.0  # however short the work is
batch._prepare_on_node = partial(cluster_jobs.prepare_small, Path({models!r}), Path("gate").absolute())
from fvdeblur.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def begin(small_models: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in the test's folder; the nodes use the small model, and wait half-way for `gate`."""

    def launch(*arguments: object) -> subprocess.Popen[str]:
        program = PROGRAM.format(here=str(Path(__file__).parent), models=str(small_models))
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return launch


def wait_for_segments(process: subprocess.Popen[str], out: Path, names: str) -> None:
    """Until that many inputs have a segment done, and none of them is whole."""
    until = time.monotonic() + 500
    while not all((out / f"{name}.mp4.partial" / "000000.json").exists() for name in names):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not any((out / f"{name}.mp4").exists() for name in names)


def by_input(result: Result) -> dict[str, dict[str, Any]]:
    """Of the summary, what does not depend on how the work was shared."""
    own = ("seconds", "reused", "output")
    return {
        entry["input"]: {key: value for key, value in entry.items() if key not in own}
        for entry in json.loads(result.out)["inputs"]
    }


@pytest.mark.slow
def test_a_node_is_lost_and_all_is_done(
    cluster: TwoNodes,
    begin: Begin,
    fvdeblur: Run,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both nodes have kept a segment of a clip when one is killed; the other takes its clip up."""
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "in" / "d.mp4").write_text("no video")
    process = begin("run", "in", "-o", "out", *OPTIONS, "--ray", cluster.address)
    wait_for_segments(process, tmp_path / "out", "ab")
    cluster.lose_one()
    (tmp_path / "gate").touch()
    shared = finished(process, timeout=900)
    monkeypatch.setattr("fvdeblur.restoration.resuming.LONGEST", LONGEST)
    monkeypatch.setattr("fvdeblur.restoration.resuming.SHORTEST", SHORTEST)
    monkeypatch.chdir(tmp_path)
    alone = fvdeblur("run", "in", "-o", "alone", *OPTIONS, "--threads", "1")

    assert shared.code == alone.code == 1, shared.err
    entries = {entry["input"]: entry for entry in json.loads(shared.out)["inputs"]}
    assert entries, shared.err
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "in/a.mp4": "done",
        "in/b.mp4": "done",
        "in/c.mp4": "done",
        "in/d.mp4": "failed",
    }
    assert sorted(entry.get("reused", 0) > 0 for entry in entries.values()) == [False, False, False, True]
    assert by_input(shared) == by_input(alone)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.mp4", "b.mp4", "c.mp4"}
    for name in "abc":
        assert everything(tmp_path / "out" / f"{name}.mp4") == everything(tmp_path / "alone" / f"{name}.mp4")

    said = shared.err.splitlines()
    events = [json.loads(line) for line in said if line.startswith("{")]
    rest = [line for line in said if line and not line.startswith("{")]
    assert [line for line in rest if not line.startswith("fvdeblur: in/d.mp4: ")] == [
        "fvdeblur: 1 of 4 inputs failed"
    ]
    told = {event["input"] for event in events if event["event"] == "progress"}
    assert told == {"in/a.mp4", "in/b.mp4", "in/c.mp4"}
    assert sum(event["event"] == "ended" for event in events) == 4


@pytest.mark.slow
def test_an_interrupt_keeps_the_work(cluster: TwoNodes, begin: Begin, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.mp4").write_bytes(clip.read_bytes())
    command = ("run", "in", "-o", "out", "--preset", "ultrafast", "--ray", cluster.address)
    process = begin(*command)
    out = tmp_path / "out"
    wait_for_segments(process, out, "ab")
    process.send_signal(signal.SIGINT)
    time.sleep(2)  # else the rest may be done before the interrupt gets there
    (tmp_path / "gate").touch()
    result = finished(process, timeout=120)
    assert result.code == 130
    assert [line for line in result.err.splitlines() if line] == [
        "fvdeblur: interrupted; 0 of 2 inputs had ended, the work so far on 2 of the others is kept; "
        "the same command with --skip-existing goes on with the rest"
    ]
    assert {path.name for path in out.iterdir()} == {"a.mp4.partial", "b.mp4.partial"}
    for folder in out.iterdir():  # what was half done has been put away
        packets = sorted(path.stem for path in folder.glob("*.packets"))
        assert packets == sorted(path.stem for path in folder.glob("0*.json"))
    done = finished(begin(*command, "--skip-existing"), timeout=900)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("taken up: ") == 2


@pytest.mark.slow
def test_a_cluster_that_is_not_there(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    result = fvdeblur("run", short_clip, "-o", tmp_path / "out.mp4", "--ray", "127.0.0.1:9")
    result.failed(2, "no Ray cluster can be reached at 127.0.0.1:9", "ray start --head")


@pytest.fixture
def connected(cluster: TwoNodes) -> Iterator[None]:
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("connected")
def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    from fvdeblur.cluster import run_on_cluster

    kinds = ["well", "killed once", "full once", "full always", "killed always", "unreadable"]
    jobs = [(kind, tmp_path / kind) for kind in kinds]
    seen: list[tuple[str, int]] = []
    outcomes = {outcome.job[0]: outcome for outcome in run_on_cluster(prepare, jobs, "auto", seen.append)}
    assert set(outcomes) == set(kinds)
    assert {kind: outcomes[kind].result for kind in kinds[:3]} == {
        "well": (1, 1),
        "killed once": (2, 2),
        "full once": (2, 2),
    }
    begun = {kind: (tmp_path / kind).read_text().count("begun") for kind in kinds}
    assert begun == dict(zip(kinds, (1, 2, 2, 4, 4, 1), strict=True))
    errors = {kind: str(outcomes[kind].error) for kind in kinds[3:]}
    assert errors["full always"] == "out.mp4: cannot be written (the disk is full)"
    assert "was lost 4 times" in errors["killed always"]
    assert errors["unreadable"] == "in.mp4: is not a video"
    assert isinstance(outcomes["unreadable"].error, InputError)
    assert {name for name, _ in seen} <= set(kinds)


@pytest.mark.slow
@pytest.mark.usefixtures("connected")
def test_closing_lets_jobs_put_away_what_they_are_at(tmp_path: Path) -> None:
    from fvdeblur.cluster import run_on_cluster

    file = tmp_path / "waits"
    with closing(
        run_on_cluster(prepare, [("well", tmp_path / "well"), ("waits", file)], "auto", print)
    ) as run:
        next(run)
        until = time.monotonic() + 120
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
    assert file.read_text() == "put away\n"


@pytest.mark.slow
@pytest.mark.usefixtures("connected")
def test_what_nodes_cannot_prepare(tmp_path: Path) -> None:
    """A wrong request ends the batch; anything else may be the one node's fault and ends the job."""
    from fvdeblur.cluster import run_on_cluster

    jobs = [("well", tmp_path / "well")]
    with pytest.raises(UsageError, match="no model 'nonsense'"):
        next(run_on_cluster(refuse, jobs, "auto", print))
    outcome = next(run_on_cluster(fail, jobs, "auto", print))
    assert (
        str(outcome.error) == f"node {platform.node()}: weights.safetensors: is damaged; reinstall fvdeblur"
    )
    with pytest.raises(UsageError, match="no node of the Ray cluster has so many processors, the largest 1"):
        next(run_on_cluster(prepare, jobs, "auto", print, processors=2))
    assert not list(tmp_path.iterdir())
