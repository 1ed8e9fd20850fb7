"""The tables of the papers: what is compared with what, and how it is shown."""

import numpy as np
import pytest

from benchmarks.prior_ablation import ROWS, row_config, summary
from benchmarks.results_page import page
from fvdeblur import networks
from fvdeblur.training.adversarial import make_discriminator


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_jungs_fourth_table_can_be_trained(name: str) -> None:
    config = row_config(name, "material", 100, 4, 1)
    assert [rule for fits, rule in config.rules() if not fits] == []
    network = networks.create(config.network, **config.network_options)
    assert bool(network.features) == (name >= "B3")
    assert (make_discriminator(config, network) is not None) == (name >= "B5")


def test_a_row_is_compared_with_the_one_before_still_by_still() -> None:
    tables = {
        "B1": {"psnr": np.array([28.0, 31.0]), "blurred_psnr": np.array([27.0, 30.0])},
        "B2": {"psnr": np.array([28.5, 31.5]), "blurred_psnr": np.array([27.0, 30.0])},
    }
    found = summary(tables)
    assert found["blurred"] == {"psnr": 28.5}
    assert found["B1"]["psnr"] == {
        "mean": 29.5,
        "change_mean": 1.0,
        "change_low": 1.0,
        "change_high": 1.0,
    }
    assert found["B2"]["psnr"]["change_mean"] == 0.5
    assert found["B2"]["stills"] == 2


def test_real_clips_have_a_table_each_and_nothing_printed_beside_it() -> None:
    rows = {name: {"sharpness": 0.2, "identity": 0.9876, "temporal_error": 1.5} for name in ("input", "fvd")}
    figures = {
        "real": {
            "machine": {"gpu": None, "cores": 2, "processor": "a processor"},
            "figures": {"columns": ["input", "fvd"], "clips": {"real_1.mp4": {"frames": 72, **rows}}},
        }
    }
    text = page(figures)
    assert "real_1.mp4, 72 frames:" in text
    assert "| fvd | 0.200 | 0.988 | 1.500 |" in text
    assert "quoted" not in text.split("## Real blur")[1]
