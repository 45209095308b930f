"""Scenes as the command line loads them: splits, other scenes, warnings, what is imported when."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ptrain.config import DataConfig
from ptrain.data.samples import DataSet
from ptrain.data.scenes.notes import warnings
from ptrain.data.sources.load import load
from ptrain.errors import DataError

from .files import UTM, numbered, write
from .test_scene import reference


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))


def config(folder: Path, **options: Any) -> DataConfig:
    return DataConfig(data=str(folder / "s.tif"), labels=str(folder / "r.tif"), **options)


def pixels(dataset: DataSet, name: str) -> NDArray[Any]:
    """Return the pixels that the samples of a split are made of: their values are their numbers."""
    split = dataset.splits[name]
    return np.asarray(split.samples.features[split.indices(np.arange(split.size))])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(40, 70), st.integers(40, 70), st.sampled_from([1, 3, 5]), st.integers(0, 2**32))
def test_training_validation_and_test_share_no_pixel(
    tmp_path: Path, height: int, width: int, side: int, seed: int
) -> None:
    write(tmp_path / "s.tif", numbered(height, width), **UTM)
    write(tmp_path / "r.tif", reference(height, width, seed), **UTM)
    chosen = config(tmp_path, split="blocks", neighborhood=side, block_size=10, validation=0.2)
    dataset = load(chosen, seed)
    seen = [set(pixels(dataset, name).ravel().tolist()) for name in ("train", "validation", "test")]
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_a_random_split_with_a_neighborhood_does_share_pixels_and_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path / "s.tif", numbered(50, 50), **UTM)
    write(tmp_path / "r.tif", reference(50, 50), **UTM)
    for split in ("random", "stratified"):
        chosen = config(tmp_path, split=split, neighborhood=3)
        dataset = load(chosen, 0)
        assert set(pixels(dataset, "train").ravel().tolist()) & set(pixels(dataset, "test").ravel().tolist())
        (text,) = warnings(dataset, chosen)
        assert text.startswith(f"--split {split} of a scene: ")
        assert "--split blocks" in text
    alone = config(tmp_path, test_fraction=0.0)
    assert list(warnings(load(alone, 0), alone)) == []


def test_stratified_holds_out_the_same_share_of_every_class(tmp_path: Path) -> None:
    values = reference(50, 50)
    write(tmp_path / "s.tif", numbered(50, 50), **UTM)
    write(tmp_path / "r.tif", values, **UTM)
    dataset = load(config(tmp_path, split="stratified", test_fraction=0.25), 0)
    test = dataset.splits["test"]
    counts = np.bincount(test.samples.labels[test.indices(np.arange(test.size))])
    assert np.abs(counts / np.bincount(values.ravel())[1:] - 0.25).max() < 0.01


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    scene = numbered(40, 40)
    scene[20, 20] = 0
    write(tmp_path / "s.tif", scene, nodata=0, **UTM)
    write(tmp_path / "r.tif", np.repeat(np.array([[1], [2]], np.uint8), 20, 0).repeat(40, 1), **UTM)
    chosen = config(tmp_path, split="blocks", block_size=20, neighborhood=3)
    for _ in range(2):  # the second time from the cache
        dataset = load(chosen, 0)
        assert list(warnings(dataset, chosen)) == []
        assert dataset.warnings == (
            # a cross two pixels wide; of the nine pixels that see the missing one it leaves one
            "156 of 1,600 labelled pixels are left out, whose neighbourhood reaches into another block",
            "1 of 1,444 labelled pixels are left out for lack of a value (1 next to such a pixel)",
        )


def test_another_scene_as_the_test(tmp_path: Path) -> None:
    values = reference(30, 30)
    write(tmp_path / "s.tif", numbered(30, 30), **UTM)
    write(tmp_path / "r.tif", values, **UTM)
    write(tmp_path / "s2.tif", numbered(40, 20) + 5000, **UTM)
    write(tmp_path / "r2.tif", np.where(reference(40, 20) == 3, 3, 0).astype(np.uint8), **UTM)
    other = {"test_data": str(tmp_path / "s2.tif"), "test_labels": str(tmp_path / "r2.tif")}
    chosen = config(tmp_path, neighborhood=3, **other)
    dataset = load(chosen, 0)
    assert dataset.train.size == (values > 0).sum()
    assert (dataset.splits["test"].samples.labels == 2).all()
    assert pixels(dataset, "test").min() > 5000
    assert list(warnings(dataset, chosen)) == []


def test_a_cube_is_told_from_samples_by_its_reference(tmp_path: Path) -> None:
    scene, values = numbered(30, 20, 3), reference(30, 20)
    scipy.io.savemat(tmp_path / "c.mat", {"cube": scene, "gt": values, "flat": scene[0], "y": values[0]})
    path = f"{tmp_path}/c.mat"
    cube = load(DataConfig(data=f"{path}:/cube", labels=f"{path}:/gt", test_fraction=0.0), 0)
    assert (cube.train.size, cube.num_features) == ((values > 0).sum(), 3)
    flat = load(DataConfig(data=f"{path}:/flat", labels=f"{path}:/y", test_fraction=0.0), 0)
    assert (flat.train.size, flat.num_features) == (20, 3)


def test_a_cube_and_its_reference_are_found_among_other_variables(tmp_path: Path) -> None:
    scene, values = numbered(30, 20, 3), reference(30, 20)
    path = f"{tmp_path}/c.mat"
    scipy.io.savemat(path, {"cube": scene, "gt": values, "rate": 3.5, "note": "made for a test"})
    cube = load(DataConfig(data=path, labels=path, test_fraction=0.0), 0)
    assert np.array_equal(pixels(cube, "train"), scene[values > 0])
    scipy.io.savemat(path, {"one": scene, "two": scene, "gt": values})
    with pytest.raises(DataError, match=r"c\.mat: holds gt, one, two; expected the name of one of them"):
        load(DataConfig(data=f"scene:{path}", labels=path), 0)


def test_a_scene_that_changes_is_converted_again(tmp_path: Path) -> None:
    write(tmp_path / "s.tif", numbered(30, 30), **UTM)
    write(tmp_path / "r.tif", reference(30, 30), **UTM)
    first = load(config(tmp_path), 0).train.samples.features.sum()
    write(tmp_path / "s.tif", numbered(30, 30) + 1, **UTM)
    assert load(config(tmp_path), 0).train.samples.features.sum() > first


def test_blocks_are_of_scenes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--split blocks: .* has no blocks"):
        load(DataConfig(data="spirals", split="blocks"), 0)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys; import ptrain.data.sources, ptrain.data.scenes.scene, ptrain.data.scenes.notes; "
        "sys.exit(str([name for name in ('rasterio', 'matplotlib', 'scipy', 'h5py', 'torch') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == "[]"
