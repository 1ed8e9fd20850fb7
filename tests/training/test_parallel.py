"""Several processes: one batch shared out, one network."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fvdeblur.errors import UsageError
from fvdeblur.training import TrainConfig, train
from fvdeblur.training.parallel import Processes, join

SCRIPT = """
import json, sys
import torch
torch.set_num_threads(1)
from fvdeblur.datasets import BlurSettings
from fvdeblur.training import TrainConfig, train
values = json.loads(sys.argv[1])
blur = BlurSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.pop("blur").items()})
said = []
train(TrainConfig(**values, blur=blur), sys.argv[2], report=said.append)
print(len(said))
"""

AVERAGE = """
import os, sys
import torch
from fvdeblur.training.parallel import join
processes = join("cpu")
parameter = torch.nn.Parameter(torch.zeros(2, 3))
other = torch.nn.Parameter(torch.zeros(2))
parameter.grad = torch.full((2, 3), 1.0 + processes.rank)
(loss,) = processes.average([parameter, other], torch.tensor(4.0 * processes.rank))
assert other.grad is None
values = [torch.full((1, 2), 3.0 * processes.rank), torch.tensor(float(processes.rank))]
processes.agree(values)
processes.agree([])
print(parameter.grad.flatten().tolist(), float(loss), processes.leads)
print([value.tolist() for value in values])
processes.leave()
"""


def start_two(script: str, *arguments: str) -> list[str]:
    """Run a script as torchrun would, in two processes; what each of them printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = []
    for process in started:
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        printed.append(out.strip())
    return printed


def test_gradients_and_figures_are_averaged() -> None:
    assert start_two(AVERAGE) == [
        "[1.5, 1.5, 1.5, 1.5, 1.5, 1.5] 2.0 True\n[[[1.5, 1.5]], 0.5]",
        "[1.5, 1.5, 1.5, 1.5, 1.5, 1.5] 2.0 False\n[[[1.5, 1.5]], 0.5]",
    ]


def test_two_processes_train_one_network(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, steps=4, log_every=2, save_every=2, stills_share=0.0)
    values = json.dumps(dataclasses.asdict(config))
    spoken = start_two(SCRIPT, values, str(tmp_path / "two"))
    assert int(spoken[0]) >= 3  # material, and two lines of the log
    assert spoken[1] == "0"
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    train(config, tmp_path / "one", report=lambda _: None)
    both = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two")]
    assert both[0]["step"] == both[1]["step"] == 4
    # the same network at first, moved by other patches
    heads = [state["network"]["head.weight"].double() for state in both]
    assert not torch.equal(*heads)
    assert torch.dist(*heads) < 0.1 * torch.linalg.norm(heads[0])


def test_one_process_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    processes = join("cpu")
    assert processes == Processes(0, 1, "cpu")
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    (figure,) = processes.average([parameter], torch.tensor(3.0))
    assert float(figure) == 3
    assert parameter.grad.tolist() == [1, 1]
    value = torch.tensor([2.0])
    processes.agree([value])
    assert value.tolist() == [2]
    processes.wait()
    processes.leave()


def test_what_processes_cannot_share_is_named(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="'cuda:0' is one device, but 2 processes"):
        train(config, tmp_path, device="cuda:0", report=print)
    monkeypatch.setattr("fvdeblur.training.loop.join", lambda _: Processes(0, 3, "cpu"))
    with pytest.raises(UsageError, match=r"batch \(2\) must be a multiple of the 3 processes"):
        train(config, tmp_path, report=print)
