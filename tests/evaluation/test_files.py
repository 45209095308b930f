"""Anybody's predictions, labels and areas: what is understood, and the one line for what is not."""

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from ptrain.errors import DataError
from ptrain.evaluation.files import Judged, read_areas, read_judged


def write(path: Path, content: object) -> Path:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, np.asarray(content))
    return path


def read(tmp_path: Path, predictions: object, labels: object) -> Judged:
    suffix = [".csv" if isinstance(content, (str, bytes)) else ".npy" for content in (predictions, labels)]
    return read_judged(write(tmp_path / f"p{suffix[0]}", predictions), write(tmp_path / f"l{suffix[1]}", labels))


def judged(tmp_path: Path, predictions: object, labels: object) -> tuple[list[int], list[int], tuple[str, ...]]:
    found = read(tmp_path, predictions, labels)
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
    "names and numbers": ("a\nb\n", "1\n3\n", "holds numbers of classes and .* names: expected the same kind"),
    "unknown class": (PREDICT, "cat\ncow\n", "class cow has no probability in the predictions; expected .*cat, dog"),
    "number out of range": ([[0.1, 0.9]], [2], "class 2 has no probability in the predictions"),
    "negative": ([0, -1], [0, 1], "--predictions .*: class -1 of sample 1: expected 0 or more"),
    "empty": ("", "", "--predictions .*: holds no samples"),
    "no csv": (b"\xff\xfa\x00", "a\n", "is no CSV file in UTF-8"),
    "ragged": ("a,b\nc\n", "a\n", "1 cells in line 2: expected 2, as in line 1"),
    "words for probabilities": ("0.5,0.5\n0.5,half\n", "0\n1\n", "'half' in line 2 is no probability"),
    "half a class": ([0.5, 1.0], [0, 1], r"float64 of shape \(2,\): expected class numbers or names"),
    "three dimensions": (np.zeros((2, 2, 2)), [0, 1], r"of shape \(2, 2, 2\)"),
    "one probability": (np.ones((2, 1)) * 0.5, [0, 1], r"of shape \(2,\)"),
    "one probability in text": ("score\n0.5\n0.25\n", "0\n1\n", "0.5 in line 2 is no class"),
    "a missing class": ("id,class\n0,a\n1,\n", "a\nb\n", "--predictions .*: no class in line 3"),
    "a missing class in quotes": ('class\na\n""\n', "a\nb\n", "no class in line 3"),
    "empty lines at different places": ("a\n\nb\nc\n", "a\nb\n\nc\n", "have empty lines at different places"),
    "not a number": ([[0.5, np.nan], [0.5, 0.5]], [0, 1], "no number in row 0"),
    "other ids": ("id,class\n1,a\n2,b\n", "id,class\n1,a\n3,b\n", r"--predictions .*: no id 3, which the labels have"),
    "a shorter file": ("id,class\n1,a\n", "id,class\n1,a\n3,b\n", "2 labels in .* and 1 predictions"),
    "ids twice": ("id,class\n1,a\n1,b\n2,a\n", "id,class\n2,a\n1,b\n1,a\n", "ids occur more than once"),
    "shuffled against counted from 1": ("0,a\n2,b\n1,a\n", ",label\n1,a\n2,b\n3,a\n", "no id 3"),
    "which column": ("a1,a2\nx,y\ny,y\nx,y\nx,z\n", "x\ny\nx\nx\n", "columns a1, a2: expected one .* named prediction"),
    "features": ("0\n1\n", "x1,x2\n0.5,2\n0.7,3\n", "--labels .*: columns x1, x2: expected one .* named label"),
    "a column of others": ("y_true,model\na,b\nb,b\n", "a\nb\n", "columns y_true, model: expected .* named prediction"),
    "which of two": ("pred 1,pred 2\nx,y\ny,y\n", "x\ny\n", "columns pred 1, pred 2: expected one"),
    "two columns of classes": ("x,x\ny,x\ny,x\n", "x\ny\ny\n", "'x' in line 1 is no probability"),
    "spelling": ("Cat\nDog\n", "cat\nDog\n", "class Cat, and cat in .*: expected the same spelling"),
    "codes": ("1\n2\n", "01\n02\n", "class 1, and 01 in"),
    "from 0 and from 1": ("1\n2\n3\n" * 4, "0\n1\n2\n" * 4, "classes 1 to 3, and 0 to 2 in .* count from 0"),
    "nothing in common": ("a\nb\n" * 5, "c\nd\n" * 5, "classes a, b, and c, d in .*: expected some class in both"),
    "numbers that fit badly": ("0\n1\n2\n", "b\nc\na\n", "since it is not clear which number is which name"),
    "numbers that do not fit": ("0\n1\n2\n", "b\nc\nb\n", "since it is not clear which number is which name"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    predictions, labels, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        judged(tmp_path, predictions, labels)
    assert "\n" not in str(caught.value)


N = ["cat", "dog", "emu"]
Y = [0, 1, 2, 0, 1, 2, 2, 1, 0, 0]
P = [0, 1, 2, 0, 1, 2, 0, 1, 0, 1]
ORDER = [3, 7, 0, 9, 5, 1, 8, 2, 6, 4]
SHARES = np.full((10, 3), 0.1) + 0.7 * np.eye(3)[P]


def lines(cells: Iterable[object], heading: str | None = None) -> str:
    return "".join(f"{line}\n" for line in ([] if heading is None else [heading])) + "".join(f"{c}\n" for c in cells)


def names(classes: list[int], heading: str | None = None) -> str:
    return lines((N[k] for k in classes), heading)


def with_ids(classes: list[int], heading: str | None = None, order: Sequence[int] = range(10), first: int = 0) -> str:
    return lines((f"{i + first},{N[classes[i]]}" for i in order), heading)


def shares(heading: str | None = None, order: Sequence[int] | None = None, separator: str = ",") -> str:
    rows = [[f"{x:.1f}" for x in SHARES[i]] for i in order or range(10)]
    return lines(
        (separator.join(row if order is None else [str(i), *row]) for i, row in zip(order or rows, rows, strict=True)),
        heading,
    )


SAME: dict[str, tuple[object, object, str]] = {
    "scikit-learn's names": (lines(P, "y_pred"), lines(Y, "y_true"), ""),
    "Category": (names(P, "Category"), names(Y, "actual"), ""),
    "two words": (names(P, "Predicted Class"), names(Y, "ground truth"), ""),
    "CamelCase": (names(P, "PredictedLabel"), names(Y, "TrueLabel"), ""),
    "gt": (names(P, "pred"), names(Y, "GT"), ""),
    "target": (names(P, "prediction"), names(Y, "target"), "the first line is a heading (target)"),
    "words nobody knows": (names(P, "species"), names(Y, "Art"), "p.csv: the first line is a heading (species)"),
    "one word nobody knows": (names(P, "species"), names(Y), "the first line is a heading (species)"),
    "text above numbers": (lines(P, "species"), lines(Y), "the first line is a heading (species)"),
    "a number above text": (names(P, "0"), names(Y), "the first line is a heading (0)"),
    "floats": (lines(map(float, P), "class"), lines(Y, "label"), ""),
    "numpy.savetxt": (lines(f"{k:.18e}" for k in P), lines(Y), ""),
    "floats in npy": (np.array(P, dtype=np.float32), lines(Y), ""),
    "byte strings": (np.array([N[k].encode() for k in P]), names(Y), ""),
    "index of pandas": (
        with_ids(P, ",prediction", ORDER),
        with_ids(Y, ",label"),
        "rows of {p} put into the order of {l}",
    ),
    "ids": (with_ids(P, "Id,class", ORDER), with_ids(Y, "ID,Label", ORDER[::-1]), "by column ID"),
    "ids in order": (with_ids(P, "Id,class"), with_ids(Y, "id,label"), ""),
    "Unnamed: 0": (with_ids(P, "Unnamed: 0,class"), with_ids(Y, ",label"), ""),
    "of one file": (with_ids(P, ",class"), names(Y, "label"), ""),
    "of one file, shuffled": (with_ids(P, ",class", first=5), names(Y), "since the other file has no ids"),
    "counted from 0 and 1": (with_ids(P, ",class"), with_ids(Y, ",label", first=1), "by the order of their rows"),
    "a part of a table": (with_ids(P, ",class"), with_ids(Y, ",label", first=70), "by the order of their rows"),
    "no headings": (with_ids(P), with_ids(Y), "p.csv: ids and classes, without a heading"),
    "no headings, shuffled": (with_ids(P, None, ORDER), with_ids(Y, first=0), "by the first column"),
    "numbers and numbers": (lines(f"{i + 1},{k}" for i, k in enumerate(P)), lines(Y), "ids and classes"),
    "an array of ids and classes": (np.stack([np.arange(10), P], axis=1), lines(Y), "ids and classes"),
    "file names": (
        lines((f"im{i}.png,{N[P[i]]}" for i in ORDER), "filename,label"),
        lines(f"im{i}.png,{N[Y[i]]}" for i in range(10)),
        "by the first column",
    ),
    "file names, spaces": (
        lines(f"a/{i}.jpg {P[i]}" for i in ORDER),
        lines(f"a/{i}.jpg {Y[i]}" for i in range(10)),
        "by",
    ),
    "names and numbers": (lines(P), names(Y), "numbers in {p} are 0 = cat, 1 = dog, 2 = emu"),
    "names and numbers from 1": (names(P), lines(k + 1 for k in Y), "numbers in {l} are 1 = cat, 2 = dog, 3 = emu"),
    "truth and numbers": (np.array(P) == 0, lines((k == 0 for k in Y), "y"), "0 = False, 1 = True"),
    "semicolons": (with_ids(P, "id;class").replace(",", ";"), names(Y), ""),
    "Excel": ("\ufeffsep=;\r\nid;class\r\n" + with_ids(P).replace(",", ";"), names(Y), ""),
    "a separator at the end": (lines((f"{N[k]};" for k in P), "class;"), names(Y), ""),
    "true and pred": (lines((f"{N[P[0]]},{N[k]}" for k in P), "true,pred"), names(Y), ""),
    "a whole table": (
        names(P),
        lines((f"0.1,2,{N[k]}" for k in Y), "x1,x2,species"),
        "{l}: classes from column species",
    ),
    "tabs": (with_ids(P, "id,class").replace(",", "\t"), names(Y), ""),
    "UTF-16": (names(P, "class").encode("utf-16"), names(Y), ""),
    "gzip": (gzip.compress(names(P, "class").encode()), names(Y), ""),
    "other columns": (
        lines((f"0.5,1,{N[k]},0.7" for k in P), "x1,x2,species,confidence"),
        names(Y),
        "from column species",
    ),
    "number and name": (lines((f"{k},{N[k]}" for k in P), "class_id,class_name"), names(Y), ""),
    "shares": (SHARES, np.array(Y), ""),
    "shares by names": (shares("cat,dog,emu"), names(Y), "the first line is a heading (cat, dog, emu)"),
    "shares by names, both with a heading": (shares("cat,dog,emu"), names(Y, "species"), "heading (species)"),
    "shares by names, numbers": (shares("cat,dog,emu"), lines(Y), "labels in {l} are 0 = cat, 1 = dog, 2 = emu"),
    "shares by prefix": (shares("prob_cat,prob_dog,prob_emu"), names(Y), ""),
    "shares with ids": (
        shares(",0,1,2", ORDER),
        lines((f"{i},{k}" for i, k in enumerate(Y)), ",label"),
        "first column",
    ),
    "shares with ids, no heading": (shares(None, range(10)), lines(Y), "the first column of {p} counts the samples"),
    "shares and the class": (
        lines((f"{N[k]},{row}" for k, row in zip(P, shares().split(), strict=True)), "class,cat,dog,emu"),
        names(Y),
        "",
    ),
    "decimal commas": (shares("p(cat);p(dog);p(emu)", None, ";").replace(".", ","), names(Y), ""),
    "spaces": (shares(None, None, " "), lines(Y), ""),
    "order of scikit-learn": (SHARES, names(Y), "columns of {p} are 0 = cat, 1 = dog, 2 = emu"),
    "classes from 1": (SHARES, [k + 1 for k in Y], "columns of {p} are the classes 1 to 3"),
    "classes 3, 7, 9": (SHARES, [(3, 7, 9)[k] for k in Y], "columns of {p} are 0 = 3, 1 = 7, 2 = 9"),
    "logits": (
        np.log(SHARES),
        np.array(Y),
        "{p}: no probabilities, since row 0 is not 0 to 1 with the sum 1; the class is",
    ),
    "per cent": (SHARES * 100, np.array(Y), "no probabilities"),
    "one-hot": (2 * np.eye(3)[P], np.array(Y), "{p}: one-hot rows"),
    "one-hot labels": (SHARES, np.eye(3, dtype=np.int64)[Y], "{l}: one-hot rows"),
}


WITH_SHARES = (
    "decimal commas",
    "spaces",
    "order of scikit-learn",
    "classes from 1",
    "classes 3, 7, 9",
    "one-hot labels",
)


@pytest.mark.parametrize("name", SAME)
def test_the_same_samples_in_any_form(tmp_path: Path, name: str) -> None:
    predictions, labels, said = SAME[name]
    found = read(tmp_path, predictions, labels)
    pairs = sorted(zip(found.labels.tolist(), found.predictions.tolist(), strict=True))
    if name != "truth and numbers":
        assert pairs == sorted(zip(Y, P, strict=True))
    assert (found.probabilities is not None) == (name.startswith("shares") or name in WITH_SHARES)
    if found.probabilities is not None:
        assert np.array_equal(found.probabilities.argmax(axis=1), found.predictions)
    suffix = ["csv" if isinstance(content, (str, bytes)) else "npy" for content in (predictions, labels)]
    said = said.format(p=tmp_path / f"p.{suffix[0]}", l=tmp_path / f"l.{suffix[1]}")
    assert said in "; ".join(found.said) if said else not found.said


def test_one_file_with_both_columns(tmp_path: Path) -> None:
    both = lines((f"{i},{N[Y[i]]},{N[P[i]]}" for i in range(10)), "Id,label,Prediction")
    path = write(tmp_path / "both.csv", both)
    found = read_judged(path, path)
    assert (found.labels.tolist(), found.predictions.tolist(), found.said) == (Y, P, ())
    same = write(tmp_path / "one.csv", names(P, "class"))
    assert "every sample is right" in read_judged(same, same).said[-1]
    np.savez(tmp_path / "both.npz", y_true=np.array(Y), y_pred=np.array(P))
    found = read_judged(tmp_path / "both.npz", tmp_path / "both.npz")
    assert (found.labels.tolist(), found.predictions.tolist()) == (Y, P)
    run = np.array(list(zip(Y, P, [0.5] * 10, strict=True)), dtype="u1,u1,f4")
    run.dtype.names = ("label", "prediction", "confidence")  # as a run's predictions.npy
    found = read_judged(write(tmp_path / "run.npy", run), tmp_path / "run.npy")
    assert (found.labels.tolist(), found.predictions.tolist()) == (Y, P)


def test_npz_with_one_array_and_parquet(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", SHARES)
    index = pa.array(ORDER)
    table = pa.table({"species": [N[Y[i]] for i in ORDER], "__index_level_0__": index})
    pq.write_table(table, tmp_path / "l.parquet")
    pq.write_table(pa.table({"Id": list(range(10)), "class": [N[k] for k in P]}), tmp_path / "p.parquet")
    assert read_judged(tmp_path / "p.npz", write(tmp_path / "l.csv", lines(Y))).predictions.tolist() == P
    found = read_judged(tmp_path / "p.parquet", tmp_path / "l.parquet")
    assert found.labels.tolist() == [Y[i] for i in ORDER]
    assert found.predictions.tolist() == [P[i] for i in ORDER]


@pytest.mark.parametrize("name", ["NA", "None", "nan", "null", "inf", "1e5", "01"])
def test_any_text_is_a_class(tmp_path: Path, name: str) -> None:
    found = judged(tmp_path, lines([name, "b", "b"], "class"), lines([name, name, "b"], "label"))
    assert sorted(found[2]) == sorted([name, "b"])
    assert sum(a == b for a, b in zip(*found[:2], strict=True)) == 2
    found = judged(tmp_path, lines([name, "2", "1", "2"]), lines(["2", name, "1", "2"]))
    assert sorted(found[2]) == sorted([name, "1", "2"])
    assert sum(a == b for a, b in zip(*found[:2], strict=True)) == 2


def test_01_and_1_are_two_classes(tmp_path: Path) -> None:
    labels, predictions, class_names = judged(tmp_path, "01\n1\n01\n", "01\n01\n1\n")
    assert (labels, predictions, class_names) == ([0, 0, 1], [0, 1, 0], ("01", "1"))


def test_classes_beyond_64_bits(tmp_path: Path) -> None:
    assert judged(tmp_path, f"{2**70}\n3\n", f"{2**70}\n{2**70}\n")[2] == ("3", str(2**70))


def test_class_numbers_beside_probabilities_that_are_not_their_positions(tmp_path: Path) -> None:
    values = np.array([3, 7, 9])
    rows = np.zeros(10, dtype=[("class", "<i8"), ("probabilities", "<f4", (3,))])  # as ptrain predict writes them
    rows["class"], rows["probabilities"] = values[P], SHARES
    found = read(tmp_path, rows, lines(values[Y]))
    assert (found.predictions.tolist(), found.labels.tolist(), found.class_names) == (P, Y, ("3", "7", "9"))
    assert found.probabilities is not None
    text = np.zeros(10, dtype=[("class", "<U3"), ("probabilities", "<f4", (3,))])
    text["class"], text["probabilities"] = [N[k] for k in P], SHARES
    found = read(tmp_path, text, names(Y))
    assert (found.predictions.tolist(), found.class_names, found.probabilities is None) == (P, tuple(N), False)
    text["probabilities"] *= 2  # not known to be of which class, nor probabilities
    found = read(tmp_path, text, names(Y))
    assert (found.predictions.tolist(), found.probabilities) == (P, None)
    rows["class"] = np.array([0, 2, 5])[P]
    assert read(tmp_path, rows, lines(np.array([0, 2, 5])[Y])).predictions.tolist() == P
    found = read(tmp_path, rows[:2], "0\n2\n")  # of three classes two occur
    assert found.probabilities is None
    assert "left out" in found.said[0]


def test_classes_below_0(tmp_path: Path) -> None:
    assert judged(tmp_path, "-1\n1\n", "1\n1\n") == ([1, 1], [0, 1], ("-1", "1"))
    assert judged(tmp_path, "-5\n3\n0\n", "-5\n-5\n0\n")[2] == ("-5", "0", "3")


def test_a_class_that_is_not_the_most_probable_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, "class,p(a),p(b)\na,0.4,0.6\nb,0.3,0.7\n", "a\nb\n")
    assert found.predictions.tolist() == [0, 1]
    assert found.said == (f"in 1 rows of {tmp_path / 'p.csv'} the class is not the most probable one",)


CELLS = ("0", "1", "2.0", "01", "0.5", "0.25", "-1", "cat", "dog", "NA", "", '"a,b"', "id", "label", "y_pred", "p(cat)")
OTHERS = ("cat\ndog\n", "0\n1\n", "label\n0\n1\n1\n", "id,class\n0,cat\n1,dog\n", "a,b\n0.5,0.5\n0.1,0.9\n")


@given(
    st.lists(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4), max_size=6),
    st.sampled_from(",;\t| "),
    st.sampled_from(OTHERS),
)
def test_any_file_is_understood_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], separator: str, other: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for pair in ((lines(separator.join(row) for row in rows), other), (other, lines(separator.join(r) for r in rows))):
        try:
            found = read(folder, *pair)
        except DataError:
            continue
        assert len(found.labels) == len(found.predictions) > 0
        assert max(found.labels.max(), found.predictions.max()) < len(found.class_names)


@given(st.permutations(range(10)), st.permutations(range(10)))
def test_any_order_with_ids_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    labels, predictions, _ = judged(folder, with_ids(P, "id,class", first), with_ids(Y, "id,label", second))
    assert labels == [Y[i] for i in second]
    assert predictions == [P[i] for i in second]


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
