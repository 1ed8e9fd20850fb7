"""The tables of the papers: what is compared with what, and how it is shown."""

from typing import Any

import numpy as np
import pytest

from benchmarks.ablation import recipe, start_of, table_rows
from benchmarks.ablation_figures import summary as guidance_summary
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


def figures(section: str, values: dict[str, Any]) -> str:
    machine = {"gpu": None, "cores": 2, "processor": "a processor"}
    return page({section: {"machine": machine, "figures": values}})


def test_the_rows_of_jungs_fourth_table_stand_under_each_other() -> None:
    tables = {
        "B1": {"psnr": np.array([28.0, 31.0]), "blurred_psnr": np.array([27.0, 30.0])},
        "B4": {"psnr": np.array([27.75, 30.75]), "blurred_psnr": np.array([27.0, 30.0])},
    }
    text = figures("features", {"budget": {"steps": 400, "width": 12}, "rows": summary(tables)})
    assert "400 steps, 12 channels (the paper: 64); 2 stills." in text
    assert "| blurred | 28.50 |  |  |" in text
    assert "| B1: encoder and decoder | 29.50 (+1.00, +1.00 to +1.00) |  |  |" in text
    assert "| B4: + feature transforms | 29.25 (-0.25, -0.25 to -0.25) |  |  |" in text


def test_rens_second_table_tells_its_budget_and_the_difference_to_no_prior() -> None:
    table = [("one.mp4", {"psnr": 30.0, "ssim": 0.9}), ("two.mp4", {"psnr": 32.0, "ssim": 0.92})]
    better = [(clip, {name: value + 0.01 for name, value in row.items()}) for clip, row in table]
    rows = table_rows("ren2019", "", "")
    told = guidance_summary(
        {"none": table, "both": better}, {name: row.against for name, row in rows.items()}
    )
    values = {
        "budget": {"steps": 1000, "batch": 8, "patch": 96, "seeds": 1},
        "settings": {"network_options": {"width": 8}},
        "measured": {"clips": 2, "segments": 2},
        "rows": {name: {"title": rows[name].title, **row} for name, row in told.items()},
    }
    text = figures("guidance", values)
    assert (
        "1000 steps of 8 patches of 96x96, 8 channels (the paper: 32), 1 run a row; 2 segments of 2" in text
    )
    assert "| no prior | 31.00 | 0.9100 |  |" in text
    both = "| identity and render | 31.01 (+0.01, +0.01 to +0.01) | 0.9200 (+0.0100, +0.0100 to +0.0100) |  |"
    assert both in text


def test_every_row_of_rens_second_table_can_be_trained() -> None:
    start = start_of("ren2019", 8, None)
    config = recipe("ren2019", "material", start, steps=100, patch=96)
    assert [rule for fits, rule in config.rules() if not fits] == []
    for row in table_rows("ren2019", "", "").values():
        network = networks.create("ren2019", **{**start.options, **row.options})
        assert network.residual
