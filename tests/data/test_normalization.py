import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from ptrain.data import normalization
from ptrain.data.normalization import Normalization, fit_normalization, normalize_
from ptrain.data.samples import DataSet, Samples, Source
from ptrain.data.splits import cut


def dataset(features: np.ndarray, validation: float = 0.0, **fields: Any) -> DataSet:
    samples = Samples(features, np.arange(len(features)) % 2)
    source = Source(name="made", description="made", train=samples, **fields)
    return cut(source, test_fraction=0.0, validation=validation, seed=0)


def normal(rows: int = 200, width: int = 4, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(1).normal(3.0, 20.0, (rows, width)).astype(dtype)


def apply(fitted: Normalization, features: np.ndarray) -> np.ndarray:
    return normalize_(torch.from_numpy(features.astype(np.float32)), *fitted.on(torch.device("cpu"))).numpy()


def test_identity_changes_no_bit() -> None:
    features = normal()
    np.testing.assert_array_equal(apply(Normalization.identity(), features), features)
    assert Normalization.identity().on(torch.device("cpu")) == (None, None)


@pytest.mark.parametrize("fitted", [Normalization.identity(), fit_normalization("standard", dataset(normal()))])
def test_json_and_back_gives_the_same_bits(fitted: Normalization) -> None:
    back = Normalization(**json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(back.offset, fitted.offset)
    np.testing.assert_array_equal(back.scale, fitted.scale)
    assert back.offset.dtype == back.scale.dtype == np.float32
    assert back.offset.shape == fitted.offset.shape


@pytest.mark.parametrize(
    ("dtype", "fields", "offset", "width"),
    [
        (np.uint8, {"feature_range": (0, 16)}, 0, 16),
        (np.uint8, {}, 0, 255),
        (np.int8, {}, -128, 255),
        (np.bool_, {}, 0, 1),
        (np.uint16, {}, 100, 900),
        (np.int64, {}, 100, 900),
    ],
)
def test_auto_is_unit_for_integers(dtype: type, fields: dict[str, Any], offset: float, width: float) -> None:
    features: np.ndarray = np.array([[100, 120], [1000, 130], [300, 140]]).astype(dtype)
    fitted = fit_normalization("auto", dataset(features, **fields))
    assert fitted.offset.shape == ()
    assert fitted.offset == offset
    assert fitted.scale == np.float32(1 / width)


def test_auto_and_none_leave_floats_alone() -> None:
    for normalize in ("auto", "none"):
        assert fit_normalization(normalize, dataset(normal())).to_dict() == {"offset": 0.0, "scale": 1.0}


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
    monkeypatch.setattr(normalization, "_CHUNK_BYTES", 1234)
    fitted = fit_normalization("standard", dataset(features))
    np.testing.assert_allclose(fitted.offset, features.astype(np.float64).mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(fitted.scale, 1 / features.astype(np.float64).std(axis=0), rtol=1e-7)


@pytest.mark.parametrize("normalize", ["unit", "standard"])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_parts_that_share_the_work_find_the_same_bits(normalize: Any, parts: int) -> None:
    data = dataset(normal(1000), validation=0.3)
    alone = fit_normalization(normalize, data)
    barrier, boards = threading.Barrier(parts), [[None] * parts, [None] * parts]

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
