"""What a table means is what it is read as: codes, ids, indices, missing values, numbers that float32 cannot hold."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from ptrain.config import DataConfig
from ptrain.data.samples import DataSet
from ptrain.data.sources.load import load, read_unlabelled
from ptrain.errors import DataError, MissingValueError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))


def write(tmp_path: Path, columns: dict[str, Sequence[Any]], kind: str = "csv") -> Path:
    """Write columns of text, each value as it is, as CSV, or as Parquet."""
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def opened(path: Path, **fields: Any) -> DataSet:
    return load(DataConfig(data=str(path), target="y", test_fraction=0.0, **fields), 0)


def refused(path: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        opened(path, **fields)
    assert str(caught.value).isprintable()
    assert "expected" in str(caught.value)
    return str(caught.value)


def features(data: DataSet) -> list[list[float]]:
    return [list(map(float, row)) for row in data.train.samples.features]


def classes(data: DataSet) -> list[str]:
    return [data.class_names[label] for label in data.train.samples.labels]


KINDS = pytest.mark.parametrize("kind", ["csv", "parquet"])
AB = ["a", "b"] * 2
HINT = "; if that is a value, --missing-values empty says so"


# Codes and ids


@KINDS
@pytest.mark.parametrize(
    "values",
    [
        ["01", "1", "001", "10"],
        ["0101", "0205", "1001", "0101"],
        ["9007199254740992", "9007199254740993", "9007199254740992", "12"],
        ["True", "False", "True", "False"],
        ["1e3", "x", "NA2", "1e3"],
    ],
)
def test_classes_keep_their_spelling(tmp_path: Path, kind: str, values: list[str]) -> None:
    data = opened(write(tmp_path, {"x": [1.5, 2.5, 3.5, 4.5], "y": values}, kind))
    assert classes(data) == values


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (
            pa.array([2**53, 2**53 + 1, -(2**62), 5]),
            ["9007199254740992", "9007199254740993", "-4611686018427387904", "5"],
        ),
        (
            pa.array([2**64 - 1, 2**64 - 2, 0, 1], pa.uint64()),
            ["18446744073709551615", "18446744073709551614", "0", "1"],
        ),
        (pa.array([1.0, 3.0, 2.0, 1.0]), ["1", "3", "2", "1"]),
        (pa.array([True, False, True, False]), ["True", "False", "True", "False"]),
        (pa.array(["u", "v", "u", "v"], pa.string_view()), ["u", "v", "u", "v"]),
        (pa.array(["u", "v", "u", "v"], pa.large_string()).dictionary_encode(), ["u", "v", "u", "v"]),
        (pa.array([3, 10, 3, 10]).dictionary_encode(), ["3", "10", "3", "10"]),
    ],
)
def test_classes_of_every_type_have_their_own_names(tmp_path: Path, column: Any, names: list[str]) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"x": [1, 2, 3, 5], "y": column, "z": column}), path)
    assert classes(opened(path, features="x")) == names
    categories = opened(path, categories="z", drop="x")
    known = categories.feature_names or ()
    assert [known[int(np.argmax(row))] for row in features(categories)] == [f"z={name}" for name in names]


def test_classes_that_look_like_numbers_may_be_names(tmp_path: Path) -> None:
    path = write(tmp_path, {"x": [1, 2, 3, 5], "y": ["1.10", "1.1", "2", "1.10"]})
    assert "1.1 is no class; expected names or whole numbers" in refused(path)
    assert classes(opened(path, categories="y")) == ["1.10", "1.1", "2", "1.10"]


@KINDS
def test_codes_are_categories_and_that_is_said(tmp_path: Path, kind: str) -> None:
    data = opened(write(tmp_path, {"zip": ["01", "1", "10", "01"], "y": AB}, kind))
    assert data.feature_names == ("zip=01", "zip=1", "zip=10")
    assert features(data) == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert data.notes == ("column zip holds codes such as 01: each of the 3 is a category",)


def test_a_code_far_down_makes_the_whole_column_one_of_codes(tmp_path: Path) -> None:
    values = [str(number % 9) for number in range(12_000)] + ["007"]
    names = ["a" * 100, "b" * 100, "c" * 100]  # a block is one MiB
    data = opened(write(tmp_path, {"c": values, "y": [*names * 4000, "a" * 100]}))
    assert data.feature_names == ("c=0", "c=007", *(f"c={number}" for number in range(1, 9)))
    assert np.asarray(data.train.samples.features).sum(axis=1).tolist() == [1] * 12_001


def test_classes_of_other_tables_are_found_by_name(tmp_path: Path) -> None:
    trained = opened(write(tmp_path, {"x": [1, 2, 3, 5], "y": ["01", "10", "02", "01"]}))
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", {"y": ["10", "01"], "x": [7, 8]})
    data = load(
        DataConfig(data=str(other), target="y", test_fraction=0.0), 0,
        schema=trained.schema, class_names=trained.class_names,
    )  # fmt: skip
    assert (classes(data), features(data)) == (["10", "01"], [[7], [8]])
    write(tmp_path / "other", {"y": ["10", "1"], "x": [7, 8]})
    with pytest.raises(DataError, match="line 3, column y: class '1'; expected one of"):
        load(DataConfig(data=str(other), target="y"), 0, schema=trained.schema, class_names=trained.class_names)


@KINDS
def test_whole_numbers_that_no_number_can_hold_are_refused_or_names(tmp_path: Path, kind: str) -> None:
    ids = [2**53 + number for number in range(4)]
    path = write(tmp_path, {"id": ids, "y": AB}, kind)
    assert "column id: 9007199254740993 has more digits than a number can keep" in refused(path)
    assert opened(path, categories="id").feature_names == tuple(f"id={one}" for one in ids)


@KINDS
def test_ids_names_and_free_text_are_no_categories(tmp_path: Path, kind: str) -> None:
    count = 60
    columns: dict[str, Sequence[Any]] = {
        "a name": [f"person {number}" for number in range(count)],
        "ticket": [f"T{number // 2 * 2 + (number % 7 == 0)}" for number in range(count)],
        "colour": ["red", "green", "blue"] * 20,
        "y": AB * 15,
    }
    path = write(tmp_path, columns, kind)
    message = refused(path)
    assert "column a name: has 60 different texts in 60 rows, such as 'person 0'" in message
    assert "leave names, ids and free text out with --drop 'a name'" in message
    kept = opened(path, drop="ticket", categories="a name")
    assert len(kept.feature_names or ()) == count + 3
    assert kept.notes == ("column a name becomes 60 features, one a category",)


@KINDS
def test_every_row_with_a_class_of_its_own_is_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, {"x": [0.5, 1.5] * 40, "y": list(range(1000, 1080))}, kind)
    assert "column y: 80 different classes in 80 rows" in refused(path)


# Numbers


@KINDS
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["4,001", "2,500", "17", "1,000,000"], "'4,001' is no number but looks like one written with commas"),
        (["0,77", "1,5", "-2,25", "3,0"], "written with commas"),
        (["12%", "5%", "7%", "9%"], "written with per cent"),
        (["$5", "$6", "$1,000", "$7"], "written with a currency"),
        (["\uff11", "\uff12", "\uff13", "\uff14"], "with other characters than the digits 0 to 9"),
        (["1_000", "2_000", "3_000", "4_000"], "written with underscores"),
    ],
)
def test_numbers_in_other_spellings_are_asked_about(tmp_path: Path, kind: str, values: list[str], words: str) -> None:
    quoted = [f'"{value}"' for value in values] if kind == "csv" else values
    path = write(tmp_path, {"x": quoted, "y": AB}, kind)
    message = refused(path)
    assert words in message
    assert "column x" in message
    assert (
        "write them so, leave the column out with --drop x, or keep its values as names with --categories x" in message
    )
    assert len(opened(path, categories="x").feature_names or ()) == len(set(values))


@pytest.mark.parametrize("odd", ["\uff11\uff12", "1,5"])
def test_one_number_in_another_spelling_is_named_with_its_line(tmp_path: Path, odd: str) -> None:
    path = write(tmp_path, {"x": [1, 2, 3, f'"{odd}"'], "y": AB})
    assert f"line 5, column x: {odd!r} is no number but looks like one" in refused(path)


def test_decimal_commas_are_read_in_training_and_by_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;y\n1,5;a\n2;b\n-0,25;a\n")
    data = opened(path)
    assert features(data) == [[1.5], [2], [-0.25]]
    (tmp_path / "new.csv").write_text("x\n2.5\n")
    assert read_unlabelled(str(tmp_path / "new.csv"), DataConfig(), data.schema).features.tolist() == [[2.5]]


@KINDS
@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        ({"x": [1_700_000_000, 1_700_000_001, 5, 6]}, "<u4"),
        ({"x": [1_700_000_000, 1_700_000_001, 5, 6], "z": [0.5, 1, 2, 3]}, "<f8"),
        ({"x": [500_000.25, 500_000.26, 500_000.27, 500_000.28]}, "<f8"),
        ({"x": [1013.25, 1013.251, 1013.252, 1013.253]}, "<f8"),
        ({"x": [990.5, 1013.25, 1030.75, 1001.5]}, "<f4"),
        ({"x": [0.1, 0.2, 0.3, 5.5]}, "<f4"),
        ({"x": [70_000, 5, 6, 7], "z": [0.5, 1, 2, 3]}, "<f4"),
        ({"x": [7.5, 7.5, 7.5, 7.5]}, "<f4"),
    ],
)
def test_numbers_keep_the_digits_that_tell_them_apart(
    tmp_path: Path, kind: str, columns: dict[str, list[float]], dtype: str
) -> None:
    path = write(tmp_path, {**columns, "y": AB}, kind)
    data = opened(path)
    assert data.train.samples.features.dtype == dtype
    expected = np.array(list(columns.values()), np.float64).T.astype(dtype)
    np.testing.assert_array_equal(data.train.samples.features, expected)
    new = read_unlabelled(str(path), DataConfig(), data.schema)
    assert new.features.dtype == ("<f4" if np.can_cast(dtype, "<f4") else "<f8")
    np.testing.assert_array_equal(new.features, expected.astype(new.features.dtype))


def test_the_mean_keeps_its_digits_as_well(tmp_path: Path) -> None:
    data = opened(write(tmp_path, {"x": [1_700_000_000, "", 1_700_000_003, 1_700_000_003], "y": AB}), missing="mean")
    assert features(data) == [[1_700_000_000], [1_700_000_002], [1_700_000_003], [1_700_000_003]]


# Columns that are no features


def test_the_index_of_a_data_frame_is_no_feature_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"a": [0.5, 1.5, 2.5, 3.5], "day": ["mo", "tu", "we", "th"], "__index_level_1__": [0, 1, 2, 3], "y": AB}
    meta = {"pandas": json.dumps({"index_columns": ["day", "__index_level_1__", {"kind": "range"}]})}
    parquet.write_table(pa.table(columns).replace_schema_metadata(meta), path)
    data = opened(path)
    assert data.feature_names == ("a",)
    assert data.notes == (
        "column __index_level_1__ is the index of a DataFrame and is left out",
        "column day is the index of a DataFrame and is left out",
    )
    assert opened(path, features="a,__index_level_1__").feature_names == ("a", "__index_level_1__")
    parquet.write_table(pa.table(columns).replace_schema_metadata({"pandas": b"{damaged"}), path)
    assert opened(path, drop="day").feature_names == ("a",)


@pytest.mark.parametrize("heading", ["", "Unnamed: 0"])
def test_a_column_without_a_heading_is_no_feature(tmp_path: Path, heading: str) -> None:
    path = write(tmp_path, {heading: ["r1", "r2", "r3", "r4"], "x": [1, 2, 3, 5], "y": AB})
    data = opened(path)
    assert data.feature_names == ("x",)
    assert len(data.notes) == 1
    assert "is left out" in data.notes[0]


def test_a_column_that_counts_the_rows_is_warned_of(tmp_path: Path) -> None:
    columns: dict[str, Sequence[Any]] = {"Id": range(1, 41), "x": [1, 3] * 20, "y": AB * 10}
    data = opened(write(tmp_path, columns))
    assert [text for text in data.warnings if "column Id counts the rows, 1 to 40" in text and "--drop Id" in text]
    assert opened(write(tmp_path, columns), drop="Id").warnings == ()
    assert not [t for t in opened(write(tmp_path, {**columns, "Id": [*range(39), 50]})).warnings if "counts" in t]


@pytest.mark.parametrize("name", ["plot_id", "ID", "PatientID", "index", "level_0", "row_nr"])
def test_ids_and_indices_out_of_order_are_warned_of(tmp_path: Path, name: str) -> None:
    (warning,) = opened(write(tmp_path, {name: [7, 3, 9, 1], "x": [1.5, 2, 3, 5], "y": AB})).warnings
    assert f"column {name} is taken as a measurement" in warning
    assert f"--drop {name}" in warning
    for other in ("width", "humid", "idle", "grid", "rainfall index"):
        assert opened(write(tmp_path, {other: [7, 3, 9, 1], "y": AB})).warnings == ()


def test_names_that_differ_in_case_alone_are_warned_of(tmp_path: Path) -> None:
    data = opened(write(tmp_path, {"c": ["red", "Red", "blue", "x"], "y": ["oak", "pine", "oak ", "Oak"]}))
    assert data.class_names == ("Oak", "oak", "pine")
    assert data.warnings == (
        "column c: 'Red' and 'red' are different names here; are they the same?",
        "column y: 'Oak' and 'oak' are different names here; are they the same?",
    )


def test_columns_are_found_by_name_and_others_are_said(tmp_path: Path) -> None:
    trained = opened(write(tmp_path, {"a": [1, 2, 3, 5], "b": [5, 6, 7, 9], "c": AB, "y": AB}), drop="c")
    told: list[str] = []
    (tmp_path / "new.csv").write_text("more,b,c,a\n0,6,x,2\n")
    new = read_unlabelled(
        str(tmp_path / "new.csv"), DataConfig(), trained.schema, tell=lambda source: told.extend(source.notes)
    )
    assert new.features.tolist() == [[2, 6]]
    assert told == ["new.csv: columns that the training data have not are not used: more"]


# Missing values


def test_spellings_of_a_missing_value_are_said_and_may_be_values(tmp_path: Path) -> None:
    path = write(tmp_path, {"x": [1, 2, 3, 5, 8], "y": ["AO", "NA", "ZA", "NA", ""]})
    with pytest.raises(MissingValueError, match=r"line 3.*'NA' stands for none.*--missing-values empty"):
        opened(path)
    dropped = opened(path, missing="drop")
    assert classes(dropped) == ["AO", "ZA"]
    assert dropped.warnings == (f"3 of 5 rows are left out, as they have no value in y (3 rows, written NA){HINT}",)
    kept = opened(path, missing="drop", missing_values="empty")
    assert classes(kept) == ["AO", "NA", "ZA", "NA"]
    assert kept.warnings == ("1 of 5 rows are left out, as they have no value in y (1 row)",)


def test_none_may_be_an_answer(tmp_path: Path) -> None:
    path = write(tmp_path, {"t": ["None", "Drug", "None", "Drug"], "y": AB})
    mean = opened(path, missing="mean")
    assert mean.feature_names == ("t=Drug",)
    assert mean.warnings == (
        f"the mean of the column takes the place of missing values: t (2 rows, written None){HINT}",
    )
    assert opened(path, missing_values="empty").feature_names == ("t=Drug", "t=None")


@KINDS
def test_numbers_may_stand_for_a_missing_value(tmp_path: Path, kind: str) -> None:
    columns: dict[str, Sequence[Any]] = {"x": [1, -999, 3, 5], "z": [0.5, 1.5, -999.0, 2.5], "y": AB}
    data = opened(write(tmp_path, columns, kind), missing="mean", missing_values="-999,NA")
    assert features(data) == [[1, 0.5], [3, 1.5], [3, 1.5], [5, 2.5]]
    assert data.schema is not None
    new = write(tmp_path, {"x": [-999], "z": [2.0]}, kind)
    assert read_unlabelled(str(new), DataConfig(), data.schema).features.tolist() == [[3, 2]]


def test_rows_left_out_of_other_data_are_counted_as_well(tmp_path: Path) -> None:
    path = write(tmp_path, {"x": [1, "", 3, 5], "y": AB})
    (tmp_path / "test").mkdir()
    test = write(tmp_path / "test", {"x": [1, 2, "?"], "y": ["a", "", "b"]})
    data = opened(path, missing="drop", test_data=str(test))
    assert data.warnings == (
        "1 of 4 rows are left out, as they have no value in x (1 row)",
        "2 of 3 rows are left out, as they have no value in x (1 row), y (1 row)",
    )
    assert data.test is not None
    assert data.test.size == 1


# Rows of predictions


def test_rows_to_predict_are_those_of_the_file_and_have_its_ids(tmp_path: Path) -> None:
    trained = opened(write(tmp_path, {"x": [1, "", 3, 5], "y": AB}), missing="mean")
    (tmp_path / "new.csv").write_text("x\n0\n\n4\n0\n4\n")
    samples = read_unlabelled(str(tmp_path / "new.csv"), DataConfig(), trained.schema)
    assert samples.features.tolist() == [[0], [3], [4], [0], [4]]
    assert samples.named is None
    (tmp_path / "new.csv.gz").write_bytes(gzip.compress(b"PassengerId,x\n007,1\nb,2\n,3\n"))
    named = read_unlabelled(str(tmp_path / "new.csv.gz"), DataConfig(), trained.schema).named
    assert named is not None
    assert (named.heading, list(named.names)) == ("PassengerId", ["007", "b", ""])
    days = {"day": pa.array([1, 2], pa.timestamp("s")), "__index_level_1__": ["u", "v"], "x": [1.5, 2.5]}
    meta = {"pandas": json.dumps({"index_columns": ["day", "__index_level_1__"]})}
    parquet.write_table(pa.table(days).replace_schema_metadata(meta), tmp_path / "new.parquet")
    named = read_unlabelled(str(tmp_path / "new.parquet"), DataConfig(), trained.schema).named
    assert named is not None
    assert (named.heading, list(named.names)) == ("__index_level_1__", ["u", "v"])
