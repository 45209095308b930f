"""The suite of the table of sources: what every row must do and withstand, whatever its format."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrain.cli import main
from ptrain.config import DataConfig, build
from ptrain.data.samples import Samples
from ptrain.data.sources.load import load, read_unlabelled
from ptrain.data.sources.table import SOURCES, by_extension, file_of, names, parse, resolve
from ptrain.data.store import convert
from ptrain.data.store.stream import Block
from ptrain.errors import DataError
from tests.data import fuzz_formats
from tests.data.fuzz_formats import SEEDS, Seed
from tests.data.sources.streams import X, Y, opened

SECONDS = 20


def lay(kind: str, folder: Path) -> Seed:
    """Write the first valid file of a format into a folder."""
    scratch = folder / "seeds"
    scratch.mkdir(parents=True)
    seed = SEEDS[kind](scratch)[0]
    shutil.rmtree(scratch)
    for name, content in seed.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return seed


def read(kind: str, seed: Seed, folder: Path) -> None:
    fuzz_formats.read(kind, str(folder / seed.spec), None if seed.labels is None else str(folder / seed.labels))


def message(kind: str, seed: Seed, folder: Path) -> str:
    """Return the error of reading, which must come soon: a thread that waits for ever would be the hang of a rank."""
    caught: list[BaseException] = []

    def task() -> None:
        try:
            read(kind, seed, folder)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), f"{kind}: reading hangs"
    assert caught, f"{kind}: accepted"
    assert isinstance(caught[0], DataError), repr(caught[0])
    text = str(caught[0])
    assert text.isprintable()
    assert "expected" in text
    return text


def needed(path: Path) -> bool:
    """Return whether a format cannot do without this file."""
    return path.name not in (".zattrs", ".zgroup", "groups.npy") and not path.name.endswith(".aux.xml")


def replaced(folder: Path, seed: Seed) -> Iterator[Path]:
    """Yield each file of a format removed, for something else to take its place."""
    for name, content in seed.files.items():
        (folder / name).unlink()
        yield folder / name
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(content)


def test_every_file_and_folder_of_the_table_has_a_valid_example_here() -> None:
    assert set(SEEDS) == set(names("file", "folder"))


def test_the_table_is_read_without_numpy_and_names_openers_that_there_are() -> None:
    code = "import sys; import ptrain.data.sources.table; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
    for row in SOURCES.values():
        assert callable(resolve(row.opens))
        assert row.recognises is None or callable(resolve(row.recognises))
        spec = row.example.split()[0]
        assert spec.partition(":")[0] == row.name or by_extension(spec) is row or row.recognises, row.example
    extensions = [extension for row in SOURCES.values() for extension in row.extensions]
    assert len(set(extensions)) == len(extensions)


@pytest.mark.parametrize("kind", names("fixed", "synthetic"))
def test_a_named_source_opens_and_refuses_what_it_has_not(kind: str) -> None:
    row, rest = parse(SOURCES[kind].example)
    assert row.name == kind
    dataset = load(DataConfig(data=f"{kind}:{rest}" if rest else kind), 0)
    assert dataset.test is not None
    assert isinstance(read_unlabelled(kind), Samples)
    for fields, words in (
        ({"data": f"{kind}:nonsense=1"}, "expected"),
        ({"data": kind, "labels": "y.npy"}, "--labels y.npy with --data"),
        ({"data": kind, "target": "t"}, "expected only with a table"),
        ({"data": "blobs", "test_data": kind}, "expected FILE.npz"),
    ):
        with pytest.raises(DataError, match=words):
            load(build(fields).data, 0)


@pytest.mark.parametrize("kind", SEEDS)
def test_a_file_or_folder_is_known_by_its_extension_or_its_content(tmp_path: Path, kind: str) -> None:
    row, seed = SOURCES[kind], lay(kind, tmp_path)
    path = tmp_path / seed.spec
    assert parse(f"{kind}:{path}") == (row, str(path))
    assert parse(str(path)) == (row, str(path))
    for extension in row.extensions:
        for spec in (f"none{extension}", f"NONE{extension.upper()}", f"/a b/none{extension}:/group/x"):
            assert parse(spec) == (row, spec)
            assert file_of(spec) == spec.removesuffix(":/group/x")
    assert file_of(f"{kind}:{path}") == file_of(str(path)) == str(path)


@pytest.mark.parametrize("kind", SEEDS)
def test_what_is_not_there_is_refused(tmp_path: Path, kind: str) -> None:
    """Beside the file itself: the one of its labels, and a path that leads through a file."""
    seed = lay(kind, tmp_path / "data")
    (tmp_path / "file").write_bytes(b"some text")
    for spec in (tmp_path / "none", tmp_path / "file" / "none"):
        assert str(spec.parent) in message(kind, Seed(spec=spec.name, files={}, labels=seed.labels), spec.parent)
    if SOURCES[kind].labels != "none":
        gone = Seed(spec=seed.spec, files={}, labels="none.npy" if kind == "npy" else "none" + Path(seed.spec).suffix)
        assert "none" in message(kind, gone, tmp_path / "data")
    with pytest.raises(DataError, match=f"no path; expected such as {kind}:PATH"):
        load(DataConfig(data=f"{kind}:"), 0)


@pytest.mark.parametrize("kind", SEEDS)
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused(tmp_path: Path, kind: str) -> None:
    seed = lay(kind, tmp_path / "data")
    for name, content in (("empty", b""), ("text", b"a line of text\n"), ("binary", bytes(range(256)))):
        (tmp_path / "data" / name).write_bytes(content)
        message(kind, Seed(spec=name, files={}, labels=seed.labels), tmp_path / "data")
    (tmp_path / "data" / "folder").mkdir()
    message(kind, Seed(spec="folder", files={}, labels=seed.labels), tmp_path / "data")


def test_the_help_of_data_gives_examples_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for row in SOURCES.values():
        assert row.example in text
        if row.sort in ("fixed", "synthetic", "named"):
            assert parse(row.example)[0] is row


def test_paths_of_a_slurm_job_are_those_of_files_alone() -> None:
    for spec in ("digits", "xor:samples=100", "torchvision:EMNIST:letters", "digit"):
        assert file_of(spec) is None
    for spec, path in (("hdf5:a.bin:/x", "a.bin"), ("a.mat:X", "a.mat"), ("idx:/data", "/data"), ("b/c", "b/c")):
        assert file_of(spec) == path


@pytest.mark.parametrize("kind", SEEDS)
def test_spaces_newlines_and_unicode_in_paths(tmp_path: Path, kind: str) -> None:
    for name in ("a b", "zwei\nzeilen", "é\u202e\x1b[31m", "x" * 200, "*?[a]"):
        folder = tmp_path / name
        seed = lay(kind, folder)
        read(kind, seed, folder)
        for path in replaced(folder, seed):
            path.write_bytes(b"")
            if needed(path):
                message(kind, seed, folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", SEEDS)
def test_a_fifo_a_device_a_folder_or_nothing_in_place_of_a_file_neither_hangs_nor_fills_memory(
    tmp_path: Path, kind: str
) -> None:
    seed = lay(kind, tmp_path)
    for path in replaced(tmp_path, seed):
        for make in (os.mkfifo, Path.mkdir, lambda place: place.symlink_to("/dev/zero")):
            make(path)
            folder = path.is_dir() and not path.is_symlink()
            # folders of images may hold folders, and a chunk that is missing is one of zeros
            if needed(path) and not (folder and kind in ("images", "zarr")):
                message(kind, seed, tmp_path)
            if folder:
                path.rmdir()
            else:
                path.unlink()


@pytest.mark.parametrize("kind", SEEDS)
def test_bad_files_end_the_command_line_with_one_line_and_code_2(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "two\nlines"
    seed = lay(kind, folder)
    # of a store the metadata of an array: a chunk that is missing is one of zeros by the format
    name = max(seed.files, key=lambda name: (name.endswith((".zarray", "a.tif")), len(seed.files[name])))
    (folder / name).write_bytes(seed.files[name][: len(seed.files[name]) // 2])
    argv = ["data", "info", f"{kind}:{folder / seed.spec}"]
    argv += ["--labels", str(folder / seed.labels)] if seed.labels is not None else []
    argv += ["--target", "t"] if SOURCES[kind].columns else []
    (folder / "a.csv").write_bytes(b"a,b,c,t\n1,2") if kind == "csv" else None
    code = main(argv)
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("ptrain: error: ")
    assert error.count("\n") == 1


PERMISSIONS = """
import os, sys
from pathlib import Path
from ptrain.errors import DataError
from tests.data.fuzz_formats import SEEDS
from tests.data.sources.test_table import lay, read

folder = Path(sys.argv[1])
seeds = {kind: lay(kind, folder / kind) for kind in SEEDS}
for kind, seed in seeds.items():
    read(kind, seed, folder / kind)  # libraries are loaded while they can be
for path in folder.rglob("*"):
    if path.is_file():
        path.chmod(0)
for path in (folder, *folder.parents):
    if path.stat().st_uid == os.geteuid() and str(path) != "/tmp":
        path.chmod(0o755)
if os.geteuid() == 0:
    os.seteuid(65534)  # nobody: root may read everything
for kind, seed in seeds.items():
    try:
        read(kind, seed, folder / kind)
    except DataError as error:
        assert "Permission denied" in str(error), error
    else:
        raise AssertionError(kind)
print("refused", len(seeds))
"""


def test_files_without_permission_are_refused_by_the_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PERMISSIONS, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PTRAIN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    assert done.stdout == f"refused {len(SEEDS)}\n"


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = X, Y
    stream = opened(tmp_path / "a.h5")

    def changing() -> Iterator[Block]:
        yield from stream.train()
        with (tmp_path / "a.h5").open("ab") as file:
            file.write(b"more")

    with pytest.raises(DataError, match=r"a\.h5: was changed while it was read; expected a file at rest"):
        convert.convert(dataclasses.replace(stream, train=changing, pieces=None), tmp_path / "out")
    assert not (tmp_path / "out").exists()
