import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.config import DataConfig
from ptrain.data.sources import idx
from ptrain.data.sources.load import load
from ptrain.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encode(array: np.ndarray, dtype: str = "u1") -> bytes:
    header = bytes([0, 0, CODES[dtype], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(f">{dtype}").tobytes()


def images(count: int = 12) -> np.ndarray:
    return np.arange(count * 6).reshape(count, 2, 3) % 250


def write_folder(folder: Path, *, suffix: str = "", test: str | None = "t10k", dot: bool = False) -> Path:
    mark = "." if dot else "-"
    for split, count in (("train", 12), *([(test, 5)] if test else [])):
        for name, content in (
            (f"{split}-images{mark}idx3-ubyte", encode(images(count))),
            (f"{split}-labels{mark}idx1-ubyte", encode(np.arange(count) % 3)),
        ):
            (folder / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("test", ["t10k", "test"])
@pytest.mark.parametrize("dot", [False, True])
def test_folders_like_that_of_mnist_are_read(tmp_path: Path, suffix: str, test: str, dot: bool) -> None:
    folder = write_folder(tmp_path, suffix=suffix, test=test, dot=dot)
    for spec in (f"idx:{folder}", str(folder)):
        dataset = load(DataConfig(data=spec), 0)
        assert dataset.test is not None
        assert (dataset.train.size, dataset.test.size) == (12, 5)
        assert (dataset.num_features, dataset.num_classes, dataset.image_shape) == (6, 3, (2, 3))
        assert dataset.feature_range == (0, 255)
        np.testing.assert_array_equal(dataset.train.samples.features, images().reshape(12, 6))
        np.testing.assert_array_equal(dataset.test.samples.labels, np.arange(5) % 3)


def test_without_a_test_pair_the_test_split_is_cut_from_the_training_samples(tmp_path: Path) -> None:
    dataset = load(DataConfig(data=f"idx:{write_folder(tmp_path, test=None)}", test_fraction=0.25), 0)
    assert dataset.test is not None
    assert dataset.test.samples is dataset.train.samples
    assert (dataset.train.size, dataset.test.size) == (9, 3)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_type_is_read(tmp_path: Path, dtype: str, compressed: bool) -> None:
    values = np.arange(24).reshape(4, 6)
    content = encode(values, dtype)
    (tmp_path / "x").write_bytes(gzip.compress(content) if compressed else content)
    array = idx.read(tmp_path / "x")
    np.testing.assert_array_equal(array, values)
    assert not array.flags.writeable
    assert isinstance(array, np.memmap) is not compressed


def test_the_plain_file_is_taken_where_both_are_there(tmp_path: Path) -> None:
    write_folder(write_folder(tmp_path, suffix=".gz"))
    assert {path.suffix for path in idx.find_files(tmp_path).values()} == {""}


def test_a_file_is_found_whatever_its_prefix(tmp_path: Path) -> None:
    for path in list(write_folder(tmp_path).iterdir()):
        path.rename(tmp_path / f"emnist-letters-{path.name}")
    assert len(idx.find_files(tmp_path)) == 4


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(DataConfig(data=f"idx:{folder}"), 0)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
    return str(caught.value)


GOOD = encode(images())


def packed(content: bytes) -> bytes:
    """With gzip, without the time: the names of the tests below hold the bytes."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected an IDX file"),
        (b"\0\0", "starts with 00 00; expected an IDX file"),
        (b"PK\3\4" + bytes(100), "starts with 50 4b 03 04"),
        (b"\0\0\x07\3" + bytes(100), "starts with 00 00 07 03"),
        (b"\0\0\x08\0" + bytes(100), "starts with 00 00 08 00"),
        (b"\0\0\x08\xff" + bytes(2000), "starts with 00 00 08 ff"),
        (GOOD[:9], "ends inside its header"),
        (GOOD[:-1], "71 bytes of values; expected 72 for its shape 12 x 2 x 3"),
        (GOOD + b"x", "73 bytes of values; expected 72"),
        (packed(GOOD[:-1]), "71 bytes of values; expected 72"),
        (packed(GOOD + b"x"), "more than 72 bytes of values; expected 72"),
        (packed(GOOD)[:-12], "truncated"),
        (packed(GOOD)[:-8] + bytes(8), "CRC check failed"),
        (packed(GOOD)[:12] + b"\xff" * 30, "damaged"),
        (packed(b""), "starts with"),
        (encode(np.zeros((0, 2, 3))), "0 samples"),
        (packed(encode(np.zeros((0, 2, 3)))), "0 samples"),
        (b"\0\0\x08\3" + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1), "0 samples"),
        (encode(images()[:7]), "7 rows of features but 12 labels in"),
        (encode(np.arange(12)), "features of shape"),
    ],
)
def test_damaged_images_are_refused_by_file_found_expected_and_fix(
    tmp_path: Path, content: bytes, message: str
) -> None:
    folder = write_folder(tmp_path)
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    assert message in (text := refused(folder))
    assert str(folder / "train-images-idx3-ubyte") in text


def test_a_header_that_declares_far_too_much_takes_no_memory(tmp_path: Path) -> None:
    huge = b"\0\0\x0e\4" + struct.pack(">4I", 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    program = (
        "import resource, sys; from pathlib import Path; from ptrain.data.sources import idx\n"
        "from ptrain.errors import DataError\n"
        "limit = 2**30 + 2**29; resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try: idx.read(Path(sys.argv[1]))\n"
        "except DataError as error: print(error)\n"
    )
    for name, content in (("plain", huge + bytes(99)), ("packed.gz", gzip.compress(huge + bytes(10_000_000)))):
        (tmp_path / name).write_bytes(content)
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
        assert result.stderr == ""
        assert "4294967295 x 4294967295 x 4294967295 x 4294967295" in result.stdout


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("train-images-idx3-ubyte", "no training images; expected a file such as train-images-idx3-ubyte"),
        ("train-labels-idx1-ubyte", "no training labels; expected a file such as train-labels-idx1-ubyte"),
        ("t10k-images-idx3-ubyte", "test split without images"),
        ("t10k-labels-idx1-ubyte", "test split without labels"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, removed: str, message: str) -> None:
    (write_folder(tmp_path) / removed).unlink()
    assert message in refused(tmp_path)


def test_missing_folder_empty_folder_file_and_two_sets_are_refused(tmp_path: Path) -> None:
    assert "no such file; expected a folder of IDX files" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no training images" in refused(tmp_path / "empty")
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be read (Not a directory)" in refused(tmp_path / "file")
    write_folder(tmp_path)
    (tmp_path / "other-train-images-idx3-ubyte").write_bytes(GOOD)
    assert "more than one data set" in refused(tmp_path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").mkdir()
    assert "is a folder; expected an IDX file" in refused(tmp_path)


@settings(deadline=None)
@given(st.data())
def test_any_change_of_a_file_gives_an_array_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from([GOOD, gzip.compress(GOOD)])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.unlink(missing_ok=True)
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        message, size = "", idx.read(path).nbytes
    except DataError as error:
        message, size = str(error), 0
    assert "\n" not in message
    assert size <= 72


def test_a_pair_for_validation_is_read_and_two_pairs_for_one_split_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for what in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        (tmp_path / f"val-{what}").write_bytes((tmp_path / f"t10k-{what}").read_bytes())
    dataset = load(DataConfig(data=str(tmp_path)), 0)
    assert dataset.validation is not None
    assert dataset.test is not None
    np.testing.assert_array_equal(dataset.validation.samples.features, dataset.test.samples.features)
    (tmp_path / "test-images-idx3-ubyte").write_bytes(GOOD)
    assert "t10k-images-idx3-ubyte and test-images-idx3-ubyte: expected one of them" in refused(tmp_path)
    (tmp_path / "test-images-idx3-ubyte").unlink()
    (tmp_path / "val-labels-idx1-ubyte").unlink()
    assert "validation split without labels; expected a file such as val-labels" in refused(tmp_path)
