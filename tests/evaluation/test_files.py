"""Anybody's predictions, labels and areas: what is understood, and the one line for what is not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.errors import DataError
from ptrain.evaluation.files import read_areas, read_judged


def write(path: Path, content: object) -> Path:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, np.asarray(content))
    return path


def judged(tmp_path: Path, predictions: object, labels: object) -> tuple[list[int], list[int], tuple[str, ...]]:
    suffix = [".csv" if isinstance(content, (str, bytes)) else ".npy" for content in (predictions, labels)]
    found = read_judged(write(tmp_path / f"p{suffix[0]}", predictions), write(tmp_path / f"l{suffix[1]}", labels))
    return found.labels.tolist(), found.predictions.tolist(), found.class_names


PREDICT = "sample,class,p(cat),p(dog)\n0,cat,0.9,0.1\n1,dog,0.2,0.8\n"
STRUCTURED = np.array([(0, [0.9, 0.1]), (1, [0.2, 0.8])], dtype=[("class", "<i8"), ("probabilities", "<f4", (2,))])
GOOD = {
    "names": ("cat\ndog\ncat\n", "cat\ncat\nbird\n", ([1, 1, 0], [1, 2, 1], ("bird", "cat", "dog"))),
    "headings": ("Prediction\ncat\ndog\n", "id,label\n7,cat\n8,cat\n", ([0, 0], [0, 1], ("cat", "dog"))),
    "numbers": ("10\n2\n", "2\n2\n", ([0, 0], [1, 0], ("2", "10"))),
    "bom and empty lines": ("\ufeffcat\n\ndog\n\n", "cat\r\ncat\r\n", ([0, 0], [0, 1], ("cat", "dog"))),
    "npy": ([1, 2], np.array([1, 1], dtype=np.uint8), ([0, 0], [0, 1], ("1", "2"))),
    "npy and csv": ([1, 2], "1\n1\n", ([0, 0], [0, 1], ("1", "2"))),
    "column": ([[1], [2]], [[1.0], [1.0]], ([0, 0], [0, 1], ("1", "2"))),
    "text in npy": (np.array(["a", "b"]), np.array(["a", "a"]), ([0, 0], [0, 1], ("a", "b"))),
    "probabilities": ([[0.1, 0.9], [0.6, 0.4]], [1, 1], ([1, 1], [1, 0], ("0", "1"))),
    "probabilities in csv": ("0.1,0.9\n0.6,0.4\n", "1\n1\n", ([1, 1], [1, 0], ("0", "1"))),
    "ptrain predict, csv": (PREDICT, "cat\ncat\n", ([0, 0], [0, 1], ("cat", "dog"))),
    "ptrain predict, csv, numbers of classes": (PREDICT, [0, 0], ([0, 0], [0, 1], ("cat", "dog"))),
    "ptrain predict, npy": (STRUCTURED, [0, 0], ([0, 0], [0, 1], ("0", "1"))),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_understood(tmp_path: Path, name: str) -> None:
    predictions, labels, expected = GOOD[name]
    assert judged(tmp_path, predictions, labels) == expected


def test_probabilities_are_handed_over(tmp_path: Path) -> None:
    found = read_judged(write(tmp_path / "p.csv", PREDICT), write(tmp_path / "l.csv", "cat\ncat\n"))
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[0.9, 0.1], [0.2, 0.8]]


BAD = {
    "different numbers": ("a\nb\n", "a\n", "1 labels in .*l.csv and 2 predictions in .*p.csv: expected one of each"),
    "names and numbers": ("a\nb\n", "1\n2\n", "holds numbers of classes and .* names: expected the same kind"),
    "unknown class": (PREDICT, "cat\ncow\n", "class cow has no probability in the predictions; expected .*cat, dog"),
    "number out of range": ([[0.1, 0.9]], [2], "class 2 has no probability in the predictions"),
    "negative": ([0, -1], [0, 1], "--predictions .*: class -1 of sample 1: expected 0 or more"),
    "empty": ("", "", "--predictions .*: holds no samples"),
    "no csv": (b"\xff\xfe\x00", "a\n", "is no CSV file in UTF-8"),
    "ragged": ("a,b\nc\n", "a\n", "1 cells in line 2: expected 2, as in line 1"),
    "words for probabilities": ("0.5,0.5\n0.5,half\n", "0\n1\n", "'half' in line 2 is no probability"),
    "half a class": ([0.5, 1.0], [0, 1], r"float64 of shape \(2,\): expected class numbers or names"),
    "three dimensions": (np.zeros((2, 2, 2)), [0, 1], r"of shape \(2, 2, 2\)"),
    "one probability": (np.ones((2, 1)) * 0.5, [0, 1], r"of shape \(2,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    predictions, labels, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        judged(tmp_path, predictions, labels)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", "a\n")
    with pytest.raises(DataError, match=r"--predictions .*none.csv: cannot be read \(No such file"):
        read_judged(tmp_path / "none.csv", labels)
    with pytest.raises(DataError, match=r"none.npy: cannot be read \(No such file"):
        read_judged(tmp_path / "none.npy", labels)
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(DataError, match=r"is no \.npy file, or holds Python objects"):
        read_judged(tmp_path / "text.npy", labels)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"is no \.npy file, or holds Python objects"):
        read_judged(tmp_path / "objects.npy", labels)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_csv_and_npy_say_the_same(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("same")
    labels, predictions = zip(*pairs, strict=True)
    texts = ["".join(f"{value}\n" for value in values) for values in (predictions, labels)]
    assert judged(folder, texts[0], texts[1]) == judged(folder, list(predictions), list(labels))


def test_areas_come_in_the_order_of_the_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "class,area\nwater,2.5\nforest, 10\n")
    assert read_areas(path, ["forest", "water"]) == [10.0, 2.5]
    assert read_areas(write(tmp_path / "b.csv", "1,3\n0,4\n"), ["0", "1"]) == [4.0, 3.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forest,1\n", "no area of water; expected one line a class, 0 for none"),
        ("forest,1\nwater,2\nforest,1\n", "class forest given twice"),
        ("forest,1\nwater,2\ncity,1\n", "unknown class city; expected forest, water"),
        ("forest,1\nwater,much\n", "area 'much' of class water: expected a number"),
        ("forest,1,km2\nwater,2,km2\n", "3 cells in line 1: expected class,area"),
    ],
)
def test_areas_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_areas(write(tmp_path / "a.csv", text), ["forest", "water"])
