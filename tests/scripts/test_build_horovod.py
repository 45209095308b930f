import os
import sys
from pathlib import Path

import pytest

from tests.scripts.shell import plain_machine, run


def wheel_folder(*words: str, cache: Path, env: dict[str, str] | None = None) -> str:
    done = run(
        "build-horovod",
        "--python",
        sys.executable,
        "--print-key",
        *words,
        env={"PTRAIN_CACHE": str(cache), **(env or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_key_depends_on_what_the_wheel_depends_on(tmp_path: Path) -> None:
    flags = [(), ("--without-mpi",), ("--without-gloo",), ("--gpu", "NCCL"), ("--without-mpi", "--without-gloo")]
    folders = [wheel_folder(*words, cache=tmp_path) for words in flags]
    folders.append(wheel_folder(cache=tmp_path, env={"HOROVOD_NCCL_HOME": "/somewhere"}))
    folders.append(wheel_folder(cache=tmp_path, env={"CXXFLAGS": "-O1"}))
    assert len(set(folders)) == len(folders)
    assert all(str(tmp_path) in folder for folder in folders)


def test_key_does_not_depend_on_the_rest(tmp_path: Path) -> None:
    same = [wheel_folder(*words, cache=tmp_path) for words in [(), ("--jobs", "1"), ("--with-gloo",), ("--force",)]]
    same.append(wheel_folder(cache=tmp_path, env={"HOROVOD_CYCLE_TIME": "2"}))
    assert len(set(same)) == 1


def test_without_a_compiler_one_line_says_so(tmp_path: Path) -> None:
    machine = plain_machine(tmp_path / "bin")
    done = run("build-horovod", "--python", sys.executable, env={"PATH": str(machine), "PTRAIN_CACHE": str(tmp_path)})
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr.startswith("build-horovod: no C++ compiler: Horovod is left out")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpu", "CUDA"), "--gpu is 'CUDA', expected NCCL, MPI or none"),
        (("--jobs", "0"), "--jobs is '0', expected a whole number from 1"),
        (("--jobs", "two"), "--jobs is 'two', expected a whole number from 1"),
        (("--cxx",), "--cxx needs a value"),
        (("--archive", "/no/such/file"), "--archive: '/no/such/file' cannot be read"),
        (("--python", "/no/such/python"), "--python: no such program"),
    ],
)
def test_bad_values(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run("build-horovod", *words, env={"PTRAIN_CACHE": str(tmp_path)})
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "horovod-0.28.1.tar.gz"
    archive.write_bytes(b"not it")
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho fake 1.0\n")
    compiler.chmod(0o755)
    env = {"PTRAIN_CACHE": str(tmp_path / "cache"), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run("build-horovod", "--python", sys.executable, "--archive", str(archive), env=env)
    assert done.returncode == 2
    assert "is not the pinned archive" in done.stderr
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []
