"""Means over people, intervals, and tables."""

import csv
import io
import json
import math

import numpy as np
import pytest

from fvdeblur.evaluation.results import Results, Row, interval


@pytest.fixture
def results() -> Results:
    """Two clips of one person and one of another; less error is better for one of the measures."""
    rows = [
        Row(
            "jung",
            "fvd",
            "anna",
            "a1",
            10,
            {"psnr": 20.0, "landmark_error": 8.0},
            {"psnr": 21.0, "landmark_error": 4.0},
        ),
        Row(
            "jung",
            "fvd",
            "anna",
            "a2",
            10,
            {"psnr": 22.0, "landmark_error": 6.0},
            {"psnr": 25.0, "landmark_error": 4.0},
        ),
        Row(
            "jung",
            "fvd",
            "ben_b",
            "b",
            10,
            {"psnr": 30.0, "landmark_error": 3.0},
            {"psnr": 29.5, "landmark_error": math.nan},
        ),
        Row("average-5", "fvd", "anna", "a1", 5, {"psnr": 30.0}, {"psnr": 31.0}),
    ]
    return Results(rows, {"seed": 7}, [{"clip": "c", "protocol": "jung", "reason": "no face"}])


def test_people_count_once_however_many_clips_they_have(results: Results) -> None:
    assert results.people("jung", "fvd", "psnr") == {"anna": (21.0, 23.0), "ben_b": (30.0, 29.5)}
    jung, average = results.summary()
    assert (jung["people"], jung["clips"], jung["frames"]) == (2, 3, 30)
    assert jung["psnr"]["before"]["mean"] == 25.5
    assert jung["psnr"]["change"]["mean"] == pytest.approx(0.75)
    assert jung["psnr"]["worst"] == {"person": "ben_b", "change": -0.5}
    assert average["psnr"]["change"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_what_could_not_be_taken_is_left_out(results: Results) -> None:
    jung, average = results.summary()
    assert jung["landmark_error"]["after"]["mean"] == 4.0
    assert jung["landmark_error"]["worst"] == {"person": "anna", "change": -3.0}
    assert "landmark_error" not in average


def test_the_worst_of_an_error_is_where_it_falls_least() -> None:
    rows = [
        Row("p", "m", person, person, 1, {"temporal_error": 5.0}, {"temporal_error": after})
        for person, after in (("a", 4.0), ("b", 5.5), ("c", 1.0))
    ]
    (entry,) = Results(rows).summary()
    assert entry["temporal_error"]["worst"] == {"person": "b", "change": 0.5}


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(10, 2, 400)
    mean, low, high = interval(values)
    half = 1.96 * values.std() / 20  # the normal approximation, good for so many values
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert low < mean < high
    assert interval([3.0]) == (3.0, 3.0, 3.0)


def test_json_has_no_numbers_that_json_does_not_know(results: Results) -> None:
    text = json.dumps(results.as_json(), allow_nan=False)
    report = json.loads(text)
    assert report["schema"] == "fvdeblur.evaluation/1"
    assert report["rows"][2]["after"]["landmark_error"] is None
    assert report["left_out"][0]["reason"] == "no face"
    assert report["about"] == {"seed": 7}


def test_csv(results: Results) -> None:
    lines = list(csv.DictReader(io.StringIO(results.as_csv())))
    assert len(lines) == 4
    assert lines[0]["psnr_before"] == "20"
    assert lines[1]["landmark_error_after"] == "4"
    assert lines[2]["landmark_error_after"] == ""


def test_markdown_and_latex(results: Results) -> None:
    lines = results.as_markdown(["psnr"]).splitlines()
    assert lines[0] == "| protocol | model | people | psnr (dB) |"
    assert lines[2].startswith("| jung | fvd | 2 | 25.50 -> 26.25 (+0.75, -0.50 to +2.00) |")
    latex = results.as_latex()
    assert latex.startswith("\\begin{tabular}{llrrr}\n")
    assert r"landmark\_error (\% of the eye distance)" in latex
    assert r"25.50 $\rightarrow$ 26.25" in latex


def test_without_values_before(results: Results) -> None:
    rows = [Row("video", "video", "p", "c", 3, {"psnr": math.nan}, {"psnr": 30.0})]
    assert results.measures()[0] == "psnr"
    assert Results(rows).as_markdown().splitlines()[2] == "| video | video | 1 | 30.00 |"
