"""The same arrays in every format: splits by name, labels of every kind, missing values, separate conversions."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import zarr

from ptrain.cli import main
from ptrain.config import DataConfig
from ptrain.data.checks import check
from ptrain.data.samples import DataSet, Split
from ptrain.data.sources.load import load, read_unlabelled
from ptrain.errors import DataError

X = (np.arange(60) * 7 % 50).astype(np.int16).reshape(20, 3)
Y = np.arange(20) % 4
IMAGES = (np.arange(20 * 12) % 250).astype(np.uint8).reshape(20, 4, 3)


def write_h5(path: Path, arrays: dict[str, Any], attributes: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values.astype("S8") if values.dtype.kind == "U" else values
            file[name].attrs.update(attributes if name == "x" else {})


def write_zarr(version: Any) -> Callable[[Path, dict[str, Any], dict[str, Any]], None]:
    def write(path: Path, arrays: dict[str, Any], attributes: dict[str, Any]) -> None:
        shutil.rmtree(path, ignore_errors=True)
        group = zarr.open_group(path, mode="w", zarr_format=version)
        for name, values in arrays.items():
            values = values.astype("S8") if values.dtype.kind == "U" else values
            # as others write it: a fill value is no missing value
            group.create_array(name, data=values, fill_value=values.dtype.type(0))
            plain = {key: np.asarray(value).tolist() for key, value in attributes.items()}
            group[name].attrs.update(plain if name == "x" else {})

    return write


FORMATS: dict[str, Callable[[Path, dict[str, Any], dict[str, Any]], None]] = {
    "a.npz": lambda path, arrays, _: np.savez(path, **arrays),
    "a.h5": write_h5,
    "a.nc": write_h5,
    "2.zarr": write_zarr(2),
    "a.mat": lambda path, arrays, _: scipy.io.savemat(path, arrays),
}
WITH_ATTRIBUTES = {name: write for name, write in FORMATS.items() if name in ("a.h5", "a.nc", "2.zarr")}
WITH_ATTRIBUTES["3.zarr"] = write_zarr(3)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))


def saved(folder: Path, name: str, attributes: dict[str, Any] | None = None, **arrays: Any) -> Path:
    {**FORMATS, **WITH_ATTRIBUTES}[name](folder / name, arrays, attributes or {})
    return folder / name


def opened(spec: Any, **fields: Any) -> DataSet:
    dataset = load(DataConfig(data=str(spec), **{"test_fraction": 0.0, **fields}), 0)
    check(dataset)
    return dataset


def values(split: Split | None) -> np.ndarray:
    assert split is not None
    return split.samples.features[split.indices(np.arange(split.size))]


def classes(dataset: DataSet, split: Split | None = None) -> list[str]:
    split = split or dataset.train
    return [dataset.class_names[label] for label in split.samples.labels[split.indices(np.arange(split.size))]]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pattern", ["{0}_{1}", "{1}{0}", "{1}/{0}"])
def test_the_splits_of_a_file_are_used(tmp_path: Path, name: str, pattern: str) -> None:
    if "/" in pattern and name == "a.mat":
        return  # variables have no groups
    sizes = {"train": 20, "val": 5, "test": 7}
    arrays: dict[str, Any] = {
        pattern.format(word, split): one[:size]
        for split, size in sizes.items()
        for word, one in (("images", IMAGES), ("labels", Y[:, None] + 1))
    }  # as in MedMNIST
    dataset = opened(saved(tmp_path, name, **arrays))
    assert {split: one.size for split, one in dataset.splits.items()} == {"train": 20, "validation": 5, "test": 7}
    assert dataset.class_names == ("1", "2", "3", "4")
    for split, size in zip(dataset.splits.values(), sizes.values(), strict=True):
        np.testing.assert_array_equal(values(split), IMAGES[:size].reshape(size, 12))
        assert classes(dataset, split) == [str(label + 1) for label in Y[:size]]


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "2.zarr", "a.mat"])
def test_a_split_that_is_not_used_is_said(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name, x_train=X, y_train=Y, x_test=X[:5], y_test=Y[:5])
    inner = f"{path}:x_train" if name in ("a.npz", "a.mat") else f"{path}:/x_train"
    (warning,) = opened(inner).warnings
    assert warning.endswith("x_train: x_test, y_test not used beside it")
    assert not opened(inner.replace("x_train", "x_test")).warnings
    if name in ("a.h5", "2.zarr"):
        path = saved(tmp_path, name, **{"train/x": X, "train/y": Y, "test/x": X, "test/y": Y})
        assert opened(f"{path}:/train").warnings[0].endswith("/train: test not used beside it")


LABELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "from 1": (Y + 1, ("1", "2", "3", "4")),
    "gaps": (np.array([0, 2, 5, 7])[Y], ("0", "2", "5", "7")),
    "negative": (np.array([-1, 1])[Y % 2], ("-1", "1")),
    "huge": (np.array([3, 10**12])[Y % 2], ("3", str(10**12))),
    "floats": (Y + 1.0, ("1", "2", "3", "4")),
    "a column": ((Y + 1).astype(np.uint8)[:, None], ("1", "2", "3", "4")),
    "one-hot": (np.eye(5)[Y + 1], ("1", "2", "3", "4")),
    "bool": (Y > 1, ("0", "1")),
    "text": (np.array(["ash", "oak", "elm", "fir"])[Y], ("ash", "elm", "fir", "oak")),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_are_classes(tmp_path: Path, name: str, kind: str) -> None:
    labels, names = LABELS[kind]
    if kind == "text" and name == "a.mat":
        return  # refused by its class
    dataset = opened(saved(tmp_path, name, x=X, y=labels))
    assert dataset.class_names == names
    meant = np.argmax(labels, axis=1) if kind == "one-hot" else np.asarray(labels).reshape(-1)
    meant = meant if meant.dtype.kind == "U" else meant.astype(np.int64)
    assert classes(dataset) == [str(label) for label in meant.tolist()]
    assert not dataset.warnings
    # other data that lack a class and have the others in another order
    part = [one for one in range(20) if classes(dataset)[one] != names[0]][::-1]
    np.savez(tmp_path / "part.npz", x=X[part], y=np.asarray(labels)[part])
    again = load(DataConfig(data=str(tmp_path / "part.npz"), test_fraction=0.0), 0, class_names=names)
    assert again.class_names == names
    assert classes(again) == [classes(dataset)[one] for one in part]
    # with them as the test data
    with_test = opened(tmp_path / name, test_data=str(tmp_path / "part.npz"))
    assert classes(with_test, with_test.test) == classes(again)


def test_wide_numbers_and_big_endian_keep_their_value(tmp_path: Path) -> None:
    wide = np.array([[2**53 + 1], [2**53 + 3], [-(2**62) - 1], [7]], np.int64)
    offset = np.array([[1_700_000_000.25], [1_700_000_000.5], [1_700_000_001], [1_700_000_002]])
    for one in (wide, wide.astype(">i8"), offset, offset.astype(">f8"), np.array([[2**64 - 1]] * 4, np.uint64)):
        for name in ("a.npz", "a.h5", "2.zarr"):
            found = opened(saved(tmp_path, name, x=one, y=Y[:4])).train.samples.features
            assert found.dtype.newbyteorder("=") == one.dtype.newbyteorder("=")
            np.testing.assert_array_equal(found, one)


@pytest.mark.parametrize("name", WITH_ATTRIBUTES)
def test_attributes_are_obeyed_and_said(tmp_path: Path, name: str) -> None:
    attributes = {"_FillValue": np.int16(49), "valid_max": np.int16(45), "scale_factor": 0.5, "add_offset": 100.0}
    path = saved(tmp_path, name, attributes, x=X, y=Y)
    gone = (X == 49) | (X > 45)
    assert gone.any()
    with pytest.raises(DataError, match=r"feature 1 of sample 2 is nan.*train with --missing drop or mean"):
        opened(path)
    dropped = opened(path, missing="drop")
    kept = ~gone.any(axis=1)
    np.testing.assert_array_equal(values(dropped.train), (X * 0.5 + 100.0)[kept])
    assert dropped.train.samples.features.dtype == np.float64
    assert classes(dropped) == [str(label) for label in Y[kept]]
    assert f"{(~kept).sum()} of 20 samples are left out, which lack a value or a label" in dropped.notes[1]
    assert "49 stands for no value, values above 45 are none, values are scaled by 0.5" in dropped.notes[0]
    filled = opened(path, missing="mean")
    means = [(X[:, column] * 0.5 + 100.0)[~gone[:, column]].mean() for column in range(3)]
    np.testing.assert_allclose(values(filled.train), np.where(gone, means, X * 0.5 + 100.0), rtol=1e-6)


def test_what_xarray_and_netcdf_mean_without_an_attribute(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    for name, one in (("x", X), ("y", Y)):
        group.create_array(name, data=one, fill_value=one.dtype.type(49))
    plain = opened(tmp_path / "x.zarr")  # a fill value alone is a value like others
    assert plain.train.size == 20
    assert "49, its fill value, is a value like others" in plain.notes[0]
    group["x"].attrs["_ARRAY_DIMENSIONS"] = ["sample", "feature"]
    assert opened(tmp_path / "x.zarr", missing="drop").train.size == int((~(X == 49).any(axis=1)).sum())
    with h5py.File(tmp_path / "n.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        file.create_dataset("x", data=np.where(X == 49, -32767, X).astype("i2"), fillvalue=-32767)
        file["y"] = Y
    assert opened(tmp_path / "n.nc", missing="drop").train.size == int((~(X == 49).any(axis=1)).sum())
    (tmp_path / "3.nc").write_bytes(b"CDF\x01" + bytes(100))
    with pytest.raises(DataError, match=r"3\.nc: is NetCDF-3; expected NetCDF-4, which is HDF5: nccopy -k nc4"):
        opened(tmp_path / "3.nc")


@pytest.mark.parametrize("name", FORMATS)
def test_missing_values_and_labels_of_arrays(tmp_path: Path, name: str) -> None:
    x, y = X.astype(np.float64), Y.astype(np.float64)
    x[3, 1] = x[8, 0] = np.nan
    y[8] = y[11] = np.nan
    path = saved(tmp_path, name, x=x, y=y)
    with pytest.raises(DataError, match="no label for sample 8"):
        opened(path)
    dropped = opened(path, missing="drop")
    kept = np.delete(np.arange(20), [3, 8, 11])
    np.testing.assert_array_equal(values(dropped.train), X[kept])
    assert classes(dropped) == [str(label) for label in Y[kept]]
    assert any("3 of 20 samples are left out" in note for note in dropped.notes)
    with pytest.raises(DataError, match="no label for sample 8"):
        opened(path, missing="mean")
    with pytest.raises(DataError, match=r"feature 1 of sample 3 is nan"):
        opened(saved(tmp_path, name, x=x, y=Y))
    x[3, 1] = np.inf
    with pytest.raises(DataError, match=r"feature 1 of sample 3 is inf"):
        opened(saved(tmp_path, name, x=x, y=Y), missing="drop")


def test_a_network_fills_other_data_with_the_means_of_its_training(tmp_path: Path) -> None:
    x = X.astype(np.float64)
    x[3, 1] = np.nan
    gaps = np.array([[np.nan, 2, np.nan], [1, np.nan, 3]])
    for name in FORMATS:
        dataset = opened(saved(tmp_path, name, x=x, y=Y), missing="mean")
        assert dataset.schema is not None
        means = dataset.schema["fill"]
        np.testing.assert_allclose(means, np.nanmean(x, axis=0), rtol=1e-15)
        assert any("1 missing values of the training split become the mean" in note for note in dataset.notes)
        expected = np.where(np.isnan(gaps), means, gaps)
        other = saved(tmp_path, name, x=gaps, y=Y[:2])
        config = DataConfig(missing="mean")
        np.testing.assert_array_equal(read_unlabelled(str(other), config, dataset.schema).features, expected)
        again = load(DataConfig(data=str(other), test_fraction=0.0), 0, schema=dataset.schema)
        np.testing.assert_array_equal(values(again.train), expected)
        saved(tmp_path, name, x=X[:2], y=Y[:2])  # whole numbers have no gaps
        np.testing.assert_array_equal(read_unlabelled(str(other), config, dataset.schema).features, X[:2])
    np.savez(tmp_path / "g.npz", x=gaps, y=Y[:2])
    assert main(["data", "convert", str(tmp_path / "g.npz"), str(tmp_path / "g"), "--missing", "mean"]) == 0
    again = load(DataConfig(data=str(tmp_path / "g"), test_fraction=0.0), 0, schema=dataset.schema)
    np.testing.assert_array_equal(values(again.train), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_splits_of_different_types_keep_their_values(tmp_path: Path, name: str) -> None:
    test = IMAGES[:5] / 255
    path = saved(tmp_path, name, x_train=IMAGES, y_train=Y, x_test=test, y_test=Y[:5])
    dataset = opened(path)
    np.testing.assert_array_equal(values(dataset.train), IMAGES.reshape(20, 12))
    np.testing.assert_array_equal(values(dataset.test), test.reshape(5, 12))
    assert "float64" in dataset.notes[0]
    assert "uint8: values are taken as they are" in dataset.notes[0]
    assert main(["data", "convert", str(path), str(tmp_path / "converted")]) == 0
    np.testing.assert_array_equal(values(opened(tmp_path / "converted").test), test.reshape(5, 12))


def test_samples_that_are_left_out_of_other_splits_are_counted_too(tmp_path: Path) -> None:
    x = X.astype(np.float64)
    x[3, 1] = np.nan
    path = saved(tmp_path, "a.h5", x_train=x, y_train=Y, x_val=x[:5], y_val=Y[:5], x_test=x[:2], y_test=Y[:2])
    dataset = opened(path, missing="drop")
    assert {split: one.size for split, one in dataset.splits.items()} == {"train": 19, "validation": 4, "test": 2}
    assert [note.partition(": ")[2].split(" are")[0] for note in dataset.notes] == [
        "1 of 20 samples", "1 of 5 samples for validation"
    ]  # fmt: skip


def test_a_mask_beside_features(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    layouts: list[dict[str, Any]] = [{"data": X, "mask": X > 40, "target": Y}, {"x": X, "x_mask": X > 40, "y": Y}]
    for names in layouts:
        np.savez(path, **names)
        dropped = opened(path, missing="drop")
        np.testing.assert_array_equal(values(dropped.train), X[~(X > 40).any(axis=1)])
        with pytest.raises(DataError, match="is nan"):
            opened(path)
        named = opened(f"{path}:{next(iter(names))}")
        np.testing.assert_array_equal(values(named.train), X)
        assert "is not applied to it, as it is named alone" in named.notes[0]
    np.savez(path, x=X, mask=X.astype(bool)[:, 0], y=Y)  # of another shape it says nothing of values
    assert opened(path).train.size == 20


def test_images_of_another_order_of_channels_are_refused(tmp_path: Path) -> None:
    last, first = np.ones((20, 4, 5, 3), np.uint8), np.ones((20, 3, 4, 5), np.uint8)
    message = r"samples of shape 3 x 4 x 5; expected 4 x 5 x 3, .*numpy.transpose\(x, \(0, 2, 3, 1\)\)"
    np.savez(tmp_path / "a.npz", x=last, y=Y)
    np.savez(tmp_path / "b.npz", x=first, y=Y)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "a.npz", test_data=str(tmp_path / "b.npz"))
    (tmp_path / "one").mkdir()
    for name in FORMATS:
        with pytest.raises(DataError, match=message):
            opened(saved(tmp_path / "one", name, x_train=last, y_train=Y, x_test=first, y_test=Y))
    for same in (last.reshape(20, 60), last[:, :, :, None], last[:, None]):
        np.savez(tmp_path / "b.npz", x=same, y=Y)
        assert opened(tmp_path / "a.npz", test_data=str(tmp_path / "b.npz")).test is not None


def test_data_that_were_converted_apart_are_matched_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = np.flatnonzero(Y % 2 == 1)[::-1]
    for labels in (Y + 1, np.array(["oak", "ash", "elm", "fir"])[Y], np.array([5, 10**12, -3, 0])[Y]):
        for name, chosen in (("train", np.arange(20)), ("test", part)):
            np.savez(tmp_path / f"{name}.npz", x=X[chosen], y=labels[chosen])
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            assert main(["data", "convert", str(tmp_path / f"{name}.npz"), str(tmp_path / name)]) == 0
        dataset = opened(tmp_path / "train", test_data=str(tmp_path / "test"))
        assert classes(dataset) == [str(label) for label in labels]
        assert classes(dataset, dataset.test) == [str(label) for label in labels[part]]
        with pytest.raises(DataError, match="is none of the classes of the training samples"):
            opened(tmp_path / "test", test_data=str(tmp_path / "train"))
    capsys.readouterr()


def test_tables_that_were_converted_apart_need_the_same_columns(tmp_path: Path) -> None:
    rows = [f"{row},{row % 5},{'ab'[row % 2]}" for row in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["u,v,t", *rows]))
    (tmp_path / "b.csv").write_text("\n".join(["v,u,t", *rows]))
    for name in ("a", "b"):
        main(["data", "convert", str(tmp_path / f"{name}.csv"), str(tmp_path / name), "--target", "t"])
    with pytest.raises(DataError, match=r"b\.csv: its columns, their order or categories are not those of training"):
        opened(tmp_path / "a", test_data=str(tmp_path / "b"))
    assert opened(tmp_path / "a", test_data=str(tmp_path / "a")).test is not None


def test_cubes_and_their_maps_in_mat_files(tmp_path: Path) -> None:
    cube = np.arange(12 * 9 * 4, dtype=np.uint16).reshape(12, 9, 4)
    reference = np.arange(108).reshape(12, 9) % 3
    scipy.io.savemat(tmp_path / "cube.mat", {"paviaU": cube.astype(float), "map": np.zeros((3, 3))})
    scipy.io.savemat(tmp_path / "gt.mat", {"paviaU_gt": reference.astype(float)}, do_compression=True)
    scipy.io.savemat(tmp_path / "first.mat", {"x": np.moveaxis(cube, -1, 0)})
    scipy.io.savemat(tmp_path / "both.mat", {"cube": cube, "gt": reference})
    for data, labels in (("cube.mat", "gt.mat"), ("cube.mat:paviaU", "gt.mat:paviaU_gt"), ("both.mat", "both.mat")):
        dataset = opened(tmp_path / data, labels=str(tmp_path / labels))
        assert dataset.class_names == ("1", "2")
        np.testing.assert_array_equal(values(dataset.train), cube[reference > 0])
        assert classes(dataset) == [str(label) for label in reference[reference > 0]]
    with pytest.raises(DataError, match=r"first.mat:x: an array of shape \(4, 12, 9\) .*rows x columns x bands"):
        opened(tmp_path / "first.mat", labels=str(tmp_path / "gt.mat"))
    images, one_hot = np.zeros((20, 5, 3), np.uint8), np.eye(4)[Y]
    scipy.io.savemat(tmp_path / "images.mat", {"x": images, "y": one_hot})  # no cube
    assert opened(tmp_path / "images.mat:x", labels=str(tmp_path / "images.mat:y")).train.size == 20


def test_a_run_keeps_the_labels_of_its_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.array([2, 3, 5])[np.arange(90) % 3]
    x = np.random.default_rng(0).normal(labels[:, None, None, None] * 3, 0.1, (90, 2, 2, 3)).astype(np.float32)
    part = np.flatnonzero(labels != 3)
    np.savez(tmp_path / "a.npz", x=x, y=labels)
    np.savez(tmp_path / "part.npz", x_test=x[part], y_test=labels[part].astype(float))
    np.savez(tmp_path / "turned.npz", x=np.moveaxis(x, -1, 1), y=labels)
    np.savez(tmp_path / "more.npz", x=x, y=labels + 1)
    run = str(tmp_path / "run")
    flags = [
        "--hidden",
        "16",
        "--epochs",
        "30",
        "--no-report",
        "--normalize",
        "standard",
        "--class-weights",
        "balanced",
    ]
    assert main(["train", "--data", str(tmp_path / "a.npz"), "--run-dir", run, *flags]) == 0
    assert "the classes are its labels 2, 3, 5" in capsys.readouterr().out
    assert main(["evaluate", run, "--data", str(tmp_path / "part.npz"), "--json"]) == 0
    found = capsys.readouterr()
    assert '"overall_accuracy": 1.0' in found.out
    assert "x_test and y_test are taken as the samples" in found.err
    assert main(["predict", run, str(tmp_path / "part.npz"), "--out", str(tmp_path / "p.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy")["class"], labels[part])
    for number in (len(part), 1):  # also where one class alone was predicted
        np.save(tmp_path / "q.npy", np.load(tmp_path / "p.npy")[:number])
        np.save(tmp_path / "l.npy", labels[part][:number])
        capsys.readouterr()
        words = ["--predictions", str(tmp_path / "q.npy"), "--labels", str(tmp_path / "l.npy"), "--json"]
        assert main(["evaluate", *words]) == 0
        assert '"overall_accuracy": 1.0' in capsys.readouterr().out
    assert main(["predict", run, str(tmp_path / "part.npz"), "--out", str(tmp_path / "p.csv")]) == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "sample,class,p(2),p(3),p(5)"
    assert [line.split(",")[1] for line in lines[1:]] == [str(label) for label in labels[part]]
    capsys.readouterr()
    for words, message in (
        (["evaluate", run, "--data", str(tmp_path / "turned.npz")], "expected 2 x 2 x 3"),
        (["predict", run, str(tmp_path / "turned.npz"), "--out", str(tmp_path / "q.npy")], "expected 2 x 2 x 3"),
        (["evaluate", run, "--data", str(tmp_path / "more.npz")], "class '4' of sample 1 is none of the classes"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err
