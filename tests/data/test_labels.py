import numpy as np
import pytest

from ptrain.data.labels import check_labels, classes_of, whole_labels
from ptrain.errors import DataError


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 3], ">i2"), [1, 3]),
        (np.array([[1], [3]], np.uint8), [1, 3]),
        (np.array([True, False]), [1, 0]),
        (np.array([1.0, -3.0], np.float16), [1, -3]),
        (np.array([2**53, 10**12], np.float64), [2**53, 10**12]),
        (np.array([0, 2**64 - 1], np.uint64), [0, 2**64 - 1]),
        (np.eye(4)[[2, 0, 3]], [2, 0, 3]),
        (np.eye(4, dtype=bool)[[2, 0, 3]], [2, 0, 3]),
        (np.array(["b", "a"]), ["b", "a"]),
        (np.array([b"b", "é".encode()]), ["b", "é"]),
        (np.array([["x"], ["y"]]), ["x", "y"]),
    ],
)
def test_labels_of_every_kind(labels: np.ndarray, expected: list[int]) -> None:
    check_labels(labels.shape, labels.dtype, "y.npy")
    found, none = classes_of(labels, "y.npy")
    assert found.tolist() == expected
    assert not none.any()
    assert found.dtype.kind in "iuU"


def test_samples_without_a_label_are_known() -> None:
    for labels, expected in (
        (np.array([1, np.nan, 2]), [False, True, False]),
        (np.array(["a", "", "b"]), [False, True, False]),
        (np.array([b"", b"x"]), [True, False]),
    ):
        assert classes_of(labels, "y.npy")[1].tolist() == expected
    with pytest.raises(DataError, match=r"y.npy: no label for sample 1 \(NaN or empty\).*--missing drop"):
        whole_labels(np.array([1, np.nan]), "y.npy")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1, 0.5]), "label 0.5 of sample 8 is not whole"),
        (np.array([1, np.inf]), "label inf of sample 8 is not whole"),
        (np.array([1e300, 0]), "is not whole"),
        (np.array([[1, 0], [1, 1]]), "labels with 2 columns, and row 8 is not one 1"),
        (np.array([[0.9, 0.1]]), "row 7 is not one 1"),
        (np.array([[0, 0]]), "row 7 is not one 1"),
        (np.array([[1, 2]]), "row 7 is not one 1"),
        (np.array([b"\xff"]), "is not UTF-8"),
        (np.array([0x110000], "<u4").view("<U1"), "no text of Unicode"),
        (np.array([0xD800, 65], ">u4").view(">U1"), "no text of Unicode"),
    ],
)
def test_what_is_no_class_is_refused_by_its_sample(labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        classes_of(labels, "y.npy", 7)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((), "i4"), ((3, 2), "U1"), ((3, 2, 2), "i4"), ((3,), "c16"), ((3,), "M8[s]"), ((3,), "i4,i4")],
)
def test_shapes_and_types_that_hold_no_labels_are_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(DataError, match="expected"):
        check_labels(shape, np.dtype(dtype), "y.npy")
