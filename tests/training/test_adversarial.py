"""The prior loss and the game against the discriminator: their gradients, that they are learnt from, exact resuming."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from recognition_material import write_recogniser
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.errors import InputError, UsageError
from fvdeblur.networks import DFPGnet
from fvdeblur.networks.recognition import open_recogniser
from fvdeblur.training import TrainConfig, losses, train
from fvdeblur.training.adversarial import FeaturePrior, make_discriminator, prior_loss

SMALL = {"widths": [8, 8, 8], "features": [64, 64, 128], "blocks": 1, "prior_blocks": 1}


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recogniser(tmp_path_factory.mktemp("recogniser") / "mobile.safetensors")


@pytest.fixture
def game(config: TrainConfig, recogniser: Path) -> TrainConfig:
    return dataclasses.replace(
        config,
        **{"network": "dfpgnet", "network_options": SMALL, "loss": "absolute", "recogniser": str(recogniser)},
        **{"frequency_weight": 0.0, "log_error_weight": 0.0, "prior_weight": 1.0, "adversarial_weight": 0.05},
        **{"optimiser": "adam", "learning_rate": 2e-3, "discriminator_learning_rate": 1e-3},
        **{"stills_share": 1.0, "gradient_clip": 5.0},
    )


@pytest.fixture(scope="module")
def faces() -> tuple[Tensor, Tensor]:
    """Blurred and sharp, float [2, 3, 32, 32], 0..1."""
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    sharp = torch.stack([photograph[:, 90:122, 190:222], photograph[:, 130:162, 200:232]])
    return nn.functional.avg_pool2d(sharp, (1, 7), 1, (0, 3)), sharp


def quiet(_: str) -> None:
    pass


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds_a_step"} for line in lines]


def assert_equal(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def test_a_perceptual_loss_is_learnt_from(config: TrainConfig, recogniser: Path, tmp_path: Path) -> None:
    """Row B2: the same network without deep features of its own; the loss falls where it alone is learnt from."""
    settings = dataclasses.replace(
        config,
        **{"network": "dfpgnet", "network_options": {**SMALL, "features": []}, "loss": "absolute"},
        **{"recogniser": str(recogniser), "perceptual_weight": 0.1, "steps": 1, "log_every": 1},
        **{"stills_share": 1.0, "frequency_weight": 0.0, "log_error_weight": 0.0},
    )
    train(settings, tmp_path / "with", report=quiet)
    train(dataclasses.replace(settings, perceptual_weight=0.0), tmp_path / "without", report=quiet)
    [one], [other] = log(tmp_path / "with"), log(tmp_path / "without")
    assert "perceptual_loss" not in other
    assert one["loss"] == pytest.approx(other["loss"] + 0.1 * one["perceptual_loss"], rel=2e-3)
    assert one["perceptual_loss"] > 0.01
    assert not torch.equal(
        *(checkpoint(tmp_path / name)["network"]["tail.weight"] for name in ("with", "without"))
    )


def test_perceptual_gradients_reach_the_picture_alone(recogniser: Path, faces: tuple[Tensor, Tensor]) -> None:
    network = open_recogniser(recogniser)
    restored = faces[0].clone().requires_grad_()
    with torch.no_grad():
        true = network(faces[1])
    before = losses.perceptual(network(restored), true)
    [gradient] = torch.autograd.grad(before, [restored])
    after = losses.perceptual(network(restored - gradient * 1e-3 / gradient.abs().max()), true)
    assert after < before
    assert losses.perceptual(true, true) == 0
    assert all(not value.requires_grad for value in network.parameters())


def test_the_prior_loss_is_of_normalised_features() -> None:
    """Equation (9) with means over the positions, in NumPy."""
    rng = np.random.default_rng(0)
    pairs = [rng.normal(size=(2, 2, c, 6, 5)).astype(np.float32) for c in (3, 7)]
    expected = 0.0
    for one, other in pairs:
        units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (one, other)]
        expected += np.mean(np.sum((units[0] - units[1]) ** 2, axis=1))
    estimated, true = ([torch.from_numpy(pair[i]) for pair in pairs] for i in (0, 1))
    assert prior_loss(estimated, true).item() == pytest.approx(expected, rel=1e-5)
    assert prior_loss([3 * part for part in true], true).item() == pytest.approx(0, abs=1e-6)
    assert prior_loss([-part for part in true], true).item() == pytest.approx(8, rel=1e-5)


def test_each_side_learns_from_its_own_losses(game: TrainConfig, faces: tuple[Tensor, Tensor]) -> None:
    """The gradients of one backward pass are those of equations (6) and (10), worked out one after the other."""
    torch.manual_seed(0)
    network = networks.create("dfpgnet", **SMALL)
    assert isinstance(network, DFPGnet)
    judge = make_discriminator(game, network)
    assert judge is not None
    prior = FeaturePrior(game, network, judge, "cpu")
    blurred, sharp = faces
    total, figures = prior.loss(network.estimate(blurred)[1], sharp)
    total.backward()
    ours = [
        {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        for net in (network, judge)
    ]

    true = open_recogniser(game.recogniser)(sharp)
    for net in (network, judge):
        net.zero_grad()
    estimated = network.estimate(blurred)[1]
    verdicts = [torch.sigmoid(judge(part)[1]) for part in (true, [each.detach() for each in estimated])]
    found = -torch.log(verdicts[0]).mean() - torch.log(1 - verdicts[1]).mean()
    found.backward()
    assert_close(ours[1], {name: p.grad for name, p in judge.named_parameters()})
    judge.requires_grad_(False)
    weighed, verdict = judge(estimated)
    adversarial = -torch.log(torch.sigmoid(verdict)).mean()
    difference = prior_loss(weighed, judge(true)[0])
    (difference + 0.05 * adversarial).backward()
    assert_close(ours[0], {name: p.grad for name, p in network.named_parameters() if p.grad is not None})

    assert total.item() == pytest.approx((difference + 0.05 * adversarial).item(), rel=2e-3)
    expected = {"prior_loss": difference, "adversarial_loss": adversarial, "discriminator_loss": found}
    assert {name: value.item() for name, value in figures.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-4
    )


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert any(value.any() for value in first.values())
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-5, rtol=1e-3)


def test_without_a_game_all_channels_weigh_the_same(game: TrainConfig, faces: tuple[Tensor, Tensor]) -> None:
    alone = dataclasses.replace(game, adversarial_weight=0.0, prior_weight=2.0)
    network = networks.create("dfpgnet", **SMALL)
    assert isinstance(network, DFPGnet)
    assert make_discriminator(alone, network) is None
    estimated = network.estimate(faces[0])[1]
    total, figures = FeaturePrior(alone, network, None, "cpu").loss(estimated, faces[1])
    plain = prior_loss(estimated, open_recogniser(game.recogniser)(faces[1]))
    torch.testing.assert_close(total, 2 * plain)
    assert figures.keys() == {"prior_loss"}


def test_attention_may_be_left_out(game: TrainConfig) -> None:
    """Row B5 of Table 4."""
    network = networks.create("dfpgnet", **SMALL)
    for attention in (True, False):
        judge = make_discriminator(dataclasses.replace(game, discriminator_attention=attention), network)
        assert judge is not None
        assert bool(list(judge.attention.parameters())) == attention


def test_both_sides_learn(game: TrainConfig, tmp_path: Path) -> None:
    """On real pixels: the network where it is the faster one, the discriminator where that is."""
    blur = dataclasses.replace(
        game.blur, exposure=(2.0, 3.0), speed=(2.0, 3.0), sharp_share=0.0, noise=0.0, compression_share=0.0
    )
    longer = dataclasses.replace(
        game, blur=blur, steps=30, batch=4, log_every=10, save_every=30, patches_per_segment=10**6
    )
    fast = dataclasses.replace(longer, learning_rate=4e-3, discriminator_learning_rate=1e-5)
    train(fast, tmp_path / "network", report=quiet)
    lines = log(tmp_path / "network")
    assert set(lines[0]) >= {"gain_db", "prior_loss", "adversarial_loss", "discriminator_loss"}
    for name in ("loss", "prior_loss"):
        assert lines[0][name] > lines[1][name] > lines[2][name], name
    assert lines[2]["gain_db"] > max(0.1, lines[0]["gain_db"])
    assert all(line["skipped"] == 0 for line in lines)

    slow = dataclasses.replace(longer, steps=20, learning_rate=1e-6, final_learning_rate=1e-6)
    train(dataclasses.replace(slow, discriminator_learning_rate=1e-3), tmp_path / "judge", report=quiet)
    lines = log(tmp_path / "judge")
    assert lines[1]["discriminator_loss"] < 0.7 * lines[0]["discriminator_loss"]
    assert lines[1]["adversarial_loss"] > lines[0]["adversarial_loss"]


def test_an_interrupted_game_goes_on_exactly(game: TrainConfig, tmp_path: Path) -> None:
    game = dataclasses.replace(game, steps=6, log_every=1, save_every=4)
    train(game, tmp_path / "whole", report=quiet)

    def interrupt(line: str) -> None:
        if '"step": 5' in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(game, tmp_path / "halves", report=interrupt)
    before = checkpoint(tmp_path / "halves")
    assert before["step"] == 4
    train(game, tmp_path / "halves", report=quiet)
    first, second = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "halves")
    assert_equal(first, second)
    assert log(tmp_path / "whole") == log(tmp_path / "halves")
    # the discriminator was trained on, by an optimiser of its own
    assert set(first["optimiser"]) == {"0", "1"}
    rates = [first["optimiser"][part]["param_groups"][0]["lr"] for part in ("0", "1")]
    assert rates[1] == pytest.approx(rates[0] / 2)
    moved = [
        not torch.equal(value, before["discriminator"][k]) for k, value in first["discriminator"].items()
    ]
    assert all(moved)


def test_a_discriminator_that_is_not_finite_stops_both_sides(
    game: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = dataclasses.replace(game, steps=2, log_every=1, save_every=1)
    train(game, tmp_path, max_minutes=0.0, report=quiet)
    first = checkpoint(tmp_path)
    real = FeaturePrior.loss

    def poisoned(self: FeaturePrior, *given: Any) -> tuple[Tensor, dict[str, Tensor]]:
        total, figures = real(self, *given)
        judge = self._discriminator
        assert judge is not None
        return total + (0 * judge.classifier.weight.sum()).sqrt(), figures  # zero, but with no gradient

    monkeypatch.setattr(FeaturePrior, "loss", poisoned)
    train(game, tmp_path, report=quiet)
    second = checkpoint(tmp_path)
    assert second["step"] == 2
    assert log(tmp_path)[-1]["skipped"] == 1
    for part in ("network", "average", "discriminator"):
        assert_equal(first[part], second[part])


def test_another_game_does_not_go_on(game: TrainConfig, tmp_path: Path) -> None:
    train(game, tmp_path, max_minutes=0.0, report=quiet)
    for changes in ({"adversarial_weight": 0.0}, {"discriminator_attention": False}):
        with pytest.raises(UsageError, match="belongs to another discriminator or to none"):
            train(dataclasses.replace(game, **changes), tmp_path, report=quiet)
    alone = dataclasses.replace(game, adversarial_weight=0.0)
    train(alone, tmp_path / "alone", max_minutes=0.0, report=quiet)
    with pytest.raises(UsageError, match="belongs to another discriminator or to none"):
        train(game, tmp_path / "alone", report=quiet)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        (
            {"network": "fvd", "network_options": {}},
            UsageError,
            "estimates deep features: dfpgnet .*, not fvd",
        ),
        ({"network_options": {**SMALL, "features": []}}, UsageError, "estimates deep features"),
        (
            {"network_options": {**SMALL, "features": [64, 128, 256]}},
            UsageError,
            r"mobile\.safetensors: has features of \[64, 64, 128\] channels",
        ),
        ({"recogniser": "nets/none.safetensors"}, InputError, r"material/nets/none\.safetensors: no weights"),
    ],
)
def test_what_does_not_fit_is_named(
    game: TrainConfig, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        train(dataclasses.replace(game, **changes), tmp_path, report=quiet)
    assert "\n" not in str(caught.value)
