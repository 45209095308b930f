import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from ptrain.data import seen
from ptrain.data.normalization import Normalization, fit_normalization
from ptrain.data.samples import DataSet, Samples, Source
from ptrain.data.splits import cut


def dataset(features: np.ndarray, validation: float = 0.0, **fields: Any) -> DataSet:
    samples = Samples(features, np.arange(len(features)) % 2)
    source = Source(name="made", description="made", train=samples, **fields)
    return cut(source, test_fraction=0.0, validation=validation, seed=0)


def normal(rows: int = 200, width: int = 4, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(1).normal(3.0, 20.0, (rows, width)).astype(dtype)


def apply(fitted: Normalization, features: np.ndarray) -> np.ndarray:
    raw = torch.from_numpy(features.astype(features.dtype.newbyteorder("=")))
    out = torch.empty(features.shape)
    fitted.on(torch.device("cpu"), features.dtype).bind(raw, out)()
    return out.numpy()


def test_identity_changes_no_bit() -> None:
    features = normal()
    np.testing.assert_array_equal(apply(Normalization.identity(), features), features)
    scaling = Normalization.identity().on(torch.device("cpu"), np.dtype("f8"))
    assert (scaling.working, scaling.offset, scaling.scale) == (torch.float32, None, None)


@pytest.mark.parametrize("fitted", [Normalization.identity(), fit_normalization("standard", dataset(normal()))])
def test_json_and_back_gives_the_same_bits(fitted: Normalization) -> None:
    back = Normalization.from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(back.offset, fitted.offset)
    np.testing.assert_array_equal(back.scale, fitted.scale)
    assert back.offset.dtype == back.scale.dtype == np.float64
    assert back.offset.shape == fitted.offset.shape
    assert back.to_dict() == fitted.to_dict()


def test_runs_of_earlier_versions_have_only_offset_and_scale() -> None:
    back = Normalization.from_dict({"offset": [1.0, 2.0], "scale": 0.5})
    assert (back.offset.tolist(), float(back.scale), back.seen) == ([1, 2], 0.5, None)


def pixels(high: float, dtype: str, width: int = 64, rows: int = 300) -> np.ndarray:
    """Values of images: most pixels are once 0 and once high, some always 0."""
    values = np.random.default_rng(2).uniform(0, 1, (rows, width)) ** 3
    values[0], values[1], values[:, : width // 8] = 0, 1, 0
    return (high * values if np.dtype(dtype).kind == "f" else np.rint(high * values)).astype(dtype)


def columns(dtype: str = "f8", rows: int = 300) -> np.ndarray:
    """Measurements, each in a unit of its own."""
    return (np.random.default_rng(3).normal(5, 1, (rows, 5)) * [1, 10, 100, 1000, 10000]).clip(0).astype(dtype)


IMAGE: dict[str, Any] = {"image_shape": (8, 8)}
TABLE: dict[str, Any] = {"schema": {"kind": "table"}}
SCENE: dict[str, Any] = {"schema": {"kind": "scene"}}


@pytest.mark.parametrize(
    ("features", "fields", "rule"),
    [
        (pixels(255, "u1"), IMAGE, "unit, by 0..255 of uint8"),
        (pixels(255, "u1"), {}, "unit, by 0..255 of uint8"),
        (pixels(200, "u1"), IMAGE, "unit, by 0..255 of uint8"),
        (pixels(16, "u1"), {}, "unit, by 0..16 of the data"),
        (pixels(16, "u1"), {"feature_range": (0, 16)}, "unit, by 0..16 of the data"),
        (pixels(16, "u1"), {"feature_range": (0, 255)}, "unit, by 0..16 of the data"),
        (pixels(16, "i8"), {}, "unit, by 0..16 of the data"),
        (pixels(16, "f8"), IMAGE, "unit, by 0..16 of the data"),
        (pixels(255, "f4"), {}, "unit, by 0..255 of the data"),
        (pixels(255, "u1"), TABLE, "unit, by 0..255 of uint8"),
        (pixels(4095, ">u2"), IMAGE, "unit, by 0..4095 of the data"),
        (pixels(60000, ">u2"), IMAGE, "unit, by 0..65535 of uint16"),
        (pixels(1, "f4"), IMAGE, "unit, by 0..1 of the data"),
        (pixels(1, "f4"), {}, "unit, by 0..1 of the data"),
        (pixels(1, "?"), {}, "unit, by 0..1 of bool"),
        (normal(), {}, "standard, mean 0 and deviation 1 of each feature"),
        (normal(width=64), IMAGE, "standard, mean 0 and deviation 1 of each feature"),
        (columns(), {}, "standard, mean 0 and deviation 1 of each feature"),
        (columns("i8"), {}, "standard, mean 0 and deviation 1 of each feature"),
        (columns("i8"), TABLE, "standard, mean 0 and deviation 1 of each feature"),
        (columns("u1"), {}, "standard, mean 0 and deviation 1 of each feature"),
        (pixels(255, "u1"), SCENE, "standard, mean 0 and deviation 1 of each feature"),
        (100 * normal(width=810).astype("i2"), {"image_shape": (9, 9, 10)}, "standard, mean 0 and deviation 1"),
    ],
)
def test_auto_is_unit_for_pixels_and_else_standard(features: np.ndarray, fields: dict[str, Any], rule: str) -> None:
    data = dataset(features, **fields)
    fitted = fit_normalization("auto", data)
    assert fitted.rule.startswith(f"auto: {rule}")
    scaled = apply(fitted, features)
    if rule.startswith("unit"):
        assert fitted.offset.shape == ()
        assert 0 <= scaled.min() <= scaled.max() <= 1
        assert scaled.max() > 0.5
    else:
        expected = fit_normalization("standard", data)
        np.testing.assert_array_equal(fitted.offset, expected.offset)
        np.testing.assert_array_equal(fitted.scale, expected.scale)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1"])
def test_auto_leaves_what_is_0_or_1_as_it_is_beside_what_it_standardises(dtype: str) -> None:
    features = columns("f8").clip(0, 200)
    features[:, 1] = features[:, 0] > 7  # a rare category: at its deviation a single 1 would be 6
    features = features.astype(dtype)
    fitted = fit_normalization("auto", dataset(features, **TABLE))
    assert fitted.rule == "auto: standard, mean 0 and deviation 1; 1 of 5 features stay 0 or 1"
    scaled = apply(fitted, features)
    np.testing.assert_array_equal(scaled[:, 1], features[:, 1])
    np.testing.assert_allclose(scaled[:, 0].std(), 1, rtol=1e-6)
    assert apply(fit_normalization("standard", dataset(features, **TABLE)), features)[:, 1].max() > 4


def test_none_changes_nothing() -> None:
    fitted = fit_normalization("none", dataset(normal()))
    assert (float(fitted.offset), float(fitted.scale), fitted.rule) == (0, 1, "none")


@pytest.mark.parametrize(
    ("dtype", "offset", "step"),
    [("f8", 1.7e9, 1.0), ("i8", 1.7e18, 1e6), ("i4", 2.1e9, 1.0), ("u4", 4.2e9, 1.0), (">f8", 5.3e6, 0.01)],
)
def test_a_large_offset_loses_nothing(dtype: str, offset: float, step: float) -> None:
    """Seconds and nanoseconds since 1970, coordinates in metres: shifted in float64, as scikit-learn does it."""
    small = np.arange(200.0).reshape(100, 2) % 23
    features = (offset + step * small).astype(dtype)
    exact = features.astype(np.float64)
    expected = ((exact - exact.mean(axis=0)) / exact.std(axis=0)).astype(np.float32)
    scaled = apply(fit_normalization("auto", dataset(features)), features)
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaled, (small - small.mean(axis=0)) / small.std(axis=0), atol=2e-4)
    assert len(np.unique(scaled)) == len(np.unique(expected)) == 46


def test_unit_of_floats_is_one_range_of_the_training_split() -> None:
    data = dataset(normal(), validation=0.5)
    train = data.train.samples.features[data.train.indices(np.arange(data.train.size))]
    unit = apply(fit_normalization("unit", data), train)
    assert unit.min() == 0
    assert unit.max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "i2"])
def test_standard_has_mean_0_and_deviation_1_over_the_training_split(dtype: str) -> None:
    data = dataset(normal(dtype=dtype), validation=0.3)
    train = data.train.samples.features[data.train.indices(np.arange(data.train.size))]
    scaled = apply(fit_normalization("standard", data), train)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)


def test_standard_is_that_of_numpy_in_float64_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = normal(1000)
    monkeypatch.setattr(seen, "_CHUNK_BYTES", 1234)
    fitted = fit_normalization("standard", dataset(features))
    np.testing.assert_allclose(fitted.offset, features.astype(np.float64).mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(fitted.scale, 1 / features.astype(np.float64).std(axis=0), rtol=1e-7)


@pytest.mark.parametrize("normalize", ["unit", "standard", "auto"])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_parts_that_share_the_work_find_the_same_bits(normalize: Any, parts: int) -> None:
    data = dataset(normal(1000), validation=0.3)
    alone = fit_normalization(normalize, data)
    barrier, boards = threading.Barrier(parts), [[None] * parts for _ in range(3)]

    def part_of(number: int) -> Normalization:
        rounds = iter(boards)

        def gather(mine: Any) -> Any:
            board = next(rounds)
            board[number] = mine
            barrier.wait(30)
            return board

        return fit_normalization(normalize, data, gather, number, parts)

    with ThreadPoolExecutor(parts) as pool:
        for fitted in pool.map(part_of, range(parts)):
            assert fitted.offset.tobytes() == alone.offset.tobytes()
            assert fitted.scale.tobytes() == alone.scale.tobytes()


@pytest.mark.parametrize("normalize", ["unit", "standard"])
def test_constant_features_become_0_and_are_not_blown_up(normalize: Any) -> None:
    features = np.full((7, 3), 0.1, dtype=np.float32)
    fitted = fit_normalization(normalize, dataset(features))
    np.testing.assert_array_equal(fitted.scale, 1)
    np.testing.assert_array_equal(apply(fitted, features), 0)


def test_deviations_too_small_for_float32_get_scale_1() -> None:
    features = np.array([[0.0], [1e-300]])
    assert np.isfinite(fit_normalization("standard", dataset(features)).scale).all()
