"""Pixels without a value: nodata, masks, alpha bands and NaN are obeyed and counted; scale and offset are applied."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from ptrain.config import DataConfig
from ptrain.data.scenes.scene import open_scene
from ptrain.data.scenes.sidecar import sidecar_of
from ptrain.data.scenes.validity import MASKED, NEAR, NO_NUMBER, NODATA, around, is_alpha, lacking, scaling
from ptrain.data.store.stream import Request
from ptrain.errors import DataError

from .files import UTM, samples, stream, write

HEIGHT, WIDTH = 12, 10
HOLE = np.zeros((HEIGHT, WIDTH), bool)
HOLE[:5] = True
CUBE = np.random.default_rng(1).integers(1, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
CUBE[HOLE] = 0


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write(tmp_path / "r.tif", np.tile([1, 2], (HEIGHT, WIDTH // 2)).astype(np.uint8), nodata=0, **UTM)


def left_out(scene: Path, labels: Path, expected: NDArray[Any] = CUBE[~HOLE], **config: Any) -> tuple[str, ...]:
    """Return what is said of the pixels that are left out; the others are as expected."""
    opened = stream(scene, labels, **config)
    features, numbers, _ = samples(opened)
    assert features.dtype == opened.dtype
    assert np.array_equal(features, expected)
    if len(expected) == (~HOLE).sum():
        assert np.array_equal(numbers, np.tile([0, 1], (HEIGHT, WIDTH // 2))[~HOLE])
    assert opened.counted is not None
    return opened.counted()


def test_why_a_pixel_has_no_value() -> None:
    pixels = np.array([[[1.0, 2.0], [np.nan, 2.0], [1.0, -np.inf], [1.0, -9999.0], [-9999.0, 1.0]]], np.float32)
    assert lacking(pixels, pixels, (None, None)).tolist() == [[0, NO_NUMBER, NO_NUMBER, 0, 0]]
    assert lacking(pixels, pixels, (None, -9999.0)).tolist() == [[0, NO_NUMBER, NO_NUMBER, NODATA, 0]]
    assert lacking(pixels, pixels, (np.nan, np.nan)).tolist() == [[0, NO_NUMBER, NO_NUMBER, 0, 0]]
    mask = np.array([[True, True, False, False, False]])
    assert lacking(pixels, pixels, (None, None), mask).tolist() == [[MASKED, MASKED, NO_NUMBER, 0, 0]]
    large = np.array([[[1e38], [4e38], [-1e300], [np.nan], [-3.40282e38]]])
    assert lacking(large, large, (None,)).tolist() == [[0] + [NO_NUMBER] * 4]
    tenth = np.full((1, 1, 1), 0.1, np.float32)
    assert lacking(tenth, tenth, (0.1,)).all()
    byte = np.full((1, 1, 1), 255, np.uint8)
    assert not lacking(byte, byte, (-1.0,)).any()
    assert around(np.array([[0, 0, 0], [0, 0, 0], [0, 0, NODATA]], np.uint8), 3).tolist() == [[NEAR]]
    assert around(np.array([[0, 0, 0], [0, MASKED, 0], [0, 0, 0]], np.uint8), 3).tolist() == [[MASKED]]


def test_nodata_mask_and_alpha_say_the_same(tmp_path: Path, labels: Path) -> None:
    total = HEIGHT * WIDTH
    nodata = write(tmp_path / "n.tif", CUBE, nodata=0, **UTM)
    assert left_out(nodata, labels) == (f"50 of {total} labelled pixels are left out for lack of a value (50 nodata)",)
    masked = (f"50 of {total} labelled pixels are left out for lack of a value (50 masked out)",)
    for inside in (True, False):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
            path = write(tmp_path / f"m{inside}.tif", CUBE, mask=~HOLE, **UTM)
        assert path.with_name(path.name + ".msk").exists() != inside
        assert left_out(path, labels) == masked
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)[:, :, None]
    path = write(tmp_path / "a.tif", np.concatenate([CUBE, alpha], axis=2), photometric="RGB", alpha="yes", **UTM)
    assert left_out(path, labels) == masked
    (note,) = stream(path, labels).notes
    assert note == f"{path}: band 4 is alpha: it says which pixels have a value, and is no feature"
    near = left_out(write(tmp_path / "n.tif", CUBE, nodata=0, **UTM), labels, _wide(~HOLE), neighborhood=3)
    assert near == (
        f"60 of {total} labelled pixels are left out for lack of a value (50 nodata, 10 next to such a pixel)",
    )


def _wide(valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the neighbourhoods of all pixels around which every pixel has a value."""
    padded = np.pad(CUBE, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    seen = np.pad(valid, 1, mode="reflect")
    found = [
        padded[row : row + 3, column : column + 3].reshape(-1)
        for row in range(HEIGHT)
        for column in range(WIDTH)
        if seen[row : row + 3, column : column + 3].all()
    ]
    return np.array(found)


def test_a_mask_file_follows_the_rules_of_every_file(tmp_path: Path, labels: Path) -> None:
    scene = write(tmp_path / "s.tif", CUBE, **UTM)
    mask = tmp_path / "s.tif.msk"
    write(mask, np.where(HOLE, 0, 255).astype(np.uint8))
    before = left_out(scene, labels)
    assert "50 masked out" in before[0]
    assert mask in stream(scene, labels).files
    write(mask, np.ones((3, 3), np.uint8))
    with pytest.raises(DataError, match=r"s\.tif\.msk: 3 x 3 pixels; expected 10 x 12, those of s\.tif"):
        stream(scene, labels)
    mask.write_text('<VRTDataset rasterXSize="10" rasterYSize="12"></VRTDataset>')
    with pytest.raises(DataError, match=r"s\.tif\.msk: no TIFF"):
        stream(scene, labels)


def test_a_band_that_is_only_called_alpha_is_a_feature(tmp_path: Path, labels: Path) -> None:
    assert is_alpha(None, np.array([0, 255, 255, 128], np.uint8))
    assert is_alpha("alpha", np.array([0], np.uint8))
    assert not is_alpha("nir", np.array([0, 255, 255], np.uint8))
    assert not is_alpha(None, np.arange(200, dtype=np.uint8))
    # GDAL takes four bytes a pixel for red, green, blue and alpha unless it is told otherwise
    four = np.random.default_rng(2).integers(0, 250, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    opened = stream(write(tmp_path / "s.tif", four, **UTM), labels)
    assert np.array_equal(samples(opened)[0], four.reshape(-1, 4))
    assert "band 4 is called alpha, but is none by its name or values: a feature" in opened.warnings[0]


def test_the_sidecar_says_what_the_file_does_not(tmp_path: Path, labels: Path) -> None:
    scene = write(tmp_path / "s.tif", CUBE.astype(np.uint16), photometric="MINISBLACK", **UTM)
    bands = "".join(
        f'<PAMRasterBand band="{band}"><Description>{name}</Description><NoDataValue>{nodata}</NoDataValue>'
        f"<Scale>0.5</Scale><Offset>{band}</Offset></PAMRasterBand>"
        for band, (name, nodata) in enumerate((("B2", 0), ("B3", 65535), ("B4", 65535)), 1)
    )
    sidecar_of(scene).write_text(f"<PAMDataset>{bands}</PAMDataset>")
    expected = (CUBE[~HOLE] * 0.5 + [1, 2, 3]).astype(np.float32)
    assert "50 nodata" in left_out(scene, labels, expected)[0]
    opened = stream(scene, labels)
    assert opened.feature_names == ("B2", "B3", "B4")
    assert sidecar_of(scene) in opened.files


def test_scale_and_offset_are_applied_in_float64(tmp_path: Path, labels: Path) -> None:
    whole = np.arange(HEIGHT * WIDTH * 3, dtype=np.int32).reshape(HEIGHT, WIDTH, 3) + 1_000_000_000
    scales, offsets = (1e-4, 1.0, 1.0), (-1e5, -1e9, 0.0)
    opened = stream(
        write(tmp_path / "s.tif", whole, scales=scales, offsets=offsets, nodata=1_000_000_004, **UTM), labels
    )
    features, _, _ = samples(opened)
    assert features.dtype == np.float64
    keep = (whole != 1_000_000_004).all(axis=2)  # what is stored is compared with nodata
    assert keep.sum() == HEIGHT * WIDTH - 1
    assert np.array_equal(features, whole[keep] * np.array(scales) + np.array(offsets))
    assert opened.notes == (
        f"{tmp_path}/s.tif: scale and offset of its bands (0.0001 and -100000 of the first band) are applied",
    )
    assert opened.schema is not None
    assert opened.schema["values"] == "scaled"
    narrow = stream(write(tmp_path / "n.tif", CUBE, scales=(0.01,) * 3, offsets=(-1,) * 3, **UTM), labels)
    assert narrow.dtype == np.float32
    assert np.array_equal(samples(narrow)[0], (CUBE.reshape(-1, 3) * 0.01 - 1).astype(np.float32))


def test_attributes_of_cf_are_obeyed(tmp_path: Path, labels: Path) -> None:
    tags = [{"_FillValue": "0", "scale_factor": "0.5", "add_offset": "1"}] * 3
    scene = write(tmp_path / "s.tif", CUBE, tags=tags, **UTM)
    assert "50 nodata" in left_out(scene, labels, (CUBE[~HOLE] * 0.5 + 1).astype(np.float32))[0]


def test_a_scale_that_changes_nothing_is_none() -> None:
    assert scaling([1, 1], [0, 0]) is None
    assert scaling([0, np.nan], [3, 0]) is None
    found = scaling([0, 2], [3, 4])
    assert found is not None
    assert found.tolist() == [[1, 2], [0, 4]]


def test_a_new_scene_with_another_scale_is_warned_of(tmp_path: Path, labels: Path) -> None:
    first = stream(write(tmp_path / "s.tif", CUBE, scales=(0.01,) * 3, **UTM), labels)
    other = write(tmp_path / "o.tif", CUBE, **UTM)
    config = DataConfig(data=str(other), labels=str(labels))
    opened = open_scene(str(other), Request(config=config, schema=first.schema))
    real = write(tmp_path / "f.tif", (CUBE * 0.01).astype(np.float32), **UTM)
    assert open_scene(str(real), Request(config=replace(config, data=str(real)), schema=first.schema)).warnings == ()
    assert "o.tif: its bands have no scale or offset; those of the training scene have one" in opened.warnings[0]


def test_a_band_without_any_value_is_told(tmp_path: Path, labels: Path) -> None:
    empty = CUBE.copy()
    empty[:, :, 1] = 0
    scene = write(tmp_path / "s.tif", empty, nodata=0, **UTM)
    with pytest.raises(DataError, match=r"none of the 120 labelled pixels has a value in every band \(120 nodata\)"):
        samples(stream(scene, labels))


def test_numbers_of_a_colour_table_are_no_measurements(tmp_path: Path, labels: Path) -> None:
    scene = write(tmp_path / "s.tif", CUBE[:, :, 0], colors={1: (255, 0, 0)}, **UTM)
    assert "its values are numbers of a colour table" in stream(scene, labels).warnings[0]


def test_a_damaged_mask_is_told(tmp_path: Path, labels: Path) -> None:
    scene = write(tmp_path / "s.tif", CUBE, **UTM)
    mask = write(tmp_path / "s.tif.msk", np.where(HOLE, 0, 255).astype(np.uint8), compress="deflate")
    mask.write_bytes(mask.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"s\.tif\.msk: ") as error:
        samples(stream(scene, labels))
    assert "\n" not in str(error.value)
