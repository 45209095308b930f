"""CSV, TSV and Parquet: what becomes of columns, and one line for everything that is wrong with a file."""

import contextlib
import csv
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sklearn.datasets import load_iris, load_wine

from ptrain.config import DataConfig
from ptrain.data.samples import DataSet, Split
from ptrain.data.sources.load import load, read_unlabelled
from ptrain.errors import DataError, MissingValueError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache folder"
    monkeypatch.setenv("PTRAIN_CACHE", str(folder))
    return folder


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def opened(path: Path, target: str | None = "y", test_fraction: float = 0.0, **fields: Any) -> DataSet:
    return load(DataConfig(data=str(path), target=target, test_fraction=test_fraction, **fields), 0)


def rows(split: Split | None) -> list[list[float]]:
    assert split is not None
    taken = split.samples.features[split.indices(np.arange(split.size))]
    return [list(map(float, row)) for row in taken]


def labels(split: Split) -> list[int]:
    return [int(label) for label in split.samples.labels[split.indices(np.arange(split.size))]]


def refused(path: Path, kind: type[DataError] = DataError, **fields: Any) -> str:
    with pytest.raises(kind) as caught:
        opened(path, **fields)
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    return message


def write_iris(path: Path) -> Path:
    iris = load_iris()
    names = [name.replace(" (cm)", "").replace(" ", "_") for name in iris.feature_names]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "species"])
        for values, number in zip(iris.data.tolist(), iris.target, strict=True):
            writer.writerow([*values, iris.target_names[number]])
    return path


def test_iris_as_text_is_iris(tmp_path: Path) -> None:
    iris = load_iris()
    data = opened(write_iris(tmp_path / "iris.csv"), target="species")
    np.testing.assert_array_equal(data.train.samples.features, iris.data.astype(np.float32))
    np.testing.assert_array_equal(data.train.samples.labels, iris.target)
    assert data.class_names == tuple(iris.target_names)
    assert data.feature_names == ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert isinstance(data.train.samples.features, np.memmap)


def test_wine_is_the_same_from_text_and_from_parquet(tmp_path: Path) -> None:
    wine = load_wine()
    names = [name.replace("/", " ") for name in wine.feature_names]
    table = pa.table({**{n: wine.data[:, i] for i, n in enumerate(names)}, "cultivar": wine.target})
    parquet.write_table(table, tmp_path / "wine.parquet", row_group_size=50)
    lines = ["\t".join([*names, "cultivar"])]
    lines += [
        "\t".join(map(repr, [*values, int(c)])) for values, c in zip(wine.data.tolist(), wine.target, strict=True)
    ]
    write(tmp_path / "wine.tsv", "\n".join(lines) + "\n")
    first, second = (opened(tmp_path / name, target="cultivar") for name in ("wine.parquet", "wine.tsv"))
    np.testing.assert_array_equal(first.train.samples.features, second.train.samples.features)
    np.testing.assert_array_equal(first.train.samples.features, wine.data.astype(np.float32))
    assert labels(first.train) == labels(second.train) == wine.target.tolist()
    assert first.class_names == ("0", "1", "2")


def test_text_becomes_one_column_a_category(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "size,colour,y\n3,red,b\n4,blue,a\n5, red ,b\n")
    data = opened(path)
    assert data.feature_names == ("size", "colour=blue", "colour=red")
    assert rows(data.train) == [[3, 0, 1], [4, 1, 0], [5, 0, 1]]
    assert data.train.samples.features.dtype == np.uint8
    assert data.class_names == ("a", "b")
    assert labels(data.train) == [1, 0, 1]


def test_whole_numbers_are_stored_in_the_smallest_type(tmp_path: Path) -> None:
    for values, dtype in (("0,255", "u1"), ("-1,200", "<i2"), ("0,70000", "<u4"), ("1,2.5", "<f4")):
        low, high = values.split(",")
        path = write(tmp_path / "t.csv", f"x,y\n{low},0\n{high},1\n")
        assert opened(path).train.samples.features.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("column", "names", "expected"),
    [
        (["3", "8", "5", "3"], ("3", "5", "8"), [0, 2, 1, 0]),
        (["10", "9", "2", "10"], ("2", "9", "10"), [2, 1, 0, 2]),
        (["1.0", "2", "1", "2"], ("1", "2"), [0, 1, 0, 1]),
        (["1.0", "2", "01", "2"], ("01", "1.0", "2"), [1, 2, 0, 2]),
        (["-1", "1", "1", "-1"], ("-1", "1"), [0, 1, 1, 0]),
        (["b", "a", "10", "b"], ("10", "a", "b"), [2, 1, 0, 2]),
    ],
)
def test_classes_are_the_distinct_values_of_the_target(
    tmp_path: Path, column: list[str], names: tuple[str, ...], expected: list[int]
) -> None:
    path = write(tmp_path / "t.csv", "x,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(column)))
    data = opened(path)
    assert data.class_names == names
    assert labels(data.train) == expected


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", '"a, b",c,d,y\n1,2,3,0\n4,5,6,1\n')
    assert opened(path, features='c,"a, b"').feature_names == ("c", "a, b")
    assert rows(opened(path, features='c,"a, b"').train) == [[2, 1], [5, 4]]
    assert opened(path, drop='"a, b",d').feature_names == ("c",)
    assert "--features z: no such column" in refused(path, features="z")
    assert "--drop cc: no such column" in refused(path, drop="cc")
    assert "did you mean y" in refused(path, target="yy")
    assert "one of a, b, c, d, y" in refused(path, target=None)
    assert "holds y, the --target" in refused(path, features="c,y")
    assert "no columns left" in refused(path, drop='"a, b",c,d')
    assert "separated by commas" in refused(path, drop=",")
    assert "twice" in refused(path, features="c,c")


@pytest.mark.parametrize("spelling", ["", "NA", "nan", " null ", "?"])
def test_missing_values_are_an_error_unless_said_otherwise(tmp_path: Path, spelling: str) -> None:
    path = write(tmp_path / "t.csv", f"x,c,y\n1,red,0\n\n{spelling},blue,1\n4,,0\n7,red,1\n")
    assert "t.csv, line 4, column x: no value" in refused(path, MissingValueError)
    mean = opened(path, missing="mean")
    assert rows(mean.train)[1] == [4, 1, 0]
    assert rows(mean.train)[2] == pytest.approx([4, 1 / 3, 2 / 3])
    drop = opened(path, missing="drop")
    assert rows(drop.train) == [[1, 0, 1], [7, 0, 1]]
    assert labels(drop.train) == [0, 1]


def test_the_mean_is_that_of_the_training_split_alone(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values: list[float] = generator.normal(1e6, 1, 200).astype(np.float32).tolist()
    lines = [f"{'' if i % 7 == 0 else repr(v)},{i % 2}" for i, v in enumerate(values)]
    data = opened(write(tmp_path / "t.csv", "x,y\n" + "\n".join(lines) + "\n"), test_fraction=0.3, missing="mean")
    members = data.train.indices(np.arange(data.train.size))
    known = [values[i] for i in members if i % 7]
    assert data.schema is not None
    assert data.schema["fill"] == [math.fsum(known) / len(known)]
    filled = data.train.samples.features[:, 0]
    assert set(filled[::7].tolist()) == {data.schema["fill"][0]}
    assert [v for i, v in enumerate(filled.tolist()) if i % 7] == [v for i, v in enumerate(values) if i % 7]


def test_every_spelling_of_nan_is_missing_however_the_column_is_read(tmp_path: Path) -> None:
    for first in ("1", " 1"):  # the blank makes it text, which is looked at later
        path = write(tmp_path / "t.csv", f"x,y\n{first},a\n-nan,b\nNAN,a\n3,b\n")
        assert "line 3, column x: no value" in refused(path, MissingValueError)
        assert rows(opened(path, missing="drop").train) == [[1], [3]]


def test_a_column_whose_first_value_is_missing_is_one_of_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y\nNA,a\n2,b\n" + "3,a\n" * 200 + "four,b\n")
    assert "line 204, column x: 'four' is no number but '2' in line 3 is" in refused(path, missing="drop")


def test_a_target_without_a_value_is_an_error_or_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y\n1,a\n2,\n3,b\n")
    assert "line 3, column y: no value" in refused(path, MissingValueError)
    assert "line 3, column y" in refused(path, missing="mean")
    assert rows(opened(path, missing="drop").train) == [[1], [3]]


def test_a_column_without_values_has_no_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,z,y\n1,,a\n2,,b\n")
    assert "column z: has no values" in refused(path, missing="mean")


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "no line of text"),
    "header only": ("x,y\n", "has a heading but no rows"),
    "no header": ("1.5,2\n2.5,3\n", "line 1: holds values, such as '1.5'; expected the columns' names"),
    "same names": ("x,x,y\n1,2,a\n", "two columns are named x"),
    "short row": ("x,z,y\n1,2,a\n\n3,b\n4,5,b\n", "line 4: 2 values; expected 3"),
    "long row": ("x,y\n1,a\n1,2,b\n", "line 3: 3 values; expected 2"),
    "truncated": ("x,z,y\n1,2,a\n1,2,b\n1,2", "line 4: 2 values; expected 3"),
    "after a broken line": ('c,y\n"two\nlines",a\nred\n', "line 4: 1 values; expected 2"),
    "open quote": ('x,c,y\n1,"red,a\n2,blue,b\n', "expected"),
    "open quote at the end": ('x,y\n1,a\n2,"b\n', "ends inside a quoted value"),
    "latin1": (b"x,y\n1,a\n2,caf\xe9\n", "line 3: byte 0xe9 at position 6 is not UTF-8"),
    "latin1 header": (b"x,\xe9,y\n1,2,a\n", "line 1: byte 0xe9 at position 3 is not UTF-8"),
    "binary": (bytes(range(128, 256)) * 20, "is not UTF-8"),
    "mixed": ("x,y\n1,a\n2,b\nthree,a\n", "line 4, column x: 'three' is no number but '1' in line 2 is"),
    "mixed, text first": ("x,y\none,a\n2,b\n", "line 2, column x: 'one' is no number but '2' in line 3 is"),
    "decimal comma": ('x,y\n"1,5",a\n2,b\n', "'1,5' is no number"),
    "infinity": ("x,y\n1,a\n-inf,b\n", "line 3, column x: -inf; expected a finite number"),
    "overflow": ("x,y\n1,a\n1e400,b\n", "line 3, column x: inf"),
    "float32 overflow": ("x,y\n1,a\n1e39,b\n", "line 3, column x: 1e+39"),
    "real target": ("x,y\n1,0.5\n2,0.25\n", "column y: 0.25 is no class"),
    "identifier": ("x,y\n" + "".join(f"name{i},{i % 2}\n" for i in range(1500)), "more than 1,000 different texts"),
    "target of identifiers": ("x,y\n" + "".join(f"{i},n{i}\n" for i in range(10_500)), "more than 10,000 different"),
    "long line": ("x,y\n1,a\n2," + "b" * 3_000_000 + "\n", "more than 1,048,576 bytes"),
    "long header": ("x" * 3_000_000, "no line of text in the first"),
    "header with a line break": ('"x\ny",z\n1,2\n', "line 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_text_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, expected = BROKEN[name]
    path = write(tmp_path / "a table.csv", content)
    message = refused(path)
    assert expected in message
    assert "a table.csv" in message


def test_one_class_and_one_row_are_refused_by_the_checks(tmp_path: Path) -> None:
    from ptrain.data.checks import check

    with pytest.raises(DataError, match="all 1 training samples have class a"):
        check(opened(write(tmp_path / "t.csv", "x,y\n1,a\n")))
    with pytest.raises(DataError, match="leave none for training"):
        opened(write(tmp_path / "t.csv", "x,y\n1,a\n"), test_fraction=0.5)


def test_text_of_every_sort_of_line_end_and_a_mark_in_front_is_read(tmp_path: Path) -> None:
    for text in ("x,y\r\n1,a\r\n2,b\r\n", "\ufeffx,y\n1,a\n2,b", "\nx,y\n\n1,a\n\n2,b\n\n"):
        assert rows(opened(write(tmp_path / "t.csv", text)).train) == [[1], [2]]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "no such" in refused(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a FIFO" in refused(tmp_path / "pipe.csv")
    strange = write(tmp_path / "zwei\nZeilen, ü.csv", "x,y\n1,a\n2,b\n")
    assert rows(opened(strange).train) == [[1], [2]]


def save(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pa.table(columns), path, **options)
    return path


def test_every_type_of_parquet_that_has_a_meaning_is_read(tmp_path: Path) -> None:
    path = save(
        tmp_path / "t.parquet",
        {
            "bool": [True, False],
            "int": pa.array([1, 2], pa.int16()),
            "unsigned": pa.array([1, 2**63], pa.uint64()),
            "half": pa.array(np.array([0.5, 1.5], np.float16)),
            "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
            "text": ["a", "b"],
            "dictionary": pa.array(["u", "v"]).dictionary_encode(),
            "y": ["no", "yes"],
        },
    )
    data = opened(path)
    assert rows(data.train) == [
        [1, 1, 1, 0.5, 1, 1, 0, 1, 0],
        [0, 2, float(2**63), 1.5, 2, 0, 1, 0, 1],
    ]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([[1], [2]]), "list"),
        (pa.array([{"a": 1}, {"a": 2}]), "struct"),
        (pa.array([1, 2], pa.timestamp("s")), "timestamp"),
        (pa.array([b"a", b"b"]), "binary"),
    ],
)
def test_nested_columns_dates_and_bytes_are_refused_unless_dropped(tmp_path: Path, column: Any, kind: str) -> None:
    path = save(tmp_path / "t.parquet", {"x": [1, 2], "z": column, "y": ["a", "b"]})
    message = refused(path)
    assert f"column z: is of type {kind}" in message
    assert "--drop z" in message
    assert rows(opened(path, drop="z").train) == [[1], [2]]


def test_missing_values_of_parquet_are_null_and_nan(tmp_path: Path) -> None:
    path = save(tmp_path / "t.parquet", {"x": [1.0, float("nan"), None, 4.0], "y": ["a", "b", "a", "b"]})
    assert "row 2, column x: no value" in refused(path, MissingValueError)
    assert rows(opened(path, missing="mean").train) == [[1], [2.5], [2.5], [4]]
    assert rows(opened(path, missing="drop").train) == [[1], [4]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 5000), flip=st.integers(0, 5000), value=st.integers(1, 255))
def test_a_damaged_parquet_file_is_refused_or_read(tmp_path: Path, cut: int, flip: int, value: int) -> None:
    path = save(tmp_path / "t.parquet", {"x": list(range(300)), "c": ["a", "b", "c"] * 100, "y": ["u", "v"] * 150})
    content = bytearray(path.read_bytes())
    content[flip % len(content)] ^= value
    write(path, bytes(content[: len(content) - cut % len(content)] if cut % 3 == 0 else content))
    with contextlib.suppress(DataError):
        opened(path)


# Other files, read the way of the training data


def unlabelled(path: Path, trained: DataSet) -> list[list[float]]:
    samples = read_unlabelled(str(path), DataConfig(), trained.schema)
    return [list(map(float, row)) for row in samples.features]


def test_a_table_to_predict_is_read_by_the_schema(tmp_path: Path) -> None:
    trained = opened(write(tmp_path / "t.csv", "x,c,y\n1,red,a\n3,blue,b\n"))
    new = write(tmp_path / "new.csv", "other,c,x\nfoo,blue,400\nbar,red,-2.5\n")
    assert unlabelled(new, trained) == [[400, 1, 0], [-2.5, 0, 1]]
    save(tmp_path / "new.parquet", {"c": ["red"], "x": [7]})
    assert unlabelled(tmp_path / "new.parquet", trained) == [[7, 0, 1]]
    for text, expected in {
        "x,y\n1,a\n": "no column c; expected the columns of the training data: x, c",
        "x,c\n1,red\n2,green\n": "line 3, column c: 'green' is none of the 2 categories",
        "x,c\none,red\n": "line 2, column x: 'one'; expected a number",
        "x,c\ninf,red\n": "line 2, column x: inf; expected a finite number",
        "x,c\n,red\n": "line 2, column x: no value",
    }.items():
        with pytest.raises(DataError) as caught:
            unlabelled(write(tmp_path / "new.csv", text), trained)
        assert expected in str(caught.value)


def test_missing_values_to_predict_get_the_mean_of_training(tmp_path: Path) -> None:
    trained = opened(write(tmp_path / "t.csv", "x,c,y\n1,red,a\n3,blue,b\n,red,b\n"), missing="mean")
    new = write(tmp_path / "new.csv", "x,c\n,blue\n5,\n")
    assert unlabelled(new, trained) == [[2, 1, 0], [5, pytest.approx(1 / 3), pytest.approx(2 / 3)]]
    dropped = opened(write(tmp_path / "t.csv", "x,c,y\n1,red,a\n3,blue,b\n,red,b\n"), missing="drop")
    with pytest.raises(DataError, match="line 2, column x: no value; expected one in every row"):
        unlabelled(new, dropped)


def test_a_table_needs_a_run_that_was_trained_on_one(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y\n1,a\n")
    with pytest.raises(DataError, match="the run was trained on arrays"):
        read_unlabelled(str(path), DataConfig(), None)


def test_a_test_file_is_read_by_the_schema_and_never_shares_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,c,y\n1,red,a\n3,blue,b\n9,red,c\n")
    test = write(tmp_path / "test.csv", "y,c,x\nb,red,7\n")
    data = opened(path, test_data=str(test))
    assert rows(data.test) == [[7, 0, 1]]
    assert data.test is not None
    assert labels(data.test) == [1]
    assert data.test.samples is not data.train.samples
    wrong = write(tmp_path / "test.csv", "y,c,x\nd,red,7\n")
    assert "line 2, column y: class 'd'; expected one of the training data's classes, a, b, c" in refused(
        path, test_data=str(wrong)
    )
    with_gap = write(tmp_path / "test.csv", "y,c,x\nb,red,\n")
    assert rows(opened(path, test_data=str(with_gap), missing="mean").test) == [[pytest.approx(13 / 3), 0, 1]]


def test_no_reader_loads_a_library_before_it_opens_a_file() -> None:
    code = (
        "import sys; import ptrain.data.sources\n"
        "heavy = ('pyarrow', 'h5py', 'zarr', 'scipy', 'rasterio', 'torchvision', 'torch', 'PIL')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_columns_are_for_tables_only(tmp_path: Path) -> None:
    for fields in ({"target": "y"}, {"features": "a"}, {"drop": "a"}, {"missing": "mean"}):
        with pytest.raises(DataError, match=f"--{next(iter(fields))} .* expected only with a table"):
            load(DataConfig(data="digits", **fields), 0)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(
        st.tuples(
            st.integers(-(2**31), 2**31),
            st.floats(-1e30, 1e30),
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8)
            .map(str.strip)
            .filter(
                lambda text: text not in ("", "?", "NA", "nan", "NaN", "null", "None", "NULL", "N/A", "n/a", "#N/A")
            ),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, table: Sequence[tuple[int, float, str]]) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["whole", "real", "y"])
        writer.writerows([(whole, repr(real), "c" + text) for whole, real, text in table])
    data = opened(path)
    names = sorted({("c" + text).strip() for _, _, text in table})
    assert sorted(data.class_names) == names
    expected = [[float(np.float32(whole)), float(np.float32(real))] for whole, real, _ in table]
    # where every number is whole, they are stored as integers, which hold more of them than float32
    assert [[float(np.float32(value)) for value in row] for row in rows(data.train)] == expected
    assert [data.class_names[label] for label in labels(data.train)] == [("c" + text).strip() for _, _, text in table]
