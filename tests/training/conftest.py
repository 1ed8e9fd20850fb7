"""Material and a recipe small enough to train in seconds."""

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("datasets", "morphable", "networks")]

from face_material import write_material

from fvdeblur.datasets import BlurSettings
from fvdeblur.training import TrainConfig


@pytest.fixture(scope="package")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("training") / "material")


@pytest.fixture
def config(material: Path) -> TrainConfig:
    return TrainConfig(
        network_options={"widths": [8, 16], "encoder_blocks": [1, 1], "decoder_blocks": [1]},
        data=str(material),
        stills_share=0.5,
        steps=12,
        batch=2,
        patch=32,
        warmup=2,
        learning_rate=2e-3,
        pool=3,
        patches_per_segment=8,
        workers=0,
        log_every=3,
        save_every=6,
        blur=BlurSettings(size=48, length=6, exposure=(0.0, 3.0), strides=(1,)),
    )
