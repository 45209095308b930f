"""Chromium for the tests: found, installed by apt-get as root, or refused in one line."""

from pathlib import Path

import pytest

from tests.scripts.shell import run


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder for PATH: the few programs that the script needs, and no browser."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "cat", "date", "mkdir", "sed", "tail", "wc", "grep", "sleep", "tr", "tput"):
        (folder / name).symlink_to(Path("/usr/bin") / name)
    program(folder, "id", "echo 0")
    return folder


def fetch(machine: Path, **env: str) -> tuple[int, str]:
    done = run("fetch-chromium", env={"PATH": str(machine), "PTRAIN_CACHE": str(machine.parent / "cache"), **env})
    return done.returncode, done.stderr


def test_a_browser_that_is_there_is_enough(machine: Path) -> None:
    program(machine, "google-chrome", "exit 1")
    assert fetch(machine) == (0, "")


def test_apt_get_installs_it_and_gets_new_lists_where_the_old_ones_do_not_do(machine: Path) -> None:
    program(
        machine,
        "apt-get",
        f'echo "$*" >>{machine}/calls; case "$*" in *update*) echo >{machine}/lists;; *) [ -e {machine}/lists ];; esac',
    )
    code, err = fetch(machine)
    assert code == 0
    assert err.startswith("Installing Chromium; log: ")
    words = [line.split()[2] for line in (machine / "calls").read_text().splitlines()]
    assert words == ["install", "update", "install"]


def test_without_root_one_line_says_what_to_do(machine: Path) -> None:
    program(machine, "id", "echo 1000")
    program(machine, "apt-get", "exit 1")
    code, err = fetch(machine)
    assert code == 69
    assert err == (
        "fetch-chromium: no Chromium here, and installing it takes root and apt-get: 'apt-get install chromium', "
        "or set PTRAIN_CHROMIUM\n"
    )


def test_a_program_that_is_not_there_is_the_users_fault(machine: Path) -> None:
    expected = "fetch-chromium: PTRAIN_CHROMIUM is '/nope', which is no program here\n"
    assert fetch(machine, PTRAIN_CHROMIUM="/nope") == (2, expected)
