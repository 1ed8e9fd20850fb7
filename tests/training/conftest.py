"""Material and a recipe small enough to train in seconds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))

from face_material import write_material

from fvdeblur.datasets import BlurSettings
from fvdeblur.training import TrainConfig


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads; OpenCV's own do not survive the forking of workers."""
    threads, opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads)
    cv2.setNumThreads(opencv)


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
