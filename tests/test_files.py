"""Files and folders that are there whole or not at all: after kills, beside other writers, on full disks."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrain import files
from tests.verbs.test_full_disk import on_tmpfs

SIZE = 300_000
WRITER = f"""
import sys
from pathlib import Path
from ptrain import files
path, letter = Path(sys.argv[1]), sys.argv[2].encode()
print("ready", flush=True)
while True:
    if sys.argv[3] == "file":
        files.write_file(path, letter * {SIZE})
        continue
    with files.replacing(path) as folder:
        folder.mkdir()
        for name in "ab":
            (folder / name).write_bytes(letter * {SIZE})
"""


def writer(path: Path, letter: str, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), letter, kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def read(path: Path, kind: str) -> set[bytes]:
    """Return every content there is; a folder that is replaced meanwhile is looked at again."""
    if kind == "file":
        return {path.read_bytes()} if path.exists() else set()
    try:
        contents = [(path / name).read_bytes() for name in "ab"] if path.exists() else []
    except FileNotFoundError:
        return read(path, kind)
    return set(contents)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".tmp" in path.name]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_whole_or_not_at_all_whenever_the_writer_is_killed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "target"
    seconds = random.Random(4)
    for letter in "xyzxyz":
        process = writer(path, letter, kind)
        time.sleep(seconds.uniform(0.0, 0.02))  # any moment will do
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert read(path, kind) <= {found * SIZE for found in (b"x", b"y", b"z")}
        assert len(read(path, kind)) <= 1
    files.remove_leftovers(tmp_path, "tar*")
    assert left_in(tmp_path) == []


def test_readers_see_one_whole_content_while_two_processes_write(tmp_path: Path) -> None:
    path = tmp_path / "target"
    files.write_file(path, b"x" * SIZE)
    processes = [writer(path, letter, "file") for letter in "xy"]
    seen = [path.read_bytes() for _ in range(200)]
    for process in processes:
        assert process.poll() is None
        process.kill()
        assert process.communicate(timeout=30)[1] == ""
    assert {(content[:1], len(content), len(set(content))) for content in seen} <= {(b"x", SIZE, 1), (b"y", SIZE, 1)}


def test_two_writers_of_a_folder_disturb_each_other_as_little_as_threads_do(tmp_path: Path) -> None:
    path = tmp_path / "target"

    def write(letter: str) -> None:
        for _ in range(20):
            with files.replacing(path) as folder:
                (folder / "below").mkdir(parents=True)
                (folder / "below" / "a").write_text(letter)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (path / "below" / "a").read_text() in ("x", "y")
    assert [found.name for found in tmp_path.iterdir()] == ["target"]


@pytest.fixture
def umask() -> Iterator[None]:
    former = os.umask(0o027)
    yield
    os.umask(former)


@pytest.mark.usefixtures("umask")
def test_the_umask_says_who_may_read(tmp_path: Path) -> None:
    files.write_file(tmp_path / "a", "text")
    with files.replacing(tmp_path / "b") as folder:
        folder.mkdir()
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o640, 0o750]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "a\nb", os.fsdecode(b"\xff.csv"), ".hidden"])
def test_every_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    for content in ("first, and longer\n", "second ä\n"):
        files.write_file(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content.encode()
    assert left_in(tmp_path) == []


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "target"
    files.write_file(path, "good")

    def interrupted() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(FileNotFoundError), files.replacing(path):
        pass
    (tmp_path / "folder" / "a").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.write_file(tmp_path / "folder", "a file where a folder is")
    assert path.read_text() == "good"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["folder", "target"]


def test_a_folder_that_cannot_be_synchronised_is_no_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        files._sync(Path("/proc"))
    files._sync_folder(Path("/proc"))


def test_a_full_or_read_only_disk_is_the_callers_to_report(tmp_path: Path) -> None:
    program = f"""
import errno, sys
from pathlib import Path
from ptrain import files
path = Path(sys.argv[1], "target")
try:
    files.write_file(path, bytes({SIZE} if len(sys.argv) == 2 else 10))
except OSError as error:
    print(errno.errorcode[error.errno], path.exists() and len(path.read_bytes()), len(list(path.parent.iterdir())))
"""
    script = f"""
"$0" -c '{program}' "$1" small
"$0" -c '{program}' "$1"
mount -o remount,ro "$1" && "$0" -c '{program}' "$1" small
"""
    code, stdout, stderr = on_tmpfs(tmp_path, "size=100k", script)
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == ["ENOSPC 10 1", "EROFS 10 1"]
