import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from ptrain.config import DataConfig
from ptrain.data.sources import mat
from ptrain.data.store.stream import Request
from tests.data.sources.streams import X, Y, is_array, memory_growth, opened, refused, test, train

CUBES = (np.arange(2 * 3 * 20) % 250).astype(np.uint8).reshape(2, 3, 20)


def write_73(path: Path, **arrays: Any) -> Path:
    """Write as MATLAB does with -v7.3: dimensions reversed, the class as an attribute, after 512 bytes of its own."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.asarray(values).T
            kind = {"float64": "double", "float32": "single", "complex128": "double", "bool": "logical"}.get(
                file[name].dtype.name, file[name].dtype.name
            )
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    content = bytearray(path.read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    path.write_bytes(content)
    return path


def write(path: Path, version: str, **arrays: Any) -> Path:
    if version == "7.3":
        return write_73(path, **arrays)
    scipy.io.savemat(path, arrays, do_compression=version == "7")
    return path


@pytest.mark.parametrize("version", ["6", "7", "7.3"])
class TestEveryVersion:
    def test_samples_are_the_rows(self, tmp_path: Path, version: str) -> None:
        path = write(tmp_path / "a b.mat", version, X=X, y=Y[:, None].astype(float), other=X)
        stream = opened(path)
        assert stream.dtype == np.float64
        assert (stream.image_shape, stream.schema) == (None, None)
        is_array(train(stream)[0], X)
        is_array(train(stream)[1], Y)
        is_array(train(opened(f"{path}:other", f"{path}:y"))[0], X)

    def test_labels_may_be_a_row(self, tmp_path: Path, version: str) -> None:
        is_array(train(opened(write(tmp_path / "a.mat", version, x=X, y=Y[None].astype(np.uint8))))[1], Y)

    def test_samples_are_the_last_dimension_where_that_fits_the_labels(self, tmp_path: Path, version: str) -> None:
        path = write(tmp_path / "a.mat", version, X=CUBES, y=Y[:, None].astype(float))
        stream = opened(path)
        assert stream.dtype == np.uint8
        assert (stream.image_shape, stream.num_samples) == ((2, 3), 20)
        is_array(train(stream)[0], np.moveaxis(CUBES, -1, 0).reshape(20, 6))
        config = DataConfig(data=f"{path}:X")  # as predict asks, with what the network stores
        again = mat.open_mat(f"{path}:X", Request(config=config, schema=stream.schema, labelled=False))
        is_array(train(again)[0], np.moveaxis(CUBES, -1, 0).reshape(20, 6))

    def test_a_split_of_the_file_and_types(self, tmp_path: Path, version: str) -> None:
        for dtype in ("f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
            arrays = {"x_train": X.astype(dtype), "y_train": Y[:, None], "x_test": X[:4].astype(dtype)}
            path = write(tmp_path / f"{dtype}.mat", version, **arrays, y_test=Y[:4, None])
            assert train(opened(path))[0].dtype == np.dtype(dtype)
            is_array(test(opened(path))[0], X[:4])

    def test_variables_that_are_no_real_numbers_are_refused_by_name(self, tmp_path: Path, version: str) -> None:
        path = write(tmp_path / "a.mat", version, y=Y[:, None].astype(float), z=X[:, :1] * 1j + 1)
        assert "a.mat:z: is of MATLAB's class complex; expected real numbers" in refused(f"{path}:z", f"{path}:y")
        assert "no variable w in it; expected one of y, z" in refused(f"{path}:w", f"{path}:y")

    def test_empty_variables(self, tmp_path: Path, version: str) -> None:
        if version != "7.3":
            path = write(tmp_path / "a.mat", version, X=np.zeros((20, 0)), y=Y[:, None])
            assert "20 samples of 0 features" in refused(path)

    def test_every_truncation_is_refused(self, tmp_path: Path, version: str) -> None:
        path = write(tmp_path / "a.mat", version, X=X, y=Y[:, None].astype(float))
        content = path.read_bytes()
        for length in range(0, len(content), 29):
            path.write_bytes(content[:length])
            assert "a.mat" in refused(path)


def test_text_cells_and_structs_are_refused_by_class(tmp_path: Path) -> None:
    cell = np.array(["one", "two"], dtype=object)
    arrays = {"y": Y[:, None], "c": cell, "s": {"a": 1}, "t": "text", "p": scipy.sparse.csc_array(X)}
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    for name, kind in {"c": "cell", "s": "struct", "t": "char", "p": "sparse"}.items():
        assert f"is of MATLAB's class {kind}" in refused(f"{tmp_path}/a.mat:{name}", f"{tmp_path}/a.mat:y")


def test_narrow_storage_and_other_byte_orders(tmp_path: Path) -> None:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    flags = struct.pack(">4I", 6, 8, 6, 0)  # double
    matrix = flags + struct.pack(">2I2i", 5, 8, 20, 1) + struct.pack(">HH4s", 1, 1, b"y") + struct.pack(">2I", 2, 20)
    matrix += Y.astype(np.uint8).tobytes() + bytes(4)
    (tmp_path / "a.mat").write_bytes(header + struct.pack(">2I", 14, len(matrix)) + matrix)
    with mat.open_array(tmp_path / "a.mat", "y").open() as read:
        values = read(0, 20)
    assert values.dtype == np.float64
    is_array(values[:, 0], Y)


def test_links_out_of_a_file_of_version_73_are_refused(tmp_path: Path) -> None:
    path = write_73(tmp_path / "a.mat", y=Y[:, None])
    with h5py.File(path, "a") as file:
        file["X"] = h5py.ExternalLink("secret.mat", "/X")
    assert "is of MATLAB's class struct or link" in refused(path)


def test_bombs_and_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    flags = struct.pack("<4I", 6, 8, 9, 0)  # uint8
    start = flags + struct.pack("<2I2i", 5, 8, 20, 10**8) + struct.pack("<HH4s", 1, 1, b"X")
    packed = zlib.compress(struct.pack("<2I", 14, 2**31) + start + struct.pack("<2I", 2, 20 * 10**8) + bytes(1000))
    path.write_bytes(header + struct.pack("<2I", 15, len(packed)) + packed)
    assert "a.mat:X: declares 2000000000 bytes of values in" in refused(f"{path}:X", path)
    scipy.io.savemat(path, {"X": X, "y": Y[:, None]}, format="4")
    assert "no header of a .mat file of version 5, 7 or 7.3" in refused(path)
    path.write_bytes(header + struct.pack("<2I", 14, 2**31) + bytes(100))
    assert "an element of 2147483648 bytes at byte 128" in refused(path)


def test_a_large_file_is_mapped_not_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((400_000, 50))
    large = write(tmp_path / "large.mat", "6", X=values, y=np.zeros((400_000, 1), np.uint8))
    rows, growth = memory_growth(large, write(tmp_path / "small.mat", "6", X=X, y=Y[:, None]))
    assert rows == 400_000
    assert growth < 200  # MiB, of which 153 are pages of the file, which the system may take back
