from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data.permutation import KeyedPermutation
from ptrain.data.samples import Samples, Source, Split, check_shape, make_samples
from ptrain.data.splits import cut, share
from ptrain.errors import DataError
from ptrain.keys import derive_key


def source(num_samples: int, num_test: int = 0, classes: int = 3, num_validation: int = 0) -> Source:
    def make(count: int) -> Samples:
        features = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
        return Samples(features, np.arange(count) % classes, "made.npy")

    counts = {"validation": num_validation, "test": num_test}
    own: dict[str, Any] = {name: make(count) for name, count in counts.items() if count}
    return Source(name="made", description="made", train=make(num_samples), **own)


def members(split: Split | None) -> list[int]:
    return [] if split is None else split.indices(np.arange(split.size)).tolist()


@given(st.integers(5, 300), st.floats(0, 0.6), st.floats(0, 0.5), st.integers(0, 5))
def test_the_splits_of_one_set_hold_every_sample_once(
    total: int, test_fraction: float, validation: float, seed: int
) -> None:
    dataset = cut(source(total), test_fraction=test_fraction, validation=validation, seed=seed)
    parts = [members(split) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sorted(index for part in parts for index in part) == list(range(total))
    assert len(parts[2]) == share(test_fraction, total)
    assert len(parts[1]) == share(validation, total - len(parts[2]))


def test_a_split_is_a_range_of_one_keyed_permutation() -> None:
    dataset = cut(source(100), test_fraction=0.2, validation=0.25, seed=7)
    order = KeyedPermutation(100, derive_key(7, "split"))(np.arange(100)).tolist()
    assert members(dataset.train) == order[:60]
    assert members(dataset.validation) == order[60:80]
    assert members(dataset.test) == order[80:]


def test_the_seed_moves_samples_between_the_splits() -> None:
    first, second = (cut(source(100), test_fraction=0.2, validation=0.0, seed=seed) for seed in (0, 1))
    assert set(members(first.test)) != set(members(second.test))


def test_a_test_split_of_the_source_is_used_whole_and_in_its_order() -> None:
    dataset = cut(source(50, num_test=9), test_fraction=0.5, validation=0.2, seed=0)
    assert members(dataset.test) == list(range(9))
    assert dataset.test is not None
    assert dataset.test.samples is not dataset.train.samples
    assert sorted(members(dataset.train) + members(dataset.validation)) == list(range(50))
    assert len(dataset.all_samples) == 2


def test_splits_of_the_source_are_used_whole_and_validation_is_the_test_where_there_is_no_other() -> None:
    all_three = cut(source(50, num_test=9, num_validation=7), test_fraction=0.5, validation=0.2, seed=0)
    assert {name: members(split) for name, split in all_three.splits.items()} == {
        "train": list(range(50)), "validation": list(range(7)), "test": list(range(9))
    }  # fmt: skip
    assert all_three.warnings == ("--validation 0.2 is not used: made has a validation split of its own",)
    assert len(all_three.all_samples) == 3
    two = cut(source(50, num_validation=7), test_fraction=0.5, validation=0.2, seed=0)
    assert {name: split.size for name, split in two.splits.items()} == {"train": 40, "validation": 10, "test": 7}
    assert two.test is not None
    assert members(two.test) == list(range(7))
    assert [text for text in two.notes if "it is the test split here" in text]
    assert two.warnings == ()
    assert (
        len({one.split_sha256 for one in (all_three, two, cut(source(50, 9), test_fraction=0, validation=0, seed=0))})
        == 3
    )


def test_without_held_out_samples_the_natural_order_is_kept() -> None:
    dataset = cut(source(10), test_fraction=0.0, validation=0.0, seed=0)
    assert dataset.train.permutation is None
    assert list(dataset.splits) == ["train"]


def test_no_samples_left_for_training_is_refused() -> None:
    with pytest.raises(DataError, match="leave none for training"):
        cut(source(2), test_fraction=0.9, validation=0.0, seed=0)


def test_test_split_of_another_width_is_refused() -> None:
    test = Samples(np.zeros((4, 5), np.float32), np.zeros(4, np.int64), "test.npy")
    wrong = Source(name="made", description="made", train=source(10).train, test=test)
    with pytest.raises(DataError, match=r"5 features a sample in the test split but 2 in made\.npy"):
        cut(wrong, test_fraction=0.2, validation=0.0, seed=0)


def test_images_are_flattened_without_a_copy() -> None:
    images = np.zeros((6, 4, 3, 2), np.uint8)
    samples, image_shape = make_samples(images, np.arange(6) % 2, "images.npy")
    assert image_shape == (4, 3, 2)
    assert samples.features.shape == (6, 24)
    assert np.shares_memory(samples.features, images)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0.0, 2.0, 1.0]), [0, 2, 1]),
        (np.array([True, False, True]), [1, 0, 1]),
        (np.array([[0], [1], [2]], np.uint8), [0, 1, 2]),
    ],
)
def test_labels_become_a_vector_of_integers(labels: np.ndarray, expected: list[int]) -> None:
    samples, _ = make_samples(np.zeros((3, 2)), labels, "x.npy")
    assert samples.labels.tolist() == expected
    assert samples.labels.dtype.kind in "iu"


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "x.npy: 0 samples of 2 features"),
        (np.zeros((3, 0)), np.zeros(3, int), "x.npy: 3 samples of 0 features"),
        (np.zeros(3), np.zeros(3, int), r"features of shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros(4, int), "3 rows of features but 4 labels in y.npy"),
        (np.array([["a", "b"]] * 3), np.zeros(3, int), "features are text"),
        (np.array([[None]] * 3), np.zeros(3, int), "features are Python objects"),
        (np.zeros((3, 2), complex), np.zeros(3, int), "features are complex numbers"),
        (np.zeros((3, 2), np.longdouble), np.zeros(3, int), "at most 64 bits"),
        (np.zeros((3, 2)), np.array(["cat", "dog", "cat"]), "y.npy: labels are <U3"),
        (np.zeros((3, 2)), np.array([0.0, 0.5, 1.0]), "label 0.5 of sample 1 is not whole"),
        (np.zeros((3, 2)), np.array([0.0, np.nan, 1.0]), "y.npy: no label for sample 1"),
        (np.zeros((3, 2)), np.ones((3, 3)), "row 0 is not one 1 and else 0"),
        (np.asfortranarray(np.zeros((3, 2, 2))), np.zeros(3, int), "Fortran order"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(
    features: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make_samples(features, labels, "x.npy", "y.npy")
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("same", [(4, 5, 3), (4, 5, 3, 1), (1, 4, 5, 3), None])
def test_shapes_that_are_flattened_alike_fit(same: tuple[int, ...] | None) -> None:
    check_shape(same, (4, 5, 3), "x.npy")
    check_shape((4, 5, 3), same, "x.npy")


@pytest.mark.parametrize(
    ("found", "fix"),
    [
        ((3, 4, 5), r"transpose them, with numpy.transpose\(x, \(0, 2, 3, 1\)\)"),
        ((5, 4, 3), r"transpose them, with numpy.transpose\(x, \(0, 2, 1, 3\)\)"),
        ((20, 3), "bring them into this shape"),
        ((2, 2, 3, 5), "bring them into this shape"),
    ],
)
def test_shapes_that_would_be_flattened_into_other_features_are_refused(found: tuple[int, ...], fix: str) -> None:
    with pytest.raises(DataError, match=f"expected 4 x 5 x 3, as in training: {fix}"):
        check_shape(found, (4, 5, 3), "x.npy")
