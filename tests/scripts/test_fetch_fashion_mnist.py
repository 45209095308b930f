"""Fetching with a fake apt-get and dpkg: the "package" holds the real files that scripts/test has fetched."""

import os
import shutil
from pathlib import Path

import pytest

from ptrain.data.sources import fashion_mnist
from tests.ranks import ROOT
from tests.scripts.shell import plain_machine, run

FAKE_APT = """#!/usr/bin/env bash
echo "$*" >>"$FAKE_CALLS"
case "$*" in
    *Dir::State::Lists=*) ;;
    *) exit 100 ;; # the machine has no package lists
esac
[[ $* = *download* ]] && : >dataset-fashion-mnist_1_all.deb
exit 0
"""
FAKE_DPKG = """#!/usr/bin/env bash
mkdir -p "$3/nowhere/datasets" && cp -r "$FAKE_PACKAGE" "$3/nowhere/datasets/fashion-mnist"
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine that does not have the package."""
    programs = plain_machine(tmp_path / "bin")
    for name, text in (("apt-get", FAKE_APT), ("dpkg", FAKE_DPKG)):
        (programs / name).unlink(missing_ok=True)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    script = tmp_path / "scripts" / "fetch-fashion-mnist"
    script.write_text(script.read_text().replace("INSTALLED=/usr/share/", "INSTALLED=/nowhere/"))
    package = fashion_mnist.find(fashion_mnist.folders(os.environ))
    assert package is not None, "the tests need the data: scripts/fetch-fashion-mnist"
    return {
        "PATH": str(programs),
        "PTRAIN_DATA": str(tmp_path / "data"),
        "FAKE_CALLS": str(tmp_path / "calls"),
        "FAKE_PACKAGE": str(package),
    }


def test_fetches_once(env: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "fetch-fashion-mnist"
    done = run(script, env=env)
    assert done.returncode == 0, done.stderr
    assert fashion_mnist.find([tmp_path / "data" / "fashion-mnist"]) is not None
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["fashion-mnist"]
    calls = (tmp_path / "calls").read_text()
    done = run(script, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "calls").read_text() == calls

    (tmp_path / "data" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert run(script, env=env).returncode == 0
    assert (tmp_path / "data" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").exists()


def test_wrong_files_are_not_kept(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train-images-idx3-ubyte.gz").write_bytes(b"not it")
    done = run(tmp_path / "scripts" / "fetch-fashion-mnist", env={**env, "FAKE_PACKAGE": str(tmp_path / "other")})
    assert done.returncode == 1
    assert "not the Fashion-MNIST that is expected" in done.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_without_apt_one_line_says_what_to_do(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "apt-get").unlink()
    done = run(tmp_path / "scripts" / "fetch-fashion-mnist", env=env)
    assert done.returncode == 69
    assert "no apt-get here" in done.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_folder_that_cannot_be_made(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path / "scripts" / "fetch-fashion-mnist", str(tmp_path / "file" / "x" / "y"), env=env)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written to" in done.stderr
