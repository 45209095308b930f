from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptrain.errors import DataError
from tests.data.sources.streams import IMAGES, X, Y, is_array, memory_growth, opened, refused, test, train


def write(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values
    return path


@pytest.mark.parametrize("names", ["features labels", "x y", "X y", "data labels", "x_train y_train"])
def test_features_and_labels_are_found_by_name(tmp_path: Path, names: str) -> None:
    x, y = names.split()
    features, labels = train(opened(write(tmp_path / "a.h5", **{x: X, y: Y, "other": X})))
    is_array(features, X)
    is_array(labels, Y)


def test_groups_data_sets_and_labels_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a b é.hdf5", run__x=X, run__y=Y, lone=X * 2)
    is_array(train(opened(f"{path}:/run"))[0], X)
    is_array(train(opened(f"{path}:/run/x"))[1], Y)
    is_array(train(opened(f"hdf5:{path}:run/x"))[1], Y)
    features, labels = train(opened(f"{path}:/lone", f"{path}:/run/y"))
    is_array(features, X * 2)
    is_array(labels, Y)
    other = write(tmp_path / "labels.h5", labels=Y[::-1])
    stream = opened(f"{path}:/lone", other)
    is_array(train(stream)[1], Y[::-1])
    assert stream.files == (path, other)


def test_splits_and_groups_of_the_file_are_used(tmp_path: Path) -> None:
    for path in (
        write(tmp_path / "a.h5", train__x=X, train__y=Y, test__x=X[:4], test__y=Y[:4]),
        write(tmp_path / "b.h5", x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4], groups=Y * 10),
    ):
        is_array(test(opened(path))[0], X[:4])
    is_array(np.concatenate([block[2] for block in opened(path).train()]), Y * 10)


def test_images_types_names_and_unlabelled_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", x=IMAGES, y=np.array([b"one", b"two", "drei é".encode(), b"one"] * 5))
    stream = opened(path)
    assert stream.dtype == np.uint8
    assert (stream.image_shape, stream.num_features, stream.num_samples) == ((4, 3), 12, 20)
    is_array(train(stream)[0], IMAGES.reshape(20, 12))
    assert train(stream)[1].tolist() == ["one", "two", "drei é", "one"] * 5
    is_array(train(opened(write(tmp_path / "u.h5", x=X), labelled=False))[1], np.zeros(20))


@pytest.mark.parametrize("chunks", [(7, 2), (20, 3), (1, 1), (100, 3)])
@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_chunks_and_compression(tmp_path: Path, chunks: tuple[int, int], compression: str) -> None:
    values = np.tile(X, (50, 1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, compression=compression, shuffle=True, fletcher32=True)
        file["y"] = np.tile(Y, 50)
    is_array(train(opened(tmp_path / "a.h5"))[0], values)


def test_links_to_names_are_followed_and_links_to_files_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", x=X, y=Y)
    write(tmp_path / "secret.h5", x=X)
    with h5py.File(path, "a") as file:
        file["alias"] = h5py.SoftLink("/x")
        file["outside"] = h5py.ExternalLink("secret.h5", "/x")
        file["through"] = h5py.SoftLink("outside")
        file["folder"] = h5py.ExternalLink("secret.h5", "/")
        file["loop"] = h5py.SoftLink("/loop")
        file["nowhere"] = h5py.SoftLink("/none")
    is_array(train(opened(f"{path}:/alias", f"{path}:/y"))[0], X)
    for name in ("outside", "through", "folder/x"):
        assert "external link to another file, secret.h5, which is never followed" in refused(
            f"{path}:/{name}", f"{path}:/y"
        )
    assert "external link" in refused(f"{path}:/x", f"{path}:/outside")
    assert "behind more than 16 soft links" in refused(f"{path}:/loop", f"{path}:/y")
    assert "no /nowhere in it; expected a name in /" in refused(f"{path}:/nowhere", f"{path}:/y")


def test_external_storage_and_virtual_data_sets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(X.tobytes())
    layout = h5py.VirtualLayout(shape=X.shape, dtype=X.dtype)
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", shape=X.shape)
    with h5py.File(write(tmp_path / "a.h5", y=Y), "a") as file:
        file.create_dataset("x", X.shape, X.dtype, external=[(str(tmp_path / "raw"), 0, X.nbytes)])
        file.create_virtual_dataset("v", layout)
    assert "a.h5:/x: has external storage in other files" in refused(tmp_path / "a.h5")
    assert "a.h5:/v: is a virtual data set" in refused(f"{tmp_path}/a.h5:/v", f"{tmp_path}/a.h5:/y")


def test_types_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", y=Y, c=X.astype(complex), s=np.array(["a"] * 20, h5py.string_dtype()))
    with h5py.File(path, "a") as file:
        file["record"] = np.zeros(20, [("a", float), ("b", int)])
        file["reference"] = np.array([file["y"].ref] * 20, h5py.ref_dtype)
        file["null"] = h5py.Empty("f8")
        file["text"] = np.array([[b"a", b"b"]] * 20)
    for name, message in {
        "c": "its type is complex128",
        "s": "its type is of variable length or references",
        "record": "its type is compound",
        "reference": "of variable length or references",
        "null": "no values (null data space)",
        "text": "features are text",
        "y": "features of shape (20,)",
    }.items():
        assert message in refused(f"{path}:/{name}", f"{path}:/y")
    assert "of variable length" in refused(f"{path}:/text", f"{path}:/s")


def test_huge_shapes_and_chunks_take_no_memory(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5", y=Y), "a") as file:
        file.create_dataset("none", (10**12, 10**6), "f8", chunks=(100, 100))
        sparse = file.create_dataset("sparse", (10**9, 100), "f8", chunks=(100, 100), compression="gzip")
        sparse[0] = 1
        file.create_dataset("chunk", (20, 10**6), "f8", chunks=(20, 10**6))[0, :10] = 1
        file.create_dataset("wide", (20, 10**7), "f8", chunks=(1, 10**5))[0, : 3 * 10**5] = 1
    spec, labels = str(tmp_path / "a.h5"), f"{tmp_path}/a.h5:/y"
    assert "declares 8000000000000000000 bytes of values but holds none" in refused(f"{spec}:/none", labels)
    assert "expected at most 1100 times as many" in refused(f"{spec}:/sparse", labels)
    assert "chunks of 160000000 bytes, each of which is unpacked whole" in refused(f"{spec}:/chunk", labels)
    assert "a sample of shape (10000000,) takes 80000000 bytes" in refused(f"{spec}:/wide", labels)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y[:7]}, "20 rows of features but 7 labels"),
        ({"x": X, "y": np.ones((20, 20))}, "labels with 20 columns, and row 0 is not one 1"),
        ({"x": X, "y": Y + 0.5}, "label 0.5 of sample 0 is not whole"),
        ({"x": X[:0], "y": Y[:0]}, "0 samples of 3 features"),
        ({"x": X[:, :0], "y": Y}, "20 samples of 0 features"),
        ({"x": X[:, 0], "y": Y}, "features of shape (20,)"),
        ({"x": X}, "holds x; expected features and labels"),
        ({"x": X, "y": np.array([b"\xff"] * 20)}, "a label is not UTF-8"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "holds x_test alone"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "samples of shape (2,) in the test split"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    assert message in refused(write(tmp_path / "a.h5", **arrays))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = write(tmp_path / "a.h5", x=X, y=Y).read_bytes()
    for length in range(0, len(content), 37):
        (tmp_path / "a.h5").write_bytes(content[:length])
        assert "a.h5" in refused(tmp_path / "a.h5")


def test_a_missing_library_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5", x=X, y=Y)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match=r"needs h5py.*pip install 'ptrain\[data\]'"):
        opened(path)


def test_a_file_much_larger_than_the_bound_is_read_in_little_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w") as file:
        rows = file.create_dataset("x", (400_000, 100), "f8", chunks=(1000, 100))
        for start in range(0, 400_000, 40_000):
            rows[start : start + 40_000] = np.random.default_rng(start).random((40_000, 100))
        file["y"] = np.zeros(400_000, np.uint8)
    rows_read, growth = memory_growth(tmp_path / "large.h5", write(tmp_path / "small.h5", x=X, y=Y))
    assert rows_read == 400_000
    assert growth < 100  # MiB, of a file of 305 MiB
