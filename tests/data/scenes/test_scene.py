"""Scenes as samples: pixels, neighbourhoods, classes and blocks, from every format."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptrain.config import DataConfig
from ptrain.data.scenes.scene import open_scene
from ptrain.data.scenes.sidecar import category_names_xml, sidecar_of
from ptrain.data.store.stream import Request
from ptrain.errors import DataError

from .files import UTM, numbered, samples, stream, write


def reference(height: int, width: int, seed: int = 0, classes: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return class values, half of them 0."""
    chance = np.random.default_rng(seed)
    values = chance.integers(1, classes + 1, (height, width)) * (chance.random((height, width)) < 0.5)
    values[0, :classes] = np.arange(1, classes + 1)
    return values.astype(np.uint8)


def test_labelled_pixels_are_the_samples_in_the_order_of_the_image(tmp_path: Path) -> None:
    scene, values = numbered(50, 40, 4), reference(50, 40)
    opened = stream(write(tmp_path / "s.tif", scene, **UTM), write(tmp_path / "r.tif", values, **UTM))
    features, labels, groups = samples(opened)
    assert np.array_equal(features, scene[values > 0])
    assert features.dtype == opened.dtype == np.uint32
    assert np.array_equal(labels, values[values > 0] - 1)
    rows, columns = np.nonzero(values)
    assert np.array_equal(groups, rows // 16 * 3 + columns // 16)
    assert opened.class_names == ("1", "2", "3")
    assert opened.num_features == 4
    assert opened.image_shape is None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(5, 30), st.integers(5, 30), st.integers(1, 3), st.sampled_from([3, 5]), st.integers(0, 2**32))
def test_a_neighborhood_is_what_numpy_pads(
    tmp_path: Path, height: int, width: int, bands: int, side: int, seed: int
) -> None:
    scene, values = numbered(height, width, bands), reference(height, width, seed)
    opened = stream(
        write(tmp_path / "s.tif", scene, **UTM), write(tmp_path / "r.tif", values, **UTM), neighborhood=side
    )
    features, _, _ = samples(opened)
    radius = side // 2
    wide = np.pad(scene, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    expected = [wide[row : row + side, column : column + side].ravel() for row, column in np.argwhere(values)]
    assert np.array_equal(features, expected)
    assert opened.image_shape == (side, side, bands)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(9, 40), st.integers(9, 40), st.sampled_from([1, 3, 5]), st.integers(5, 15), st.integers(0, 2**32))
def test_blocks_share_no_pixel(tmp_path: Path, height: int, width: int, side: int, block: int, seed: int) -> None:
    values = reference(height, width, seed)
    values[block // 2, block // 2] = 1
    opened = stream(
        write(tmp_path / "s.tif", numbered(height, width), **UTM),
        write(tmp_path / "r.tif", values, **UTM),
        split="blocks", neighborhood=side, block_size=block,
    )  # fmt: skip
    features, labels, groups = samples(opened)
    pixels = [set(features[groups == group].ravel().tolist()) for group in np.unique(groups)]
    assert sum(map(len, pixels)) == len(set.union(*pixels))
    left_out = int((values > 0).sum()) - len(labels)
    said = f"{left_out:,} of {(values > 0).sum():,} labelled pixels are left out, whose neighbourhood reaches into"
    assert [text.startswith(said) for text in opened.warnings] == [True] * (left_out > 0)


def test_pixels_without_a_value_are_left_out_with_all_that_see_them(tmp_path: Path) -> None:
    scene = np.random.default_rng(0).random((20, 20, 2)).astype(np.float32)
    scene[5, 5, 1], scene[0, 19, 0], scene[19, 0, 0] = np.nan, np.inf, -1
    values = np.ones((20, 20), np.uint8)
    values[:, 10:] = 2
    path = write(tmp_path / "s.tif", scene, nodata=-1, **UTM)
    labels = write(tmp_path / "r.tif", values, **UTM)
    features, _, _ = samples(stream(path, labels))
    assert len(features) == 397
    assert np.isfinite(features).all()
    # 9 around the pixel inside, 4 in each of the two corners
    assert len(samples(stream(path, labels, neighborhood=3))[0]) == 400 - 9 - 4 - 4


def test_names_and_colours_of_the_reference_are_kept(tmp_path: Path) -> None:
    values = reference(20, 20) * 30
    colors = {30: (1, 2, 3), 60: (4, 5, 6), 90: (7, 8, 9)}
    labels = write(tmp_path / "r.tif", values, nodata=0, colors=colors, **UTM)
    sidecar_of(labels).write_bytes(category_names_xml([f"<{value}>" if value != 60 else "" for value in range(91)]))
    schema = stream(write(tmp_path / "s.tif", numbered(20, 20), **UTM), labels).schema
    assert schema is not None
    assert schema["class_values"] == [30, 60, 90]
    assert schema["class_names"] == ["<30>", "60", "<90>"]
    assert schema["class_colors"] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_sidecar_with_entities_counts_as_none(tmp_path: Path) -> None:
    labels = write(tmp_path / "r.tif", reference(20, 20), **UTM)
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + category_names_xml(["&a;"] * 4).replace(b"amp;", b"")
    sidecar_of(labels).write_bytes(bomb)
    assert stream(write(tmp_path / "s.tif", numbered(20, 20), **UTM), labels).class_names == ("1", "2", "3")


def test_nodata_of_the_reference_is_unlabelled_and_whole_floats_are_classes(tmp_path: Path) -> None:
    values = reference(20, 20).astype(np.float32)
    values[3, 3:6] = [np.nan, -1, 4]
    scene, labels = write(tmp_path / "s.tif", numbered(20, 20), **UTM), tmp_path / "r.tif"
    assert stream(scene, write(labels, values, nodata=-1, **UTM)).class_names == ("0", "1", "2", "3", "4")
    assert len(samples(stream(scene, labels))[0]) == 398


@pytest.mark.parametrize("name", ["s.img", "s.dat", "s.hdr"])
def test_envi(tmp_path: Path, name: str) -> None:
    scene, values = numbered(30, 20, 3), reference(30, 20)
    write(tmp_path / Path(name).with_suffix(".img" if name != "s.dat" else ".dat"), scene, driver="ENVI", **UTM)
    write(tmp_path / "r.img", values, driver="ENVI")
    with (tmp_path / "r.hdr").open("a") as header:
        header.write("file type = ENVI Classification\nclasses = 4\nclass names = {Unclassified, corn, soy, oats}\n")
        header.write("class lookup = {0,0,0, 255,0,0, 0,255,0, 0,0,255}\n")
    opened = stream(tmp_path / name, tmp_path / "r.img")
    assert np.array_equal(samples(opened)[0], scene[values > 0])
    assert opened.class_names == ("corn", "soy", "oats")
    assert opened.schema is not None
    assert opened.schema["class_colors"] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_cubes_of_matlab(tmp_path: Path, version: str) -> None:
    scene, values = numbered(30, 20, 3).astype(np.float64), reference(30, 20)
    if version == "5":
        scipy.io.savemat(tmp_path / "s.mat", {"cube": scene, "other": np.ones(3)}, do_compression=True)
        scipy.io.savemat(tmp_path / "r.mat", {"gt": values})
    else:
        with h5py.File(tmp_path / "s.mat", "w") as file:
            file["cube"] = scene.T
        with h5py.File(tmp_path / "r.mat", "w") as file:
            file["gt"] = values.T
    opened = stream(f"{tmp_path}/s.mat:/cube", f"{tmp_path}/r.mat", neighborhood=3)
    features, labels, _ = samples(opened)
    wide = np.pad(scene, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = [wide[row : row + 3, column : column + 3].ravel() for row, column in np.argwhere(values)]
    assert np.array_equal(features, expected)
    assert np.array_equal(labels, values[values > 0] - 1)


def test_another_scene_is_read_as_the_network_knows_it(tmp_path: Path) -> None:
    scene, values = write(tmp_path / "s.tif", numbered(20, 20), **UTM), reference(20, 20)
    schema = stream(scene, write(tmp_path / "r.tif", values * 5, **UTM), neighborhood=3).schema
    some = np.where(values == 2, 10, 0).astype(np.uint8)
    other = DataConfig(data=str(scene), labels=str(write(tmp_path / "o.tif", some, **UTM)))
    opened = open_scene(str(scene), Request(config=other, schema=schema))
    features, labels, _ = samples(opened)
    assert features.shape[1] == 9
    assert (labels == 1).all()
    assert opened.class_names == ("5", "10", "15")
    some[4, 5] = 11
    write(tmp_path / "o.tif", some, **UTM)
    with pytest.raises(DataError, match=r"o\.tif: class 11 in row 4, column 5; expected one of 5, 10, 15"):
        samples(open_scene(str(scene), Request(config=other, schema=schema)))
    more = DataConfig(data=str(write(tmp_path / "b.tif", numbered(20, 20, 2), **UTM)), labels=other.labels)
    with pytest.raises(DataError, match=r"b\.tif: 2 bands; expected 1, those of the training scene"):
        open_scene(more.data, Request(config=more, schema=schema))


def test_scene_and_reference_must_fit_together(tmp_path: Path) -> None:
    scene = write(tmp_path / "s.tif", numbered(20, 30), **UTM)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (reference(20, 29), UTM, "29 x 20 pixels; expected 30 x 20"),
        (numbered(20, 30, 2), UTM, "2 bands; expected 1 band"),
        (np.zeros((20, 30), np.uint8), UTM, "no labelled pixel"),
        (numbered(20, 30) + 2.0**32, UTM, "value 4294967297.0 in row 0, column 0; expected whole numbers of classes"),
        (numbered(20, 30).astype(np.float32) / 2, UTM, "value 0.5 in row 0, column 0"),
        (numbered(20, 30).astype(np.int16) - 3, UTM, "value -2 in row 0, column 0"),
    ]
    for values, place, message in cases:
        labels = write(tmp_path / "r.tif", values, **place)
        with pytest.raises(DataError) as error:
            stream(scene, labels)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    without = write(tmp_path / "r.tif", reference(20, 30))
    assert stream(scene, without).class_names == ("1", "2", "3")
    wide = np.arange(1, 1201, dtype=np.uint16).reshape(20, 60)
    with pytest.raises(DataError, match="more than 1000 different values"):
        stream(write(tmp_path / "w.tif", wide), write(tmp_path / "r.tif", wide))
    with pytest.raises(DataError, match="a scene without a reference; expected --labels"):
        stream(scene, None)


def test_sizes_that_make_no_sense(tmp_path: Path) -> None:
    scene, labels = write(tmp_path / "s.tif", numbered(20, 30)), write(tmp_path / "r.tif", reference(20, 30))
    with pytest.raises(DataError, match=r"--neighborhood 21 .* of 30 x 20 pixels; expected at most 20"):
        stream(scene, labels, neighborhood=21)
    with pytest.raises(DataError, match=r"--block-size 4 with --neighborhood 5: .* expected --block-size 5 or more"):
        stream(scene, labels, neighborhood=5, block_size=4, split="blocks")


@pytest.mark.slow
def test_a_scene_larger_than_the_memory_it_may_take(tmp_path: Path) -> None:
    """360 MB of pixels go through windows of 16 MiB and GDAL's 64 MiB."""
    program = """
import resource, sys
import numpy as np, rasterio
from tests.data.scenes.files import stream
folder = sys.argv[1]
options = {"height": 6000, "width": 10000, "driver": "GTiff", "compress": "deflate", "zlevel": 1, "tiled": True}
row = np.ones((6, 256, 10000), np.uint8)
with rasterio.open(folder + "/s.tif", "w", count=6, dtype="uint8", **options) as file:
    for top in range(0, 6000, 256):
        count = min(256, 6000 - top)
        file.write(row[:, :count], window=((top, top + count), (0, 10000)))
with rasterio.open(folder + "/r.tif", "w", count=1, dtype="uint8", **options) as file:
    for top in range(0, 6000, 256):
        count = min(256, 6000 - top)
        values = np.zeros((1, count, 10000), np.uint8)
        values[0, 0, ::100] = 1 + np.arange(100) % 2
        file.write(values, window=((top, top + count), (0, 10000)))
del row, values
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(len(block[0]) for block in stream(folder + "/s.tif", folder + "/r.tif", neighborhood=3).train())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(total, (after - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    total, mebibytes = map(int, done.stdout.split())
    assert total == 24 * 100
    assert mebibytes < 300
