import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.config import DataConfig, build
from ptrain.data.sources.load import load, read, read_unlabelled
from ptrain.data.store import npy
from ptrain.errors import DataError

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20) % 4


def save(path: Path, array: Any, **options: Any) -> Path:
    np.save(path, array, **options)
    return path


def refused(**fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(build({key: str(value) for key, value in fields.items()}).data, 0)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
    return str(caught.value)


def test_a_pair_of_npy_files_is_mapped_not_read(tmp_path: Path) -> None:
    config = DataConfig(data=str(save(tmp_path / "x.npy", X)), labels=str(save(tmp_path / "y.npy", Y)))
    dataset = load(config, 0)
    features = dataset.train.samples.features
    assert isinstance(features, np.memmap)
    assert not features.flags.writeable
    np.testing.assert_array_equal(features, X)
    assert dataset.test is not None
    assert (dataset.train.size, dataset.test.size, dataset.num_classes) == (16, 4, 4)


@pytest.mark.parametrize(
    "array", [X, X.astype(">f8"), np.asfortranarray(X), X.reshape(5, 2, 2, 3), X > 3, np.zeros((0, 4)), np.float64(3)]
)
def test_what_numpy_saves_is_read(tmp_path: Path, array: Any) -> None:
    np.testing.assert_array_equal(npy.read(save(tmp_path / "x.npy", array)), array)


def test_npy_test_files_become_the_test_split(tmp_path: Path) -> None:
    files = {name: str(save(tmp_path / f"{name}.npy", X if "data" in name else Y)) for name in ("data", "labels")}
    files |= {
        "test_data": str(save(tmp_path / "tx.npy", X[:5] + 1)),
        "test_labels": str(save(tmp_path / "ty.npy", Y[:5])),
    }
    dataset = load(build(files).data, 0)
    assert dataset.test is not None
    assert (dataset.train.size, dataset.test.size) == (20, 5)
    np.testing.assert_array_equal(dataset.test.samples.features, X[:5] + 1)


@pytest.mark.parametrize("names", [("features", "labels"), ("x", "y"), ("X", "y"), ("x_train", "y_train")])
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz_files_are_read_under_all_names(tmp_path: Path, names: tuple[str, str], write: Any) -> None:
    write(tmp_path / "a.npz", **{names[0]: X, names[1]: Y})
    for spec in (f"npz:{tmp_path / 'a.npz'}", str(tmp_path / "a.npz")):
        dataset = load(DataConfig(data=spec, test_fraction=0.5), 0)
        assert dataset.train.size == 10
        np.testing.assert_array_equal(dataset.train.samples.features, X)


@pytest.mark.parametrize("names", ["x_train y_train x_test y_test", "X_train y_train X_test y_test"])
def test_npz_files_may_hold_their_test_split(tmp_path: Path, names: str) -> None:
    arrays: dict[str, Any] = dict(zip(names.split(), [X, Y, X[:4], Y[:4]], strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    dataset = load(DataConfig(data=str(tmp_path / "a.npz")), 0)
    assert dataset.test is not None
    assert (dataset.train.size, dataset.test.size) == (20, 4)


def test_npz_in_fortran_order_and_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(X), y=Y)
    np.testing.assert_array_equal(read(DataConfig(data=str(tmp_path / "a.npz"))).train.features, X)
    np.savez(tmp_path / "b.npz", x=X.reshape(5, 4, 3), y=Y[:5])
    assert read(DataConfig(data=str(tmp_path / "b.npz"))).image_shape == (4, 3)


def test_npz_as_test_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.savez(tmp_path / "t.npz", x=X[:3], y=Y[:3])
    dataset = load(DataConfig(data=str(tmp_path / "a.npz"), test_data=str(tmp_path / "t.npz")), 0)
    assert dataset.test is not None
    assert dataset.test.size == 3
    np.savez(tmp_path / "t.npz", x=X[:3, :2], y=Y[:3])
    assert "2 features a sample in the test split but 3 in" in refused(
        data=tmp_path / "a.npz", test_data=tmp_path / "t.npz"
    )


def test_features_alone_can_be_read_for_prediction(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X)
    for path in (save(tmp_path / "x.npy", X), tmp_path / "a.npz"):
        samples = read_unlabelled(str(path))
        np.testing.assert_array_equal(samples.features, X)
        assert not samples.labels.any()
    assert len(read_unlabelled("digits")) == 359
    np.savez(tmp_path / "b.npz", other=X)
    with pytest.raises(DataError, match="holds other; expected features or x"):
        read_unlabelled(str(tmp_path / "b.npz"))


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    trap = np.array([[Trap(tmp_path / "sprung")]] * 20, dtype=object)
    np.savez(tmp_path / "a.npz", x=trap, y=Y)
    assert "a.npz, array x: holds pickled Python objects, which are never read" in refused(data=tmp_path / "a.npz")
    np.savez(tmp_path / "l.npz", x=X, y=np.array([Trap(tmp_path / "sprung")] * 20, dtype=object))
    assert "l.npz, array y: holds pickled Python objects" in refused(data=tmp_path / "l.npz")
    x, y = save(tmp_path / "x.npy", trap), save(tmp_path / "y.npy", Y)
    assert "x.npy: holds pickled Python objects" in refused(data=x, labels=y)
    raw = pickle.dumps(Trap(tmp_path / "sprung"))
    for name in ("p.npz", "p.npy"):
        (tmp_path / name).write_bytes(raw)
        assert name in refused(data=tmp_path / name, **({"labels": y} if name == "p.npy" else {}))
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("x.npy", raw)
        archive.writestr("y.npy", raw)
    assert "z.npz, array x: not an array of numpy" in refused(data=tmp_path / "z.npz")
    assert not (tmp_path / "sprung").exists()


def content(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (b"", "is empty; expected a .npy file"),
        (b"\x93NUM", "not an array of numpy"),
        (b"some text that is no array", "not an array of numpy"),
        (content(X)[:40], "not an array of numpy"),
        (content(X)[:-1], "239 bytes of values; expected 240 for float32 of shape (20, 3)"),
        (content(X) + b"x", "241 bytes of values; expected 240"),
        (header(f"({2**60}, {2**60})") + bytes(50), "50 bytes of values; expected"),
        (header("(-1, -2)") + bytes(16), "16 bytes of values"),
        (header(f"(0, {2**60})"), "0 samples"),
        (header("(3,"), "not an array of numpy"),
        (content(X.astype("U5")), "features are text"),
        (content(X.astype("S5")), "features are text"),
        (content(X.astype(complex)), "features are complex numbers"),
        (content(np.zeros(20, "f4,i4").reshape(20, 1)), "features are"),
        (content(X[:19]), "19 rows of features but 20 labels"),
    ],
)
def test_damaged_npy_files_are_refused(tmp_path: Path, wrong: bytes, message: str) -> None:
    path, labels = tmp_path / "x.npy", save(tmp_path / "y.npy", Y)
    path.write_bytes(wrong)
    assert message in (text := refused(data=path, labels=labels))
    assert str(path) in text


def test_damaged_labels_are_refused_by_the_name_of_their_file(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", X)
    for wrong, message in (
        (np.zeros(20, "f4,i4"), "labels are [('f0', '<f4'), ('f1', '<i4')]"),
        (Y * 1j, "labels are complex128"),
        (Y[:, None, None], "labels of shape (20, 1, 1)"),
        (np.array([["a", "b"]] * 20), "labels of shape (20, 2)"),
        (np.ones((20, 2)), "labels with 2 columns, and row 0 is not one 1"),
        (Y + 0.5, "label 0.5 of sample 0 is not whole"),
    ):
        assert f"y.npy: {message}" in refused(data=path, labels=save(tmp_path / "y.npy", wrong))


def test_damaged_npz_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=X, y=Y)
    good = path.read_bytes()
    for wrong, message in (
        (b"", "is empty; expected a .npz file"),
        (content(X), "damaged (File is not a zip file)"),
        (good[: len(good) // 2], "damaged (File is not a zip file)"),
        (good[:60] + bytes(20) + good[80:], "damaged"),
    ):
        path.write_bytes(wrong)
        assert message in (text := refused(data=path))
        assert str(path) in text
    np.savez(path, a=X, b=Y)
    assert "holds a, b; expected features and labels, x and y" in refused(data=path)
    np.savez(path, x_train=X, y_train=Y, x_test=X)
    assert "holds x_test alone; expected its labels too" in refused(data=path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header(f"({2**40}, {2**20})") + bytes(100))
        archive.writestr("y.npy", content(Y))
    assert "array x: 100 bytes of values; expected" in refused(data=path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert "holds no arrays" in refused(data=path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    x = save(tmp_path / "x.npy", X)
    assert "none.npz: no such file; expected a .npz file" in refused(data=tmp_path / "none.npz")
    assert "none.npy: no such file; expected a .npy file" in refused(data=tmp_path / "none.npy", labels=x)
    assert "none.npy: no such file" in refused(data=x, labels=tmp_path / "none.npy")
    (tmp_path / "folder.npy").mkdir()
    assert "is a folder; expected a .npy file" in refused(data=tmp_path / "folder.npy", labels=x)


def test_flags_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    x, y = save(tmp_path / "x.npy", X), save(tmp_path / "y.npy", Y)
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    a = tmp_path / "a.npz"
    assert "features without labels; expected --labels FILE.npy" in refused(data=x)
    assert "y.npy: damaged (File is not a zip file); expected a .npz file" in refused(data=a, labels=y)
    assert "expected only with a .npy file" in refused(data="digits", labels=y)
    assert "no array z in it; expected one of x, y" in refused(data=f"{a}:z", labels=f"{a}:y")
    assert "expected --test-labels FILE.npy as well" in refused(data=a, test_data=x)
    assert "expected FILE.npz, or FILE.npy with --test-labels" in refused(data=a, test_data="digits")
    with pytest.raises(DataError, match="digits has a test split of its own; leave --test-data out"):
        load(DataConfig(data="digits", test_data=str(a)), 0)


READ = """
import os, sys
from ptrain.config import DataConfig
from ptrain.data.sources.load import load
from ptrain.errors import DataError
load(DataConfig(data=sys.argv[2]), 0)
if os.getuid() == 0:
    # permissions do not hold root up, and nobody may not import from root's folders
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    load(DataConfig(data=sys.argv[1]), 0)
except DataError as error:
    print(error)
"""


def test_a_file_that_must_not_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # the other user must get as far as the file
        Path(folder).chmod(0o755)
        path, readable = Path(folder) / "a.npz", Path(folder) / "b.npz"
        for name in (path, readable):
            np.savez(name, x=X, y=Y)
        path.chmod(0)
        command = [sys.executable, "-c", READ, str(path), str(readable)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    assert result.stdout.strip() == (
        f"{path}: cannot be read (Permission denied); expected a .npz file that every rank can read"
    )


@settings(deadline=None)
@given(st.data())
def test_any_change_of_a_file_gives_samples_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    np.savez(folder / "whole.npz", x=X, y=Y)
    whole = bytearray((folder / "whole.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (folder / "changed.npz").write_bytes(whole)
    try:
        read(DataConfig(data=str(folder / "changed.npz")))
        message = ""
    except DataError as error:
        message = str(error)
    assert "\n" not in message
