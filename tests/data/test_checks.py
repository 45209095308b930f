from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.data import checks, fingerprint
from ptrain.data.samples import DataSet, Samples, Source
from ptrain.data.splits import cut
from ptrain.errors import DataError


def dataset(
    features: np.ndarray, labels: np.ndarray, test: Samples | None = None, names: tuple[str, ...] | None = None
) -> DataSet:
    source = Source(
        name="made", description="made", train=Samples(features, labels, "x.npy"), test=test, class_names=names
    )
    return cut(source, test_fraction=0.0, validation=0.0, seed=0)


def features(rows: int = 40, width: int = 5, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint8, np.bool_])
def test_sound_data_pass(dtype: type) -> None:
    sound = dataset(features(dtype=dtype), np.arange(40) % 3)
    for part in range(3):
        checks.check(sound, part, 3)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.nan, "nan, which is not finite"),
        (-np.inf, "-inf, which is not finite"),
        (1e300, r"1e\+300, which does not fit into float32"),
    ],
)
def test_numbers_that_are_not_finite_are_found_by_the_part_that_holds_them(
    value: float, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_CHUNK_BYTES", 7 * 5 * 8)
    wrong = features(dtype=np.float64)
    wrong[29, 3] = value
    wrong[29, 4] = value
    data = dataset(wrong, np.arange(40) % 3)
    for part in (0, 1, 3):
        checks.check(data, part, 4)
    with pytest.raises(DataError, match=rf"x\.npy: feature 3 of sample 29 is {problem}"):
        checks.check(data, 2, 4)


def test_whole_numbers_that_float64_takes_for_one_are_refused() -> None:
    for start, kind, fine in (
        (2**62, np.int64, False),
        (-(2**62), np.int64, False),
        (2**63, np.uint64, False),
        (2**53, np.int64, False),
        (2**52, np.int64, True),
        (1_700_000_000_000, np.int64, True),
    ):
        wide = np.array([[start + 20 * (row % 2)] for row in range(40)], kind)
        if fine:
            checks.check(dataset(wide, np.arange(40) % 2))
            continue
        with pytest.raises(DataError, match=r"feature 0 has values from .* subtract the smallest one first"):
            checks.check(dataset(wide, np.arange(40) % 2))
    nanoseconds = 1_700_000_000 * 10**9 + np.arange(40)[:, None] * 10**9
    checks.check(dataset(nanoseconds, np.arange(40) % 2))
    checks.check(dataset(np.full((40, 1), 2**62), np.arange(40) % 2))


def test_the_test_split_is_checked_too() -> None:
    wrong = features()
    wrong[0, 0] = np.nan
    with pytest.raises(DataError, match=r"test\.npy: feature 0 of sample 0"):
        checks.check(dataset(features(), np.arange(40) % 3, Samples(wrong, np.arange(40) % 3, "test.npy")))


@pytest.mark.parametrize("label", [3, -1])
def test_labels_beyond_the_classes_are_refused(label: int) -> None:
    test = Samples(features(), np.where(np.arange(40) == 5, label, 0), "test.npy")
    with pytest.raises(DataError, match=rf"test\.npy: label {label} of sample 5: expected 0 to 2"):
        checks.check(dataset(features(), np.arange(40) % 3, test, ("a", "b", "c")))


def test_one_class_only_is_refused_also_where_the_other_is_held_out() -> None:
    with pytest.raises(DataError, match="all 40 training samples have class 2"):
        checks.check(dataset(features(), np.full(40, 2)))
    labels = np.zeros(40, np.int64)
    source = Source(name="made", description="made", train=Samples(features(), labels, "x.npy"))
    split = cut(source, test_fraction=0.2, validation=0.0, seed=0)
    assert split.test is not None
    labels[split.test.indices(np.arange(1))[0]] = 1
    with pytest.raises(DataError, match="all 32 training samples have class 0"):
        checks.check(cut(source, test_fraction=0.2, validation=0.0, seed=0))


@given(st.integers(2, 200), st.integers(1, 7), st.integers(2, 5), st.floats(0, 0.5))
def test_class_counts_of_the_parts_add_up(total: int, parts: int, classes: int, validation: float) -> None:
    labels = np.random.default_rng(total).integers(0, classes, total)
    source = Source(
        name="made",
        description="made",
        train=Samples(np.zeros((total, 1)), labels, "x"),
        class_names=tuple("abcde"[:classes]),
    )
    train = cut(source, test_fraction=0.0, validation=validation, seed=1).train
    counts = sum(checks.class_counts(train, classes, part, parts) for part in range(parts))
    expected = np.bincount(labels[train.indices(np.arange(train.size))], minlength=classes)
    np.testing.assert_array_equal(counts, expected)


def sha256(data: DataSet, parts: int = 1) -> str:
    blocks = [fingerprint.fingerprint_blocks(data, part, parts) for part in range(parts)]
    return fingerprint.combine_fingerprints(blocks)


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 60))
def test_the_fingerprint_does_not_depend_on_the_parts(parts: int, block: int) -> None:
    data = dataset(features(), np.arange(40) % 3, Samples(features(11), np.arange(11) % 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "_BLOCK_BYTES", block * 20)
        assert sha256(data, parts) == sha256(data)


def test_the_fingerprint_is_pinned() -> None:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    expected = "cfb114ee625bf7e8b30f9aeaa69faac0ff80187f0224671e4169b002416397b0"
    assert sha256(dataset(values, np.arange(20, dtype=np.int64) % 2)) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x + (np.arange(40) == 39)[:, None], y),
        lambda x, y: (x, 2 - y),
        lambda x, y: (x.reshape(20, 10), y[:20]),
        lambda x, y: (x.astype(np.float64), y),
        lambda x, y: (x[::-1], y[::-1]),
    ],
)
def test_the_fingerprint_sees_every_change(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    before = (features(), np.arange(40) % 3)
    assert sha256(dataset(*change(*before))) != sha256(dataset(*before))


def test_the_fingerprint_does_not_see_byte_order_layout_or_splits() -> None:
    values, labels = features(), np.arange(40) % 3
    same = sha256(dataset(values, labels))
    assert sha256(dataset(values.astype(">f4"), labels.astype(">i8"))) == same
    assert sha256(dataset(np.asfortranarray(values), labels)) == same
    source = Source(name="other", description="other", train=Samples(values, labels))
    assert sha256(cut(source, test_fraction=0.3, validation=0.1, seed=3)) == same
