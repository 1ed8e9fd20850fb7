"""The training loop: it learns, resumes exactly, averages its weights and survives bad steps and broken files."""

import dataclasses
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from guide_material import write_regressor
from safetensors.torch import load_file, save_file

from fvdeblur import networks
from fvdeblur.datasets import Segment, load_stills, synthesise
from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.networks import window_table
from fvdeblur.training import TrainConfig, checkpoints, losses, train, trainer
from fvdeblur.training.guides import Guide
from fvdeblur.training.loop import learning_rate

State = dict[str, Any]


def quiet(_: str) -> None:
    pass


def checkpoint(folder: Path) -> State:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def log(folder: Path) -> list[dict[str, Any]]:
    """Lines of the log without the times."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds_a_step"} for line in lines]


def assert_equal(first: Any, second: Any) -> None:
    """Bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        assert first == second


def initial_weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(config.seed)
    return networks.create(config.network, **config.network_options).state_dict()


def test_the_rate_rises_and_falls() -> None:
    config = TrainConfig(steps=110, warmup=10, learning_rate=1e-3, final_learning_rate=1e-5)
    rates = [learning_rate(config, step) for step in range(111)]
    assert rates[:10] == pytest.approx([1e-4 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(1e-3)
    assert rates[60] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[35] == pytest.approx(1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[110] == pytest.approx(1e-5)
    assert learning_rate(config, 500) == pytest.approx(1e-5)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(dataclasses.replace(config, warmup=0), 0) == pytest.approx(1e-3)


def test_the_rate_falls_in_steps() -> None:
    config = TrainConfig(schedule="steps", decay_steps=20, steps=110, warmup=10, learning_rate=1e-3)
    rates = [learning_rate(config, step) for step in range(110)]
    assert rates[:10] == pytest.approx([1e-4 * (i + 1) for i in range(10)])
    assert rates[10:20] == pytest.approx([1e-3] * 10)
    assert rates[20:40] == pytest.approx([3e-4] * 20)
    assert rates[40:60] == pytest.approx([9e-5] * 20)
    assert rates[100:] == pytest.approx([1e-3 * 0.3**5] * 10)


def test_the_rate_is_halved() -> None:
    config = TrainConfig(schedule="steps", decay=0.5, decay_steps=15_000, warmup=0, learning_rate=3e-4)
    rates = [learning_rate(config, step) for step in (0, 14_999, 15_000, 30_000, 69_999)]
    assert rates == pytest.approx([3e-4, 3e-4, 1.5e-4, 0.75e-4, 3e-4 / 16])


OPTIMISERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, betas=(0.9, 0.999)),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9),
}
MAIN = {
    "euclidean": lambda d: d.flatten(1).norm(dim=1).mean(),
    "huber": lambda d: torch.where((255 * d).abs() > 1, (255 * d).abs() - 0.5, (255 * d) ** 2 / 2).mean(),
}


@pytest.mark.parametrize(("name", "loss"), [("adam", "euclidean"), ("sgd", "huber")])
def test_the_papers_optimisers_are_torchs_own(
    config: TrainConfig, tmp_path: Path, name: str, loss: str
) -> None:
    """The same steps as torch's own on the same batches, with the papers' losses."""
    config = dataclasses.replace(
        config,
        **{"optimiser": name, "loss": loss, "frequency_weight": 0.0, "log_error_weight": 0.0},
        **{"weight_decay": 0.0, "gradient_clip": math.inf, "schedule": "steps", "decay_steps": 3},
        **{"steps": 5, "warmup": 0, "learning_rate": 1e-3, "stills_share": 1.0},
    )
    train(config, tmp_path, report=quiet)
    torch.manual_seed(config.seed)
    network = networks.create(config.network, **config.network_options)
    network = network.to(memory_format=torch.channels_last)
    optimiser = OPTIMISERS[name](network.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 3, 0.3)
    segments = trainer.Segments(config, [], load_stills(config.data), "cpu")
    pool = trainer.Pool(segments, config, window_table(config.blur.length, 5), 0)
    for step in range(5):
        windows, sharp, _ = pool.batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            change = network(windows.contiguous(memory_format=torch.channels_last))
        optimiser.zero_grad()
        MAIN[loss](windows[:, 6:9] + change.float() - sharp).backward()
        optimiser.step()
        schedule.step()
    start, trained = initial_weights(config), checkpoint(tmp_path)["network"]
    for key, value in network.state_dict().items():
        moved, apart = ((other - value).norm() for other in (start[key], trained[key]))
        assert apart <= 0.05 * moved


def test_another_optimiser_does_not_go_on(config: TrainConfig, tmp_path: Path) -> None:
    for first, second in (("adam", "muon"), ("muon", "sgd"), ("sgd", "adam")):
        run = tmp_path / first
        train(dataclasses.replace(config, optimiser=first), run, max_minutes=0.0, report=quiet)
        with pytest.raises(UsageError, match=r"checkpoint\.pt: belongs to another optimiser"):
            train(dataclasses.replace(config, optimiser=second), run, report=quiet)
        assert train(dataclasses.replace(config, optimiser=first, steps=2), run, report=quiet)["step"] == 2


class Truth(Guide):
    """Tells the sharp central frames as faces; the last of ``made`` is the segment that was blurred last."""

    made: ClassVar[list[Segment]] = []

    def of(self, blurred: torch.Tensor, windows: np.ndarray) -> dict[str, torch.Tensor]:
        segment = self.made[-1]
        assert torch.equal(segment.blurred, blurred)
        truth = segment.sharp[windows[:, windows.shape[1] // 2]]
        return {"prior": torch.cat([truth, torch.full_like(truth[:, :1], 255)], dim=1)}


@pytest.mark.parametrize("name", ["fvd", "ren2019"])
def test_a_face_that_shows_the_truth_is_learned_from(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def remembered(*given: Any, **options: Any) -> Segment:
        Truth.made.append(synthesise(*given, **options))
        return Truth.made[-1]

    for module in ("pool", "trainer"):
        monkeypatch.setattr(f"fvdeblur.training.{module}.synthesise", remembered)
    monkeypatch.setattr(trainer, "Guide", Truth)
    options = config.network_options if name == "fvd" else {"width": 8, "identity_size": 0}
    config = dataclasses.replace(
        config,
        **{"network": name, "network_options": {**options, "prior_channels": 4}},
        **{"stills_share": 1.0, "steps": 60, "batch": 4, "patches_per_segment": 10**6, "log_every": 30},
        learning_rate=2e-2 if name == "fvd" else 2e-3,
    )
    told, untold = (
        train(dataclasses.replace(config, prior_dropout=dropout), tmp_path / str(dropout), report=quiet)
        for dropout in (0.0, 1.0)
    )
    assert told["blurred_db"] == untold["blurred_db"]
    assert told["loss"] < untold["loss"]
    assert told["gain_db"] > untold["gain_db"] + 0.8
    assert cv2.imread(str(tmp_path / "0.0" / "sample.png")).shape == (4 * 48, 3 * 48, 3)


def test_training_restores(config: TrainConfig, tmp_path: Path) -> None:
    motion = dataclasses.replace(
        config.blur, exposure=(2.0, 3.0), speed=(2.0, 3.0), sharp_share=0.0, noise=0.0, compression_share=0.0
    )
    config = dataclasses.replace(
        config,
        blur=motion,
        stills_share=1.0,
        patches_per_segment=10**6,
        steps=60,
        batch=4,
        learning_rate=8e-3,
        log_every=20,
        ema=0.8,
    )
    figures = train(config, tmp_path, report=quiet)
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert {key: value for key, value in figures.items() if key != "seconds_a_step"} == lines[-1]
    gains = [line["gain_db"] for line in lines]
    assert gains[0] + 0.2 < gains[1] + 0.1 < gains[2]
    assert gains[2] > 0.3
    for line in lines:
        assert line["gain_db"] == pytest.approx(line["restored_db"] - line["blurred_db"], abs=2e-3)
        assert line["skipped"] == 0

    # on the very patches that the first steps saw, the averaged weights now do better than none
    network = networks.create(config.network, **config.network_options)
    network.load_state_dict(
        {name: v.float() for name, v in load_file(tmp_path / "weights.safetensors").items()}
    )
    segments = trainer.Segments(config, [], load_stills(config.data), "cpu")
    windows, sharp, _ = trainer.Pool(segments, config, window_table(config.blur.length, 5), 0).batch(0)
    with torch.no_grad():
        restored = windows[:, 6:9] + network(windows)
    for loss in (losses.charbonnier, losses.frequency, losses.log_error):
        assert loss(restored, sharp) < loss(windows[:, 6:9], sharp)


@pytest.mark.parametrize(
    ("workers", "changes"), [(0, {}), (1, {"takes_flow": True, "prior_channels": 7, "identity_size": 80})]
)
def test_an_interrupted_run_goes_on_exactly(
    config: TrainConfig, tmp_path: Path, workers: int, changes: dict[str, Any]
) -> None:
    options = {**config.network_options, **changes}
    protocols = {"gaussian": 0.3, "sharp": 0.2}
    regressor = str(write_regressor(tmp_path / "regressor.safetensors"))
    config = dataclasses.replace(
        config, workers=workers, network_options=options, protocols=protocols, regressor=regressor
    )
    train(config, tmp_path / "whole", report=quiet)

    def interrupt(line: str) -> None:
        if '"step": 9' in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "halves", report=interrupt)
    assert checkpoint(tmp_path / "halves")["step"] == 6
    assert [line["step"] for line in log(tmp_path / "halves")] == [3, 6, 9]
    with (tmp_path / "halves" / "log.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')  # cut off in the middle
    train(config, tmp_path / "halves", report=quiet)

    assert_equal(checkpoint(tmp_path / "halves"), checkpoint(tmp_path / "whole"))
    assert log(tmp_path / "halves") == log(tmp_path / "whole")
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("halves", "whole")]
    assert files[0] == files[1]


def test_a_time_limit_stops_with_a_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    figures = train(config, tmp_path, max_minutes=0.0, report=quiet)
    assert figures["step"] == checkpoint(tmp_path)["step"] == 1
    assert train(config, tmp_path, report=quiet)["step"] == 12
    assert train(config, tmp_path, report=quiet) == {}  # nothing left to do


def test_the_files_of_a_run(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run", report=quiet)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    written = {"checkpoint.pt", "weights.safetensors", "log.jsonl", "validation.jsonl"}
    assert names == written | {"log.png", "sample.png"}
    assert [line["step"] for line in log(tmp_path / "run")] == [3, 6, 9, 12]
    assert set(log(tmp_path / "run")[0]) == {
        *("step", "loss", "blurred_db", "restored_db", "gain_db", "learning_rate", "skipped")
    }
    state = checkpoint(tmp_path / "run")
    assert json.loads(state["config"])["data"] == config.data
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert weights.keys() == state["average"].keys()
    for name, value in weights.items():
        assert value.dtype == torch.float16
        torch.testing.assert_close(value.float(), state["average"][name], atol=1e-4, rtol=1e-3)
    sample = cv2.imread(str(tmp_path / "run" / "sample.png"))
    assert sample.shape == (4 * 48, 3 * 48, 3)
    blurred, restored, sharp = (sample[:, 48 * i : 48 * i + 48].astype(int) for i in range(3))
    assert np.abs(blurred - sharp).mean() > 3
    assert 0 < np.abs(restored - blurred).mean() < np.abs(blurred - sharp).mean()
    assert sharp.std() > 20


def test_the_average_of_the_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, steps=5, save_every=1, ema=0.3)
    saved: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []

    def keep(_: Any, __: Any, network: torch.nn.Module, average: State, *___: Any) -> None:
        copies = [{name: value.clone() for name, value in d.items()} for d in (network.state_dict(), average)]
        saved.append((copies[0], copies[1]))

    monkeypatch.setattr(checkpoints, "save", keep)
    train(config, tmp_path, report=quiet)
    expected = {name: value.double() for name, value in initial_weights(config).items()}
    for step, (weights, average) in enumerate(saved, 1):
        decay = min(0.3, (1 + step) / (10 + step))  # 2/11, 3/12, then 0.3
        for name, value in weights.items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
            torch.testing.assert_close(average[name].double(), expected[name], atol=1e-6, rtol=1e-5)
    assert len(saved) == 5
    assert not torch.equal(saved[-1][0]["tail.weight"], saved[-1][1]["tail.weight"])


def test_a_failed_write_leaves_the_last_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.save

    def full(state: State, path: Path) -> None:
        if state["step"] == 12:
            Path(path).write_bytes(b"only the beginning")
            raise OSError(28, "No space left on device")
        real(state, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        train(config, tmp_path, report=quiet)
    assert checkpoint(tmp_path)["step"] == 6
    monkeypatch.undo()
    assert train(config, tmp_path, report=quiet)["step"] == 12
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = dataclasses.replace(config, steps=4, log_every=1, save_every=2)
    real, calls = losses.log_error, []

    def poisoned(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        if len(calls) not in (2, 3):
            return real(restored, sharp)
        # the root of nothing: a loss of zero whose gradient is not a number
        return restored.sum() * math.nan if kind == "loss" else (0 * restored).sqrt().sum()

    monkeypatch.setattr(losses, "log_error", poisoned)
    states = []
    save = checkpoints.save
    monkeypatch.setattr(
        checkpoints, "save", lambda *given: (save(*given), states.append(checkpoint(tmp_path)))
    )
    train(config, tmp_path, report=quiet)
    lines = log(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 1, 1, 0]
    assert [line["loss"] is None for line in lines] == [False, True, True, False]
    assert [line["gain_db"] is None for line in lines] == [False, True, True, False]
    assert [state["step"] for state in states] == [2, 4]
    for value in [*states[1]["network"].values(), *states[1]["average"].values()]:
        assert torch.isfinite(value).all()

    # step 2 left everything as step 1 made it
    monkeypatch.undo()
    train(dataclasses.replace(config, save_every=1), tmp_path / "one", max_minutes=0.0, report=quiet)
    first = checkpoint(tmp_path / "one")
    for part in ("network", "average", "optimiser"):
        ours, theirs = ({**state[part]} for state in (states[0], first))
        if part == "optimiser":  # the rate of a skipped step is set, but not used
            ours, theirs = ({key: half["state"] for key, half in state.items()} for state in (ours, theirs))
        assert_equal(ours, theirs)


def test_skipped_steps_stay_out_of_the_means(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def poisoned(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return restored.sum() * (math.inf if len(calls) == 2 else 0)

    monkeypatch.setattr(losses, "log_error", poisoned)
    train(dataclasses.replace(config, steps=3), tmp_path, report=quiet)
    (line,) = log(tmp_path)
    assert line["skipped"] == 1
    assert 0 < line["loss"] < 1
    assert 10 < line["blurred_db"] < 60


def test_initial_weights(config: TrainConfig, tmp_path: Path) -> None:
    torch.manual_seed(5)
    weights = networks.create(config.network, **config.network_options).state_dict()
    save_file({name: value.half() for name, value in weights.items()}, tmp_path / "initial.safetensors")
    still = dataclasses.replace(config, steps=1, learning_rate=0.0, final_learning_rate=0.0)
    train(still, tmp_path / "run", initial=tmp_path / "initial.safetensors", report=quiet)
    for name, value in load_file(tmp_path / "run" / "weights.safetensors").items():
        assert torch.equal(value, weights[name].half())
    # a checkpoint goes before them
    (tmp_path / "initial.safetensors").unlink()
    assert train(still, tmp_path / "run", initial=tmp_path / "initial.safetensors", report=quiet) == {}


def test_a_network_that_takes_flow_goes_on_from_one_that_does_not(
    config: TrainConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    weights = networks.create(config.network, **config.network_options).state_dict()
    save_file(weights, tmp_path / "initial.safetensors")
    with_flow = dataclasses.replace(config, network_options={**config.network_options, "takes_flow": True})
    still = dataclasses.replace(with_flow, steps=1, learning_rate=0.0, final_learning_rate=0.0)
    train(still, tmp_path / "run", initial=tmp_path / "initial.safetensors", report=quiet)
    kept = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.equal(kept[name], value.half()) for name, value in weights.items())
    assert not kept["flow_head.weight"].any()
    # what the network does not begin at zero may not be missing
    save_file({name: v for name, v in weights.items() if "head" not in name}, tmp_path / "less.safetensors")
    with pytest.raises(UsageError, match=r"do not fit the network \(without head\.weight"):
        train(still, tmp_path / "other", initial=tmp_path / "less.safetensors", report=quiet)

    train(dataclasses.replace(with_flow, validate_every=6), tmp_path / "run", report=quiet)
    assert load_file(tmp_path / "run" / "weights.safetensors")["flow_head.weight"].any()
    picture = cv2.imread(str(tmp_path / "run" / "sample.png"))
    assert picture.shape == (4 * 48, 3 * 48, 3)


def test_initial_weights_that_do_not_fit(config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "initial.safetensors"
    expected = r"initial\.safetensors: these weights do not fit the network \("
    with pytest.raises(UsageError, match=expected + ".*No such file"):
        train(config, tmp_path / "run", initial=path, report=quiet)
    path.write_bytes(b"no weights")
    with pytest.raises(UsageError, match=expected):
        train(config, tmp_path / "run", initial=path, report=quiet)
    save_file({"head.weight": torch.zeros(2)}, path)
    with pytest.raises(UsageError, match=expected) as caught:
        train(config, tmp_path / "run", initial=path, report=quiet)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_does_not_fit(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path, max_minutes=0.0, report=quiet)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    other = {"widths": [8, 8], "encoder_blocks": [1, 1], "decoder_blocks": [1]}
    with pytest.raises(UsageError, match=r"checkpoint\.pt: belongs to another network"):
        train(dataclasses.replace(config, network_options=other), tmp_path, report=quiet)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    for content in (b"", b"no checkpoint", before[: len(before) // 2]):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint\.pt: is no readable checkpoint") as caught:
            train(config, tmp_path, report=quiet)
        assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_named(config: TrainConfig, tmp_path: Path) -> None:
    for device in ("gpu", "meta", "cuda:99"):
        with pytest.raises(UsageError, match=device):
            train(config, tmp_path, device=device, report=quiet)
    guided = {**config.network_options, "prior_channels": 4}
    missing = dataclasses.replace(
        config, network_options=guided, regressor=str(tmp_path / "none.safetensors")
    )
    with pytest.raises(InputError, match=r"none\.safetensors: no weights of the regressor"):
        train(missing, tmp_path / "run", report=quiet)
    other = {**config.network_options, "identity_size": 7}
    with pytest.raises(UsageError, match="identity_size must be 0 or 80 to be trained, got 7"):
        train(dataclasses.replace(config, network_options=other), tmp_path / "run", report=quiet)
    with pytest.raises(UsageError, match=r"patch \(30\) must be a multiple of 4"):
        train(dataclasses.replace(config, patch=30), tmp_path, report=quiet)
    with pytest.raises(UsageError, match=r"clips\.tsv"):
        train(dataclasses.replace(config, data=str(tmp_path)), tmp_path, report=quiet)
    (tmp_path / "clips.tsv").write_text("file\tidentity\tfps\n")
    with pytest.raises(UsageError, match="no training material"):
        train(dataclasses.replace(config, data=str(tmp_path), stills_share=0), tmp_path, report=quiet)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: the folder cannot be made"):
        train(config, tmp_path / "file", report=quiet)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_kind_of_material_is_enough(config: TrainConfig, tmp_path: Path, share: float) -> None:
    wanted = "portraits" if share else "clips"
    (tmp_path / wanted).symlink_to(Path(config.data) / wanted)
    (tmp_path / f"{wanted}.tsv").symlink_to(Path(config.data) / f"{wanted}.tsv")
    config = dataclasses.replace(config, data=str(tmp_path), stills_share=share, steps=1)
    assert train(config, tmp_path / "run", report=quiet)["step"] == 1
    assert (tmp_path / "run" / "sample.png").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, steps=3, log_every=1, save_every=3)
    figures = train(config, tmp_path, device="cuda", report=quiet)
    assert figures["step"] == 3
    assert [line["skipped"] for line in log(tmp_path)] == [0, 0, 0]
    assert all(math.isfinite(line["loss"]) for line in log(tmp_path))
    assert (tmp_path / "sample.png").exists()
    before = initial_weights(config)
    state = checkpoint(tmp_path)
    assert any(not torch.equal(value.cpu(), before[name]) for name, value in state["network"].items())
    # the checkpoint goes on, on the GPU with a worker and then on a CPU
    longer = dataclasses.replace(config, steps=4, workers=1)
    assert train(longer, tmp_path, device="cuda", report=quiet)["step"] == 4
    assert train(dataclasses.replace(config, steps=5), tmp_path, device="cpu", report=quiet)["step"] == 5
