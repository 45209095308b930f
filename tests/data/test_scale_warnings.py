"""Features of another unit or type are named; new samples of the same kind are not."""

from typing import Any

import numpy as np
import pytest

from ptrain.data.normalization import Normalization, fit_normalization
from ptrain.data.samples import DataSet, Samples, Source, Split
from ptrain.data.scale_warnings import far_from_unit, foreign, high_loss
from ptrain.data.seen import Seen, look
from ptrain.data.splits import cut

RANDOM = np.random.default_rng(5)
NAMES = ("height", "weight", "income", "rare", "count")


def people(rows: int, seed: int = 0) -> np.ndarray:
    """Height in cm, weight in kg, a skewed income, a rare category, a count; the class is who is tall."""
    random = np.random.default_rng(seed)
    height = random.normal(170, 10, rows)
    columns = [height, height / 2 - 15 + random.normal(0, 8, rows), random.lognormal(10, 1.5, rows)]
    return np.column_stack([*columns, random.random(rows) < 0.01, random.poisson(3, rows)])


def spectra(rows: int, seed: int = 0) -> np.ndarray:
    """Digital numbers of 50 bands."""
    random = np.random.default_rng(seed)
    return (random.gamma(3, 1, (rows, 1)) * np.linspace(100, 900, 50) + random.normal(120, 15, (rows, 50))).astype("u2")


def digits(rows: int, seed: int = 0) -> np.ndarray:
    """Pixels of 0 to 255, most of them dark."""
    values = np.random.default_rng(seed).uniform(0, 1, (rows, 64)) ** 3
    values[:1], values[1:2], values[:, :8] = 0, 1, 0
    return np.rint(255 * values).astype("u1")


def dataset(features: np.ndarray, **fields: Any) -> DataSet:
    samples = Samples(features, np.arange(len(features)) % 2)
    return cut(Source(name="made", description="made", train=samples, **fields), test_fraction=0, validation=0, seed=0)


def fitted(features: np.ndarray, normalize: Any = "auto", **fields: Any) -> Normalization:
    return fit_normalization(normalize, dataset(features, **fields))


def warned(train: np.ndarray, new: np.ndarray, names: Any = None) -> str | None:
    known = fitted(train).seen
    assert known is not None
    return foreign(known, look(Split(Samples(new, np.zeros(len(new), np.int64)), 0, len(new))), names)


@pytest.mark.parametrize("make", [people, spectra, digits])
def test_no_alarm_for_samples_of_the_same_kind(make: Any) -> None:
    """New samples, one at a time and many, of one class, somewhat brighter, in an order of size."""
    train = make(500)
    for seed in range(1, 60):
        assert warned(train, make(1 + seed % 7, seed)) is None
    new = make(3000, 99)
    assert warned(train, new) is None
    assert warned(train, train[:1]) is None
    assert warned(train, new[new[:, -1] == new[0, -1]]) is None
    assert warned(train, new[np.argsort(new[:, 0])][:20]) is None
    assert warned(train, new[np.argsort(new[:, 0])][-20:]) is None
    assert warned(train, (new * 1.1).astype(new.dtype) if new.dtype != np.uint8 else new) is None
    assert warned(train, np.zeros_like(new[:1]) + new.min(axis=0)) is None


@pytest.mark.parametrize("rows", [20, 500])
def test_a_feature_in_another_unit_is_named_with_both_ranges(rows: int) -> None:
    train, new = people(500), people(rows, 1)
    for column, factor in ((0, 0.01), (0, 10), (1, 1000), (2, 1e6)):
        other = new.copy()
        other[:, column] *= factor
        text = warned(train, other, NAMES)
        assert text is not None
        low, high = other[:, column].min(), other[:, column].max()
        known = f"{train[:, column].min():.6g} to {train[:, column].max():.6g}"
        assert f"({NAMES[column]}: {low:.6g} to {high:.6g}, in training {known})" in text
    fahrenheit = RANDOM.normal(15, 8, 400)
    assert warned(fahrenheit[:, None], fahrenheit[:rows, None] * 1.8 + 60) is not None
    assert warned(fahrenheit[:, None], fahrenheit[:1, None] + 273.15) is not None


def test_reflectance_against_digital_numbers() -> None:
    train, new = spectra(500), spectra(40, 1)
    for factor in (1e-4, 1e-2):
        text = warned(train, new * factor)
        assert text is not None
        assert "and 47 more of 50 features" in text
        assert warned(train * factor, new) is not None
    assert warned(train, new[:2] * 1e-4) is not None
    assert warned(np.vstack([train, np.zeros((1, 50), "u2")]), new * 1e-4) is not None


def test_images_of_another_type() -> None:
    train, new = digits(500), digits(3, 1)
    text = warned(train, new / 255)
    assert text is not None
    assert "(all features: 0 to 1, in training 0 to 255)" in text
    assert warned(train, new[2:] / 255) is not None
    assert warned((train / 255).astype("f4"), new) is not None
    assert warned(train, new.astype("f8")) is None
    assert warned(train, new.astype("u2") * 257) is not None
    assert warned(train, np.zeros((5, 64), "u1")) is None


def test_a_single_value_far_outside_is_named() -> None:
    train, new = people(500), people(5000, 1)
    new[77, 0] = -99999
    text = warned(train, new, NAMES)
    assert text is not None
    assert "height: -99999 to" in text


def test_neighbourhoods_are_compared_band_by_band() -> None:
    seen = Seen(10, np.arange(18.0), 100 + np.arange(18.0), np.full(18, 50.0), np.ones(18, np.bool_)).of_bands(2)
    assert seen.low.tolist() == [0, 1]
    assert seen.high.tolist() == [116, 117]


@pytest.mark.parametrize("normalize", ["auto", "standard"])
def test_what_auto_scales_is_near_unit_size(normalize: Any) -> None:
    for features in (people(500), spectra(500), digits(500)):
        assert far_from_unit(fitted(features, normalize), None) is None


def test_inputs_far_from_unit_size_are_named() -> None:
    text = far_from_unit(fitted(people(500), "none"), NAMES)
    assert text is not None
    assert text.startswith("inputs far from unit size (height: up to ")
    assert "--normalize auto" in text
    assert "all below" in (far_from_unit(fitted(people(500)[:, :1] * 1e-6, "none"), None) or "")
    assert far_from_unit(fitted(digits(500) / 255, "none"), None) is None
    text = far_from_unit(fitted(people(500), "unit"), NAMES)
    assert text is not None
    assert "weight: " in text


def test_an_outlier_that_squeezes_the_others_is_named() -> None:
    features = people(20_000)
    features[5, 0] = -1e9
    text = far_from_unit(fitted(features), NAMES)
    assert text is not None
    assert "height: -1e+09 to" in text


def test_a_first_loss_far_above_that_of_guessing_is_explained() -> None:
    assert high_loss(1.2, 3) is None
    assert high_loss(2.3, 3) is None
    assert "2.3e+06, is far above ln(3) = 1.099" in (high_loss(2.3e6, 3) or "")
