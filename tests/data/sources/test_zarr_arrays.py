import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr import codecs

from ptrain.data.sources import blosc_frames
from tests.data.sources.streams import IMAGES, X, Y, is_array, memory_growth, opened, refused, test, train

BLOSC = {"compressors": codecs.BloscCodec(cname="lz4", typesize=8)}


def write(
    folder: Path, version: Any = 3, chunks: Any = None, options: dict[str, Any] | None = None, **arrays: Any
) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    for name, values in arrays.items():
        keywords = dict(options or {}) if values.ndim > 1 else {}
        group.create_array(name.replace("__", "/"), data=values, chunks=chunks or values.shape, **keywords)
    return folder


@pytest.mark.parametrize("version", [2, 3])
def test_groups_names_and_labels_elsewhere(tmp_path: Path, version: int) -> None:
    folder = write(tmp_path / "a b é.zarr", version, x=X, y=Y, run__features=X * 2, run__labels=Y)
    is_array(train(opened(folder))[0], X)
    is_array(train(opened(f"{folder}:/x"))[1], Y)
    is_array(train(opened(f"{folder}:/run"))[0], X * 2)
    is_array(train(opened(f"zarr:{folder}:run/features"))[1], Y)
    is_array(train(opened(f"{folder}:/run/features", f"{folder}:/y"))[1], Y)
    is_array(train(opened(f"{folder}:/x", labelled=False))[1], np.zeros(20))
    plain = folder.rename(tmp_path / "plain")  # a folder is known by what is in it
    is_array(train(opened(plain))[0], X)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("options", [{}, {"compressors": None}, "blosc", {"shards": (14, 3)}])
def test_chunks_codecs_and_shards(tmp_path: Path, version: int, options: Any) -> None:
    if options == "blosc":
        options = BLOSC if version == 3 else {}  # of version 2 it is the default
    if version == 2 and "shards" in options:
        return
    folder = tmp_path / "a.zarr"
    group = zarr.open_group(folder, mode="w", zarr_format=version)  # type: ignore[arg-type]
    group.create_array("x", data=np.tile(X, (30, 1)), chunks=(7, 3), **options)
    group.create_array("y", data=np.tile(Y, 30))
    is_array(train(opened(folder))[0], np.tile(X, (30, 1)))


def test_images_and_splits(tmp_path: Path) -> None:
    stream = opened(write(tmp_path / "a.zarr", train__x=IMAGES, train__y=Y, test__x=IMAGES[:4], test__y=Y[:4]))
    assert (stream.image_shape, stream.num_samples) == ((4, 3), 20)
    is_array(test(stream)[0], IMAGES[:4].reshape(4, 12))
    groups = opened(write(tmp_path / "b.zarr", x=X, y=Y, groups=Y * 10))
    is_array(np.concatenate([block[2] for block in groups.train()]), Y * 10)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_codec_that_unpickles_is_never_called(tmp_path: Path) -> None:
    folder = write(tmp_path / "a.zarr", 2, x=X, y=Y)
    trap = b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "sprung").encode()
    (folder / "x" / "0.0").write_bytes(trap)
    for changes in ({"filters": [{"id": "pickle"}]}, {"compressor": {"id": "pickle"}}):
        edit(folder / "x" / ".zarray", **({"filters": None, "compressor": None} | changes))
        assert "stored with the codec pickle; expected one that only compresses" in refused(folder)
    folder = write(tmp_path / "b.zarr", 3, x=X, y=Y)
    inner = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [1, 1], "codecs": [{"name": "numcodecs.pickle"}]},
    }
    edit(folder / "x" / "zarr.json", codecs=[inner])
    assert "stored with the codec numcodecs.pickle" in refused(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [10**12, 3]}, "expected at most 1100 times as many"),
        ({"shape": [20]}, "damaged metadata"),
        ({"shape": [20, -3]}, "damaged metadata"),
        ({"shape": [20, 3.5]}, "damaged metadata"),
        ({"shape": None}, "damaged metadata"),
        ({"chunks": [0, 3]}, "damaged metadata"),
        ({"chunks": [10**9, 3]}, "chunks of 24000000000 bytes"),
        ({"dtype": "|O"}, "its type is object"),
        ({"dtype": [["a", "<f8"]]}, "its type is compound"),
        ({"dtype": "nonsense"}, "damaged metadata"),
        ({"compressor": {}}, "damaged metadata"),
    ],
)
def test_damaged_metadata_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write(tmp_path / "a.zarr", 2, x=X, y=Y)
    edit(folder / "x" / ".zarray", **changes)
    assert message in refused(folder)


def test_files_that_are_no_metadata_or_chunks_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a.zarr", 2, x=X, y=Y)
    for content in (b"", b"{", b"[]", b"[" * 100_000, b"\xff", b'{"shape": [NaN, 3]}'):
        (folder / "x" / ".zarray").write_bytes(content)
        assert "expected" in refused(folder)
    folder = write(tmp_path / "a.zarr", 2, x=X, y=Y)
    (folder / "x" / "0.0").write_bytes(b"")
    assert "declares 480 bytes of values but holds none" in refused(folder)
    (folder / "x" / "0.0").unlink()
    os.mkfifo(folder / "x" / "0.0")
    assert "is no regular file" in refused(folder)
    assert "leaves the folder" in refused(f"{folder}:/../b.zarr/x", f"{folder}:/y")
    assert "no array or group /w in it; expected one of x, y" in refused(f"{folder}:/w", f"{folder}:/y")
    (tmp_path / "empty.zarr").mkdir()
    assert "no Zarr metadata" in refused(tmp_path / "empty.zarr")
    assert "no such file" in refused(tmp_path / "none.zarr")


def test_every_truncation_of_a_chunk_is_refused(tmp_path: Path) -> None:
    for version, options in ((2, {}), (3, {}), (3, BLOSC)):
        folder = write(tmp_path / "a.zarr", version, options=options, x=X, y=Y)
        chunk = folder / "x" / ("0.0" if version == 2 else "c/0/0")
        content = chunk.read_bytes()
        for length in range(0, len(content), 11):
            chunk.write_bytes(content[:length])
            assert "a.zarr" in refused(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"packed": 2**31}, {"packed": 8}, {"unpacked": 2**31}, {"block": 0}, {"block": 2**20}, {"type_size": 0},
        {"start": 0}, {"start": 2**30}, {"flags": 2},
    ],
)  # fmt: skip
def test_lengths_that_leave_a_blosc_frame_never_reach_the_library(fields: dict[str, int]) -> None:
    good = {"flags": 0, "type_size": 8, "unpacked": 480, "block": 480, "packed": 60, "start": 20}
    for changes, fails in (({}, False), (fields, True)):
        one = good | changes
        frame = struct.pack(
            "<4B4I", 2, 1, *(one[name] for name in ("flags", "type_size", "unpacked", "block", "packed", "start"))
        )
        if fails:
            with pytest.raises(ValueError, match="Blosc frame"):
                blosc_frames.check_frame(frame.ljust(60, b"\0"))
        else:
            blosc_frames.check_frame(frame.ljust(60, b"\0"))


def test_a_store_much_larger_than_the_bound_is_read_in_little_memory(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "large.zarr", mode="w")
    rows = group.create_array("x", shape=(300_000, 100), dtype="f8", chunks=(5000, 100))
    for start in range(0, 300_000, 50_000):
        rows[start : start + 50_000] = np.random.default_rng(start).random((50_000, 100))
    group.create_array("y", data=np.zeros(300_000, np.uint8))
    count, growth = memory_growth(tmp_path / "large.zarr", write(tmp_path / "small.zarr", x=X, y=Y))
    assert count == 300_000
    assert growth < 100  # MiB, of 229
