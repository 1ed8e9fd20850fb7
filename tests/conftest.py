"""What the tests of the pipeline and of the command line share: clips with and without faces, and a small model."""

import hashlib
import json
import sys
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import save

ROOT = Path(__file__).parents[1]
# The benchmarks are not installed with the package; the small videos are made as for the tests of media.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "media")]

from media_samples import make_video, moving_photograph  # noqa: E402

from fvdeblur import networks  # noqa: E402

SMALL = {"widths": [8, 16], "encoder_blocks": [1, 1], "decoder_blocks": [1]}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads; OpenCV's own do not survive the forking of workers.

    Before every test, because what is tested may set them: more threads than cores make training crawl.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def write_model(folder: Path, name: str = "fvd") -> Path:
    """Write a model folder with a small network that visibly changes what it sees; return ``folder/name``."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = networks.create("fvd", **SMALL)
        torch.nn.init.normal_(network.tail.weight, std=0.05)
    data = save(network.state_dict())
    home = folder / name
    home.mkdir(parents=True)
    (home / "weights.safetensors").write_bytes(data)
    card = {
        "network": "fvd",
        "options": SMALL,
        "largest_side": 384,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (home / "config.json").write_text(json.dumps(card))
    return home


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models whose ``fvd`` is small and quick, and changes every face."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder)
    return folder


@pytest.fixture
def small_model(small_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Release the small model instead of the real one."""
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: small_models)
    return small_models


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face for one second, 320x240 H.264 at 25 frames a second with AAC sound, in MP4."""
    return make_video(tmp_path_factory.mktemp("clips") / "clip.mp4", audio=1.0)


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of the same."""
    return make_video(tmp_path_factory.mktemp("clips") / "short.mp4", moving_photograph(6), audio=0.24)


@pytest.fixture(scope="session")
def faceless_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cup of coffee, ten frames of 320x240 with sound."""
    import cv2
    import skimage.data

    picture = cv2.resize(skimage.data.coffee(), (400, 280), interpolation=cv2.INTER_AREA)
    frames = [picture[i : i + 240, 2 * i : 2 * i + 320].copy() for i in range(10)]
    return make_video(tmp_path_factory.mktemp("clips") / "faceless.mp4", frames, audio=0.4)
