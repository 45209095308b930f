"""The converted form: bounded memory, restarts, several processes at once, files that change meanwhile."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
import zarr
from pyarrow import parquet

from ptrain.config import DataConfig
from ptrain.data.samples import Samples, Source
from ptrain.data.sources.load import load, open_source
from ptrain.data.store import cache, convert, converted
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError
from tests.ranks import clean_environment, kill_tree, run_ranks


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(config: DataConfig) -> Stream:
    found = open_source(config)
    assert isinstance(found, Stream)
    return found


def write_table(path: Path, rows: int, columns: int = 4) -> Path:
    line = ",".join(["{:.3f}"] * columns)
    with path.open("w") as file:
        file.write(",".join(f"x{i}" for i in range(columns)) + ",y\n")
        for row in range(rows):
            file.write(line.format(*(row % 997 + column / 8 for column in range(columns))) + f",c{row % 5}\n")
    return path


def stream(blocks: list[Block], **fields: Any) -> Stream:
    given: dict[str, Any] = {
        "name": "made:here",
        "description": "made",
        "files": (),
        "options": {"count": len(blocks)},
        "dtype": np.dtype("<f4"),
        "num_features": blocks[0][0].shape[1],
        "train": lambda: iter(blocks),
    }
    return Stream(**(given | fields))


def block(start: int, count: int, labels: Any = None, groups: Any = None) -> Block:
    features = np.arange(2 * start, 2 * (start + count), dtype=np.float32).reshape(count, 2)
    found = np.arange(start, start + count) % 3 if labels is None else np.array(labels)
    return features, found, groups


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    blocks = [block(0, 3, ["b", "a", "b"], np.array(["u", "v", "u"])), block(3, 2, ["c", "a"], np.array(["w", "u"]))]
    test, validation = [block(9, 2, ["c", "b"])], [block(4, 1, ["b"])]
    held_out: dict[str, Any] = {"validation": lambda: iter(validation), "test": lambda: iter(test)}
    convert.convert(stream(blocks, **held_out, image_shape=(1, 2), notes=("a note",)), tmp_path / "out")
    source = converted.load(tmp_path / "out")
    assert (source.notes, source.warnings) == (("a note",), ())
    assert source.validation is not None
    assert (source.validation.features.tolist(), source.validation.labels.tolist()) == ([[8, 9]], [1])
    np.testing.assert_array_equal(source.train.features, np.arange(10, dtype=np.float32).reshape(5, 2))
    assert source.class_names == ("a", "b", "c")
    assert source.train.labels.tolist() == [1, 0, 1, 2, 0]
    assert source.train.labels.dtype == np.uint8
    assert source.train.groups is not None
    assert source.train.groups.tolist() == [0, 1, 0, 2, 0]
    assert source.test is not None
    assert source.test.labels.tolist() == [2, 1]
    assert source.image_shape == (1, 2)
    assert isinstance(source.train.features, np.memmap)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_class_numbers_keep_the_smallest_type(tmp_path: Path) -> None:
    for labels, dtype in (([0, 255], "u1"), ([0, 300], "<u2"), ([-1, 0], "i1"), ([0.0, 2.0], "u1")):
        folder = tmp_path / str(labels)
        convert.convert(stream([block(0, 2, labels)]), folder)
        stored = np.load(folder / "labels.npy", allow_pickle=False)
        assert (stored.tolist(), stored.dtype) == (labels, np.dtype(dtype))


def test_a_block_of_another_width_and_a_name_that_is_no_class_are_refused(tmp_path: Path) -> None:
    wrong = (np.zeros((2, 3), np.float32), np.zeros(2, np.int64), None)
    with pytest.raises(DataError, match="expected 2 rows of 2 features"):
        convert.convert(stream([block(0, 2), wrong]), tmp_path / "out")
    with pytest.raises(DataError, match="class 'x': expected one of a, b"):
        convert.convert(stream([block(0, 2, ["a", "x"])], class_names=("a", "b")), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_conversion_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_SAVE_BYTES", 1)
    blocks = [block(5 * i, 5, [f"n{(5 * i + j) % 4}" for j in range(5)]) for i in range(6)]

    def broken() -> Iterator[Block]:
        yield from blocks[:4]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        convert.convert(stream(blocks, train=broken), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    written: list[int] = []
    convert.convert(stream(blocks), tmp_path / "out", written.append)
    assert written == [25, 30]
    source = converted.load(tmp_path / "out")
    np.testing.assert_array_equal(source.train.features, np.concatenate([one[0] for one in blocks]))
    assert source.class_names is not None
    assert [source.class_names[label] for label in source.train.labels] == [f"n{i % 4}" for i in range(30)]


def test_what_another_conversion_left_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_SAVE_BYTES", 1)

    def broken() -> Iterator[Block]:
        yield block(0, 50)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        convert.convert(stream([block(0, 50)], train=broken), tmp_path / "out")
    convert.convert(stream([block(7, 2)], options={"other": 1}), tmp_path / "out")
    np.testing.assert_array_equal(converted.load(tmp_path / "out").train.features, block(7, 2)[0])


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_write_the_same_bytes_as_one(tmp_path: Path, parts: int) -> None:
    columns = {"x": np.arange(1000) / 8, "c": ["u", "v", "w", "v"] * 250, "y": ["a", "b"] * 500}
    columns["g"] = [f"group {i * i % 37}" for i in range(1000)]
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=130)
    made = opened(DataConfig(data=str(tmp_path / "t.parquet"), target="y", split="groups", group="g"))
    assert made.pieces is not None
    key, stamps = convert.stream_key(made)
    partial = convert.partial_of(tmp_path / "out")
    for part in reversed(range(parts)):
        convert.write_part(made, key, partial, None, part, parts)
    convert.finish(made, key, stamps, partial, tmp_path / "out")
    whole = Stream(**{**made.__dict__, "pieces": None})
    convert.convert(whole, tmp_path / "whole")
    for name in ("features.npy", "labels.npy", "groups.npy", "data.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_parts_of_arrays_make_the_whole(tmp_path: Path, kind: str) -> None:
    features = np.arange(30_000, dtype=np.float32).reshape(10_000, 3)
    labels = np.array([f"c{i * i % 7}" for i in range(10_000)], dtype="S2")
    path = tmp_path / f"t.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=features, chunks=(100, 3))
            file.create_dataset("labels", data=labels)
    else:
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.create_array("features", data=features, chunks=(100, 3))
        group.create_array("labels", data=np.arange(10_000) % 5, chunks=(300,))
    made = opened(DataConfig(data=str(path)))
    assert made.pieces is not None
    assert len(made.pieces) == 3
    key, stamps = convert.stream_key(made)
    for part in (1, 0):
        convert.write_part(made, key, convert.partial_of(tmp_path / "out"), None, part, 2)
    convert.finish(made, key, stamps, convert.partial_of(tmp_path / "out"), tmp_path / "out")
    convert.convert(Stream(**{**made.__dict__, "pieces": None}), tmp_path / "whole")
    for name in ("features.npy", "labels.npy", "data.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    np.testing.assert_array_equal(converted.load(tmp_path / "out").train.features, features)


@pytest.mark.parametrize("parts", [1, 3])
def test_names_that_are_found_in_pieces_are_numbered_as_one(tmp_path: Path, parts: int) -> None:
    names = ["d", "b", "b", "a", "c", "b", "d", "a"]
    groups = ["x", "y", "y", "z", "w", "x", "w", "y"]
    blocks = [block(2 * i, 2, names[2 * i : 2 * i + 2], np.array(groups[2 * i : 2 * i + 2])) for i in range(4)]
    made = stream(blocks, pieces=tuple((2, lambda one=one: iter([one])) for one in blocks))
    key, stamps = convert.stream_key(made)
    for part in range(parts):
        convert.write_part(made, key, convert.partial_of(tmp_path / "out"), None, part, parts)
    convert.finish(made, key, stamps, convert.partial_of(tmp_path / "out"), tmp_path / "out")
    convert.convert(stream(blocks), tmp_path / "whole")
    for name in ("features.npy", "labels.npy", "groups.npy", "data.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    source = converted.load(tmp_path / "out")
    assert [(source.class_names or ())[label] for label in source.train.labels] == names


def test_a_class_of_the_test_split_alone_is_refused(tmp_path: Path) -> None:
    made = stream([block(0, 2, ["a", "b"])], test=lambda: iter([block(0, 1, ["c"])]))
    with pytest.raises(DataError, match="class 'c' is not in the training split"):
        convert.convert(made, tmp_path / "out")


def test_a_source_that_is_no_stream_is_converted_as_well(tmp_path: Path) -> None:
    features = np.arange(12, dtype=">i2").reshape(4, 3)
    source = Source(
        name="made", description="made", train=Samples(features, np.array([0, 1, 0, 1])), test=None, image_shape=(3, 1)
    )
    convert.convert(converted.stream_of(source), tmp_path / "out")
    back = converted.load(tmp_path / "out")
    np.testing.assert_array_equal(back.train.features, features)
    assert back.train.features.dtype == np.dtype("<i2")
    assert load(DataConfig(data=str(tmp_path / "out"), test_fraction=0.5), 0).image_shape == (3, 1)


@pytest.mark.parametrize("damage", ["no json", "json", "version", "features", "labels", "groups"])
def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "out"
    convert.convert(stream([block(0, 3, None, np.array([1, 2, 1]))]), folder)
    if damage == "no json":
        (folder / "data.json").write_text("{")
    elif damage == "json":
        (folder / "data.json").write_text('{"version": 1}')
    elif damage == "version":
        (folder / "data.json").write_text('{"version": 99}')
    else:
        path = folder / f"{damage}.npy"
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="expected") as caught:
        converted.load(folder)
    assert "\n" not in str(caught.value)


def test_the_cache_knows_contents_not_names(tmp_path: Path, cache_folder: Path) -> None:
    first = write_table(tmp_path / "a.csv", 20)
    (tmp_path / "b.csv").write_bytes(first.read_bytes())
    one, two = (load(DataConfig(data=str(tmp_path / name), target="y"), 0) for name in ("a.csv", "b.csv"))
    assert (one.name, two.name) == (f"csv:{first}", f"csv:{tmp_path / 'b.csv'}")
    assert len([path for path in (cache_folder / "converted").iterdir() if path.is_dir()]) == 1
    load(DataConfig(data=str(first), target="y", drop="x1"), 0)
    first.write_text(first.read_text() + "1,2,3,4,c1\n")
    assert len(load(DataConfig(data=str(first), target="y"), 0).train.samples) == 21
    assert len([path for path in (cache_folder / "converted").iterdir() if path.is_dir()]) == 3


def test_the_hash_of_a_large_file_is_remembered_until_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    monkeypatch.setattr(cache, "_LARGE", 10)
    path = tmp_path / "a"
    for content in ("a" * 20, "b" * 20):
        path.write_text(content)
        os.utime(path, ns=(0, 10**9 * ord(content[0])))
        found = cache.stamp(path)
        assert cache.file_sha256(found) == hashlib.sha256(content.encode()).hexdigest()
        cache._known.clear()
        with monkeypatch.context() as patch:
            patch.setattr(cache, "_hashed", lambda _: "computed again")
            assert cache.file_sha256(found) == hashlib.sha256(content.encode()).hexdigest()
    path.write_text("c" * 20)
    cache.file_sha256(cache.stamp(path))
    assert len(list((cache_folder / "hashes").glob("[!.]*"))) == 2


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "a.csv", 20)
    (tmp_path / "file").touch()
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"cannot be written .*expected .*set PTRAIN_CACHE"):
        load(DataConfig(data=str(path), target="y"), 0)


def test_without_locks_every_process_works_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("ptrain.data.store.cache.fcntl.flock", refuse)
    path = write_table(tmp_path / "a.csv", 20)
    assert len(load(DataConfig(data=str(path), target="y"), 0).train.samples) == 20
    assert not list((tmp_path / "cache" / "converted").glob("*.partial"))


# A file that changes while it is read


@pytest.mark.parametrize("change", ["append", "replace", "remove", "touch"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = write_table(tmp_path / "t.csv", 30_000)
    found = opened(DataConfig(data=str(path), target="y"))

    def meddling() -> Iterator[Block]:
        for number, one in enumerate(found.train()):
            if number == 0:
                if change == "append":
                    with path.open("a") as file:
                        file.write("1,2,3,4,c1\n")
                elif change == "replace":
                    write_table(tmp_path / "new.csv", 30_000).replace(path)
                elif change == "remove":
                    path.unlink()
                else:
                    os.utime(path)
            yield one

    with pytest.raises(DataError, match="was changed while it was read"):
        convert.convert(Stream(**{**found.__dict__, "train": meddling}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not convert.partial_of(tmp_path / "out").exists()


# Real processes

LOAD = (
    "import sys; from ptrain.config import DataConfig; from ptrain.data.sources.load import load\n"
    "from ptrain.data.fingerprint import fingerprint_blocks, combine_fingerprints\n"
    "data = load(DataConfig(data=sys.argv[1], target='y', split='stratified'), 0)\n"
    "print(combine_fingerprints([fingerprint_blocks(data)]), data.split_sha256)\n"
)


def environment(tmp_path: Path) -> dict[str, str]:
    return clean_environment({"PTRAIN_CACHE": str(tmp_path / "cache")})


def test_processes_that_start_at_once_convert_once_and_agree(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 20_000)
    command = [sys.executable, "-c", LOAD, str(path)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path))
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60) for process in running]
    assert {stderr for _, stderr in outputs} == {""}
    assert len({stdout for stdout, _ in outputs}) == 1
    folders = [path for path in (tmp_path / "cache" / "converted").iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert not folders[0].name.startswith(".")


def test_a_process_that_dies_holds_nobody_up(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 100_000)
    command = [sys.executable, "-c", LOAD, str(path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(tmp_path))
    begun = time.monotonic()
    while not list((tmp_path / "cache").glob("converted/.*.partial/features.npy")):
        assert time.monotonic() - begun < 60
        assert first.poll() is None
        time.sleep(0.001)
    kill_tree(first.pid)
    assert first.wait(10) == -signal.SIGKILL
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(tmp_path), check=False)
    assert (second.returncode, second.stderr) == (0, "")
    assert len(second.stdout.split()) == 2


def test_a_table_is_converted_in_less_memory_than_it_takes(tmp_path: Path) -> None:
    """Of 64 MiB of text come 128 MiB of features; the process grows by less than 96 MiB, mostly blocks of pyarrow."""
    path, columns, rows = tmp_path / "large.csv", 128, 256 * 1024
    with path.open("w") as file:
        file.write(",".join(f"x{i}" for i in range(columns)) + ",y\n")
        for start in range(0, rows, 1024):
            numbers = [str(row % 7) if row else "0.5" for row in range(start, start + 1024)]
            file.write("".join(f"{','.join([number] * columns)},c{number[0]}\n" for number in numbers))
    code = (
        "import resource, sys; from ptrain.config import DataConfig; from ptrain.data.store import converted\n"
        "from ptrain.data.sources.load import load\n"
        "import pyarrow, pyarrow.csv, pyarrow.compute\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "converted.load = lambda folder: sys.exit(print(peak() - before) or 0)\n"
        "load(DataConfig(data=sys.argv[1], target='y'), 0)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(tmp_path), check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert int(done.stdout) < 96 * 1024
    folder = next(path for path in (tmp_path / "cache" / "converted").iterdir() if path.is_dir())
    assert (folder / "features.npy").stat().st_size > 128 * 2**20


def test_ranks_and_jobs_at_once_train_to_the_same_bits(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 3000)
    found: dict[int, subprocess.CompletedProcess[str]] = {}

    def job(number: int) -> None:
        command = [
            sys.executable, "-m", "ptrain", "train", "--data", str(path), "--target", "y", "--epochs", "1",
            "--hidden", "8", "--no-report", "--run-dir", str(tmp_path / f"run{number}"),
        ]  # fmt: skip
        found[number] = run_ranks(command, 2, timeout=120, env={"PTRAIN_CACHE": str(tmp_path / "cache")})

    jobs = [threading.Thread(target=job, args=(number,)) for number in range(2)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join()
    assert [found[number].returncode for number in range(2)] == [0, 0], found
    hashes = [json.loads((tmp_path / f"run{number}" / "environment.json").read_text()) for number in range(2)]
    for name in ("parameters_sha256", "data_sha256", "split_sha256"):
        assert hashes[0][name] == hashes[1][name]
    assert len([path for path in (tmp_path / "cache" / "converted").iterdir() if path.is_dir()]) == 1
