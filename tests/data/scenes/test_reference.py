"""What a reference means: 0 is a class unless it is nothing, names decide where both references have them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ptrain.config import DataConfig
from ptrain.data.scenes.classes import Classes
from ptrain.data.scenes.scene import open_scene
from ptrain.data.scenes.sidecar import category_names_xml, read_category_names, sidecar_of
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

from .files import UTM, numbered, samples, stream, write

VALUES = np.arange(30, dtype=np.uint8).reshape(6, 5) % 3
"""Ten pixels of each of 0, 1 and 2."""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write(tmp_path / "s.tif", numbered(6, 5), **UTM)


def opened(folder: Path, scene: Path, values: NDArray[Any], schema: Any = None, **options: Any) -> Stream:
    """Write a reference and open it; names: of its values."""
    names, asked = options.pop("named", {}), options.pop("unlabelled", "auto")
    tags = [{f"CLASS_{value}": name for value, name in names.items()}]
    labels = write(folder / "r.tif", values, tags=tags, **UTM, **options)
    config = DataConfig(data=str(scene), labels=str(labels), unlabelled=asked)
    return open_scene(str(scene), Request(config=config, schema=schema))


@pytest.mark.parametrize(
    ("options", "classes", "says"),
    [
        ({"nodata": 0}, ("1", "2"), "10 pixels have no class by its nodata value or mask"),
        ({"nodata": 255}, ("0", "1", "2"), "0 is a class, since its nodata value is 255; --unlabelled 0 leaves it out"),
        ({}, ("1", "2"), "10 pixels of value 0 are taken as not labelled; --unlabelled none makes 0 a class"),
        ({"mask": VALUES != 2}, ("0", "1"), "10 pixels have no class by its nodata value or mask"),
        (
            {"named": {0: "Unclassified", 1: "oak"}},
            ("oak", "2"),
            "10 pixels of value 0 (Unclassified) are taken as not",
        ),
        ({"named": {0: "water", 1: "oak"}}, ("water", "oak", "2"), None),
        ({"named": {1: "oak"}}, ("oak", "2"), "10 pixels of value 0 are taken as not labelled"),
        (
            {"named": {0: "water", 2: "No data"}},
            ("water", "1"),
            "10 pixels of value 2 (No data) are taken as not labelled",
        ),
        ({"named": {0: "Unclassified"}, "nodata": 255}, ("1", "2"), "10 pixels of value 0 (Unclassified)"),
        ({"unlabelled": "none"}, ("0", "1", "2"), None),
        ({"unlabelled": (2,)}, ("0", "1"), "10 pixels of value 2 are taken as not labelled"),
        ({"unlabelled": (0, 7)}, ("1", "2"), "10 pixels of value 0 are taken as not labelled"),
    ],
)
def test_zero_is_a_class_unless_it_is_nothing(
    tmp_path: Path, scene: Path, options: dict[str, Any], classes: tuple[str, ...], says: str | None
) -> None:
    found = opened(tmp_path, scene, VALUES, **options)
    assert found.class_names == classes
    assert found.schema is not None
    kept = np.isin(VALUES, found.schema["class_values"])
    features, labels, _ = samples(found)
    assert np.array_equal(features, numbered(6, 5)[kept])
    assert np.array_equal(np.array(found.schema["class_values"])[labels], VALUES[kept])
    assert found.warnings == ()
    assert says is None if not found.notes else says is not None and says in found.notes[0]


def test_zero_beside_one_other_value_is_a_class(tmp_path: Path, scene: Path) -> None:
    found = opened(tmp_path, scene, VALUES // 2)
    assert found.class_names == ("0", "1")
    assert "0 is a class, since there is but one other value; --unlabelled 0 leaves it out" in found.notes[0]
    assert found.schema is not None
    again = opened(tmp_path, scene, VALUES * 0, found.schema)
    assert (samples(again)[1] == 0).all()


def test_a_255_far_above_all_others_is_warned_of(tmp_path: Path, scene: Path) -> None:
    values = np.where(VALUES == 2, 255, VALUES + 1).astype(np.uint8)
    found = opened(tmp_path, scene, values)
    assert found.class_names == ("1", "2", "255")
    assert "255 is taken as a class; where it means none, say --unlabelled 255" in found.warnings[0]
    assert opened(tmp_path, scene, values, unlabelled=(255,)).class_names == ("1", "2")
    assert opened(tmp_path, scene, values, nodata=255).warnings == ()
    assert opened(tmp_path, scene, np.where(VALUES == 2, 255, VALUES + 253).astype(np.uint8)).warnings == ()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_numbers_of_classes_of_any_type(tmp_path: Path, scene: Path, dtype: Any) -> None:
    large = 100_000 if np.dtype(dtype).itemsize > 2 else 300
    found = opened(tmp_path, scene, VALUES.astype(dtype) * dtype(large), unlabelled="none")
    assert found.class_names == ("0", str(large), str(2 * large))
    assert np.array_equal(samples(found)[1], VALUES.reshape(-1))


def test_numbers_that_are_no_classes(tmp_path: Path, scene: Path) -> None:
    below = VALUES.astype(np.int16) - 1
    with pytest.raises(
        DataError, match=r"value -1 in row 0, column 0; .* --unlabelled says which other numbers mean no"
    ):
        opened(tmp_path, scene, below)
    assert opened(tmp_path, scene, below, unlabelled=(-1,)).class_names == ("0", "1")
    with pytest.raises(DataError, match=r"value 0\.5 in row 0, column 1; expected whole numbers of classes"):
        opened(tmp_path, scene, (VALUES / 2).astype(np.float32))
    with pytest.raises(DataError, match="no labelled pixel, all are 0 or without a value"):
        opened(tmp_path, scene, VALUES * 0)


NAMED = {0: "water", 1: "oak", 2: "beech"}


def test_names_decide_which_class_it_is(tmp_path: Path, scene: Path) -> None:
    schema = opened(tmp_path, scene, VALUES, named=NAMED).schema
    other = {10: "Beech", 11: "water", 12: "oak"}
    found = opened(tmp_path, scene, VALUES + 10, schema, named=other)
    assert found.class_names == ("water", "oak", "beech")
    assert np.array_equal(samples(found)[1], np.array([2, 0, 1])[VALUES.reshape(-1)])
    assert "classes are matched by name, not by number: 10 is beech, 11 is water, 12 is oak" in found.notes[0]
    swapped = opened(tmp_path, scene, VALUES, schema, named={0: "oak", 1: "water", 2: "beech"})
    assert np.array_equal(samples(swapped)[1], np.array([1, 0, 2])[VALUES.reshape(-1)])
    unnamed = opened(tmp_path, scene, VALUES, schema)
    assert np.array_equal(samples(unnamed)[1], VALUES.reshape(-1))
    assert unnamed.notes == ()


def test_two_classes_of_one_name_are_told_apart_by_their_numbers(tmp_path: Path, scene: Path) -> None:
    twice = {0: "water", 1: "forest", 2: "forest"}
    first = opened(tmp_path, scene, VALUES, named=twice)
    assert first.class_names == ("water (0)", "forest (1)", "forest (2)")
    again = opened(tmp_path, scene, VALUES, first.schema, named=twice)
    assert np.array_equal(samples(again)[1], VALUES.reshape(-1))
    assert again.notes == ()


def test_a_class_that_is_not_known_is_refused_by_name(tmp_path: Path, scene: Path) -> None:
    schema = opened(tmp_path, scene, VALUES, named=NAMED).schema
    found = opened(tmp_path, scene, VALUES, schema, named={0: "water", 1: "pine", 2: "beech"})
    with pytest.raises(
        DataError, match=r"class 1 \(pine\) in row 0, column 1; expected one of 0 \(water\), 2 \(beech\)"
    ):
        samples(found)
    with pytest.raises(
        DataError, match=r"its classes are called Wasser, Eiche, Buche; expected water, oak, beech, those of"
    ):
        opened(tmp_path, scene, VALUES, schema, named={0: "Wasser", 1: "Eiche", 2: "Buche"})
    plain = opened(tmp_path, scene, VALUES, unlabelled="none").schema
    with pytest.raises(DataError, match=r"class 3 in row 0, column 2; expected one of 0, 1, 2, those of the training"):
        samples(opened(tmp_path, scene, np.where(VALUES == 2, 3, VALUES).astype(np.uint8), plain))


def test_what_meant_nothing_in_training_does_so_again(tmp_path: Path, scene: Path) -> None:
    schema = opened(tmp_path, scene, VALUES).schema
    again = opened(tmp_path, scene, VALUES, schema, nodata=255)
    assert np.array_equal(samples(again)[1], VALUES[VALUES > 0] - 1)
    assert "10 pixels of value 0 are taken as not labelled" in again.notes[0]
    two = opened(tmp_path, scene, VALUES % 2 + 1).schema
    assert len(samples(opened(tmp_path, scene, VALUES, two))[1]) == 20
    zero = opened(tmp_path, scene, VALUES, nodata=255).schema
    named = opened(tmp_path, scene, VALUES, zero, named={0: "Unclassified", 1: "oak", 2: "beech"})
    assert np.array_equal(samples(named)[1], VALUES[VALUES > 0])
    # a run of an earlier version says nothing of it
    old = {key: value for key, value in (schema or {}).items() if key != "unlabelled"}
    assert len(samples(opened(tmp_path, scene, VALUES, old))[1]) == 20


def test_names_of_a_table_of_attributes(tmp_path: Path, scene: Path) -> None:
    labels = write(tmp_path / "r.tif", VALUES, nodata=255, **UTM)
    rows = "".join(f'<Row index="{n}"><F>{n}</F><F>9</F><F>{name}</F></Row>' for n, name in NAMED.items())
    columns = "".join(
        f"<FieldDefn><Name>{name}</Name><Type>0</Type><Usage>{usage}</Usage></FieldDefn>"
        for name, usage in (("Value", 5), ("Count", 1), ("Landcover", 2))
    )
    sidecar_of(labels).write_text(
        f'<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable>{columns}{rows}</GDALRasterAttributeTable>'
        "</PAMRasterBand></PAMDataset>"
    )
    assert stream(scene, labels).class_names == ("water", "oak", "beech")
    assert read_category_names(labels) == ["water", "oak", "beech"]
    sidecar_of(labels).write_bytes(category_names_xml(["<a>", "b & c", ""]))
    assert stream(scene, labels).class_names == ("<a>", "b & c", "2")


def test_the_numbers_of_a_map() -> None:
    def of(*values: int) -> tuple[str, int]:
        colors = ((0, 0, 0),) * len(values)
        dtype, nothing = Classes(values=values, names=tuple(map(str, values)), colors=colors).in_map
        return dtype.name, nothing

    assert of(1, 2, 255) == ("uint8", 0)
    assert of(0, 1, 254) == ("uint8", 255)
    assert of(0, 255) == ("uint16", 65535)
    assert of(300, 65535) == ("uint16", 0)
    assert of(0, 100_000) == ("uint32", 2**32 - 1)
