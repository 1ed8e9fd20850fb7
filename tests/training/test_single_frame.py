"""Networks of single frames: trained by their recipes, resumed exactly, and used by the restorer."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch
from recognition_material import write_recogniser
from safetensors.torch import load_file

from fvdeblur import networks
from fvdeblur.media import FramePlanes
from fvdeblur.networks import WindowShape
from fvdeblur.restoration import Restorer, load_model
from fvdeblur.restoration.crops import blend, cut, plan_crop, soft_mask
from fvdeblur.training import TrainConfig, load_config, train
from fvdeblur.training.loop import learning_rate

MODELS = Path(__file__).parents[2] / "models"
RECIPES = [("chrysos2017", "train"), ("chrysos2017", "reference"), ("dfpgnet", "train")]


def quiet(_: str) -> None:
    pass


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def recipe(name: str, kind: str, material: Path, **changes: Any) -> TrainConfig:
    """A recipe of the models' folders, with its smaller material, pictures and batches."""
    config = load_config(MODELS / name / f"{kind}.toml", data=str(material))
    blur = dataclasses.replace(config.blur, size=48, length=3, strides=(1,), codec_share=0.0)
    small = {
        "patch": 32,
        "batch": 2,
        "pool": 2,
        "workers": 0,
        "log_every": 1,
        "validate_every": 0,
        "warmup": 0,
    }
    return dataclasses.replace(config, blur=blur, **{**small, **changes})


@pytest.mark.parametrize(("name", "kind"), RECIPES)
def test_a_recipe_trains_its_network(name: str, kind: str, material: Path, tmp_path: Path) -> None:
    recogniser = str(write_recogniser(tmp_path / "mobile.safetensors"))
    config = recipe(name, kind, material, steps=2, save_every=2, recogniser=recogniser)
    figures = train(config, tmp_path / "run", report=quiet)
    assert figures["step"] == 2
    assert figures["skipped"] == 0
    network = networks.create(config.network, **config.network_options)
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    torch.manual_seed(config.seed)
    fresh = networks.create(config.network, **config.network_options).state_dict()
    changed = [
        key
        for key, value in checkpoint(tmp_path / "run")["network"].items()
        if not torch.equal(value, fresh[key])
    ]
    assert len(changed) > 0.5 * len(fresh)
    assert cv2.imread(str(tmp_path / "run" / "sample.png")).shape == (4 * 48, 3 * 48, 3)


def test_the_reference_recipe_of_chrysos2017_is_the_papers() -> None:
    """Sections 3.2, 3.3 and 5.1."""
    config = load_config(MODELS / "chrysos2017" / "reference.toml", data="somewhere")
    assert (config.optimiser, config.loss, config.steps, config.batch) == ("sgd", "huber", 70_000, 16)
    assert (config.frequency_weight, config.log_error_weight) == (0, 0)
    assert config.protocols == {"gaussian": 0.5, "motion-kernel": 0.5}
    assert config.blur.strides == (2,)  # every second frame
    assert config.patches_per_segment == config.blur.length  # every frame about once
    expected = {0: 3e-4, 14_999: 3e-4, 15_000: 1.5e-4, 69_999: 3e-4 / 16}
    for step, rate in expected.items():
        assert learning_rate(config, step) == pytest.approx(rate)


def test_the_reference_recipe_of_dfpgnet_is_the_papers() -> None:
    """Sections 3.4 and 4.1."""
    config = load_config(MODELS / "dfpgnet" / "reference.toml", data="somewhere")
    assert (config.optimiser, config.loss) == ("adam", "absolute")
    assert (config.prior_weight, config.adversarial_weight) == (1.0, 0.05)
    assert (config.learning_rate, config.discriminator_learning_rate) == (1e-4, 1e-5)
    for epoch in (0, 1, 7):
        assert learning_rate(config, epoch * config.decay_steps) == pytest.approx(1e-4 * 0.99**epoch)
    network = networks.create(config.network, **config.network_options)
    assert network.features == (64, 128, 256)  # relu1_2, relu2_2 and relu3_3 of VGGFace
    assert config.patch % WindowShape.of(network).multiple == 0


def test_moving_statistics_are_resumed_and_left_alone_by_pictures(material: Path, tmp_path: Path) -> None:
    config = recipe("chrysos2017", "reference", material, steps=3, save_every=2)
    train(config, tmp_path / "whole", report=quiet)

    def interrupt(line: str) -> None:
        if '"step": 3' in line:
            raise KeyboardInterrupt

    # one that is validated after every step too
    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(config, validate_every=1), tmp_path / "halves", report=interrupt)
    train(config, tmp_path / "halves", report=quiet)
    first, second = (checkpoint(tmp_path / name) for name in ("whole", "halves"))
    for part in ("network", "average"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(value, second[part][key]) for key, value in first[part].items())
        assert not torch.equal(first[part]["head_norm.mean"], torch.zeros(64))
    assert (tmp_path / "halves" / "validation.jsonl").read_text().count('"step"') == 2


NETWORKS: dict[str, dict[str, Any]] = {
    "chrysos2017": {},
    "dfpgnet": {"widths": [8, 8, 8], "features": [6, 6, 6], "blocks": 1, "prior_blocks": 1},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_restorer_runs_a_network_of_one_frame(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save

    torch.manual_seed(0)
    network = networks.create(name, **NETWORKS[name])
    for module in getattr(network, "mappings", None) or [network.last, network.tail]:
        torch.nn.init.normal_(module.weight, std=0.05)
    home = tmp_path / "models" / name
    home.mkdir(parents=True)
    data = save({key: value.half() for key, value in network.state_dict().items()})
    (home / "weights.safetensors").write_bytes(data)
    card = {"network": name, "options": NETWORKS[name], "largest_side": 96, "smallest_side": 96}
    card["sha256"] = hashlib.sha256(data).hexdigest()
    (home / "config.json").write_text(json.dumps(card))
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: tmp_path / "models")
    restorer = Restorer(name, device="cpu", precision="fp32")
    assert restorer.frames == 1
    windows = [skimage.data.astronaut()[None, y : y + 96, 160:256] for y in (60, 80)]
    changes = restorer.changes(windows)
    exact = load_model(name)[0]
    for window, change in zip(windows, changes, strict=True):
        assert change is not None
        assert change.shape == (96, 96, 3)
        given = torch.from_numpy(window).permute(0, 3, 1, 2) / 255
        expected = exact(given)[0].permute(1, 2, 0)
        np.testing.assert_allclose(change, expected.numpy(), atol=1e-4)
        assert np.abs(change).mean() > 1e-3
    # every face is brought to the one size that the card asks for
    for size in (20.0, 40.0, 200.0):
        box = np.array([0, 0, size, size], np.float32)
        card_ = restorer.card
        plan = plan_crop(box, restorer.multiple, card_.largest_side, card_.smallest_side)
        assert plan.size == 96
        assert plan.side == pytest.approx(1.8 * size, abs=2 * restorer.multiple)


def test_the_change_of_an_enlarged_crop_comes_back_to_its_own_size() -> None:
    """A small face, seen at twice its size, gets the change that its own pixels need."""
    picture = cv2.GaussianBlur(skimage.data.astronaut(), (0, 0), 2)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p")
    target = FramePlanes(frame)
    plan = plan_crop(np.array([200, 90, 250, 150], np.float32), 8, 224, 224)
    assert plan.side == 112
    before = target.read_rgb(plan.left, plan.top, plan.left + plan.side, plan.top + plan.side)
    crop = cut(target, plan)
    assert crop.shape == (224, 224, 3)
    blend(target, [(plan, 0.2 - 0.2 * crop)], 1.0)  # 20 % of the way to white
    after = target.read_rgb(plan.left, plan.top, plan.left + plan.side, plan.top + plan.side)
    mask = soft_mask(plan.side)
    whole = mask == 1
    np.testing.assert_allclose(after[whole], (0.2 + 0.8 * before)[whole], atol=0.015)
    np.testing.assert_array_equal(after[mask == 0], before[mask == 0])
