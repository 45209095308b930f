"""The confusion matrix as squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ptrain.report.heatmap import _percent, heat_maps
from ptrain.report.plots import heat_colour


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@given(st.integers(1, 6).flatmap(lambda n: arrays(np.int64, (n, n), elements=st.integers(0, 1000))))
def test_a_square_for_every_count_that_is_not_zero(counts: np.ndarray) -> None:
    names = [f"class {number}" for number in range(len(counts))]
    samples, shares = heat_maps(counts.tolist(), names)
    assert len(samples["cells"]) == len(shares["cells"]) == np.count_nonzero(counts)
    for cell in samples["cells"]:
        row, column = round(cell["y"] / samples["side"]), round(cell["x"] / samples["side"])
        assert cell["text"] == str(counts[row, column])
        assert cell["hint"].endswith(f"samples of class {row} predicted as class {column}")


@pytest.mark.parametrize("share", np.linspace(0.001, 1, 50).tolist())
def test_the_text_in_a_square_has_enough_contrast(share: float) -> None:
    counts = [[1000, 0], [round(1000 * share), 0]]
    cell = heat_maps(counts, ["a", "b"])[0]["cells"][-1]
    light, dark = sorted((luminance(cell["colour"]), luminance(cell["text_colour"])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, level AA


def test_colours_only_get_darker() -> None:
    steps = [luminance(heat_colour(share)) for share in np.linspace(0, 1, 60)]
    assert steps == sorted(steps, reverse=True)


def test_the_description_names_the_most_frequent_error() -> None:
    text = heat_maps([[8, 2], [5, 10]], ["cat", "dog"])[0]["description"]
    assert text == (
        "18 of 25 samples are on the diagonal, that is right. The most frequent error is dog taken for cat: 5 samples."
    )
    assert heat_maps([[1]], ["cat"])[0]["description"] == "1 of 1 samples are on the diagonal, that is right."


def test_many_classes_get_small_squares_without_text() -> None:
    names = [f"a long name of class {number}" for number in range(100)]
    heat_map = heat_maps(np.eye(100, dtype=int).tolist(), names)[0]
    assert (heat_map["side"], heat_map["extent"], heat_map["upright"]) == (9, 900, False)
    assert {cell["text"] for cell in heat_map["cells"]} == {""}
    assert all(len(name) <= 16 for name in heat_map["names"])


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.00001, "<0.1 %"), (0.123, "12.3 %"), (0.5, "50 %"), (0.99999, "99.9 %"), (1, "100 %")],
)
def test_percent(share: float, text: str) -> None:
    assert _percent(share) == text
