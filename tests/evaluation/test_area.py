"""The worked example of Olofsson et al. 2014 (table 8, results on page 54) and a simulation of the standard errors."""

import math
from typing import Any

import numpy as np
import pytest

from ptrain.errors import DataError
from ptrain.evaluation.area import area_weighted

NAMES = ["deforestation", "forest gain", "stable forest", "stable non-forest"]
MAP_BY_REFERENCE = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = [200_000, 150_000, 3_200_000, 6_450_000]  # of 30 m by 30 m


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    hectares = [pixels * 900 / 10_000 for pixels in PIXELS]
    return area_weighted(MAP_BY_REFERENCE.T, hectares, NAMES)


def half_width(row: dict[str, Any], name: str) -> float:
    return 1.96 * float(row[f"{name}_standard_error"])


def test_accuracies_as_published(example: dict[str, Any]) -> None:
    assert round(example["overall_accuracy"], 2) == 0.95
    users = [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    for row, (value, width) in zip(example["per_class"], users, strict=True):
        assert (round(row["users_accuracy"], 2), round(half_width(row, "users_accuracy"), 2)) == (value, width)
    assert [round(row["producers_accuracy"], 2) for row in example["per_class"]] == [0.75, 0.85, 0.93, 0.96]
    assert round(half_width(example["per_class"][0], "producers_accuracy"), 2) == 0.21


def test_areas_as_published(example: dict[str, Any]) -> None:
    hectares = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    for row, (area, width) in zip(example["per_class"], hectares, strict=True):
        assert (round(row["area"]), round(half_width(row, "area"))) == (area, width)
    assert sum(row["area"] for row in example["per_class"]) == pytest.approx(example["total_area"])


def test_standard_errors_against_a_simulation() -> None:
    """Samples are drawn anew for each mapped class, from the shares in the example.

    Fifty times as many as there, so that the curvature, which the delta method leaves out, does not matter.
    """
    counts = MAP_BY_REFERENCE * 50
    result = area_weighted(counts.T, PIXELS, NAMES)
    generator = np.random.default_rng(0)
    draws = np.stack([generator.multinomial(row.sum(), row / row.sum(), size=10_000) for row in counts])
    shares = draws / draws.sum(axis=2, keepdims=True)  # (mapped, draws, reference)
    areas = np.array(PIXELS)[:, None]
    diagonal = np.stack([shares[k, :, k] for k in range(4)])
    estimated = (areas[:, :, None] * shares).sum(axis=0).T  # (reference, draws)
    simulated = {
        "users_accuracy": diagonal.std(axis=1),
        "producers_accuracy": (areas * diagonal / estimated).std(axis=1),
        "area": estimated.std(axis=1),
    }
    for name, errors in simulated.items():
        for row, error in zip(result["per_class"], errors, strict=True):
            # the spread of 10,000 draws is itself known to 0.7 %
            assert row[f"{name}_standard_error"] == pytest.approx(error, rel=0.03), (name, row["class"])
    overall = (areas * diagonal).sum(axis=0) / areas.sum()
    assert result["overall_accuracy_standard_error"] == pytest.approx(overall.std(), rel=0.03)


def test_areas_in_proportion_to_the_samples_give_the_plain_accuracies() -> None:
    confusion = np.array([[30, 5], [10, 55]])
    result = area_weighted(confusion, [40, 60], ["a", "b"])
    assert result["overall_accuracy"] == pytest.approx(0.85)
    assert result["per_class"][0]["producers_accuracy"] == pytest.approx(30 / 35)
    assert result["per_class"][1]["area"] == pytest.approx(65)


def test_one_sample_in_a_class_gives_no_standard_error() -> None:
    result = area_weighted(np.array([[5, 0], [1, 1]]), [1.0, 1.0], ["a", "b"])
    assert result["overall_accuracy_standard_error"] is None
    assert result["per_class"][1]["users_accuracy_interval"] is None
    assert result["per_class"][0]["users_accuracy_standard_error"] is not None


def test_samples_that_all_agree_give_no_standard_error() -> None:
    result = area_weighted(np.array([[3, 0], [0, 30]]), [1.0, 1.0], ["a", "b"])
    assert result["overall_accuracy"] == 1.0
    assert result["overall_accuracy_standard_error"] is result["overall_accuracy_interval"] is None
    for row in result["per_class"]:
        assert row["users_accuracy_interval"] is row["producers_accuracy_interval"] is row["area_interval"] is None


def test_a_class_that_covers_nothing() -> None:
    result = area_weighted(np.array([[5, 1, 0], [1, 5, 0], [0, 2, 0]]), [1.0, 1.0, 0.0], ["a", "b", "c"])
    assert result["per_class"][2]["users_accuracy"] is None
    assert result["per_class"][2]["producers_accuracy"] == 0.0
    assert result["per_class"][2]["area"] == pytest.approx(2 / 8)


@pytest.mark.parametrize(
    ("areas", "message"),
    [
        ([1.0], "1 areas and 2 names for 2 classes"),
        ([1.0, -1.0], "area -1.0 of class b"),
        ([1.0, math.nan], "area nan of class b"),
        ([1.0, 0.0], "whose area is 0"),
    ],
)
def test_bad_areas(areas: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        area_weighted(np.array([[3, 1], [1, 3]]), areas, ["a", "b"])


def test_area_without_samples() -> None:
    with pytest.raises(DataError, match=r"class b covers an area of .* and no sample"):
        area_weighted(np.array([[3, 0], [1, 0]]), [1.0, 2.0], ["a", "b"])
