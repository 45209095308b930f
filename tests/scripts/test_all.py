import subprocess
from pathlib import Path

import pytest

from tests.ranks import ROOT
from tests.scripts.shell import run

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.suffix != ".sh")
WITH_OWN_OPTIONS = sorted(set(SCRIPTS) - {"train", "test", "kill-test", "fuzz"})  # these pass them on


def test_scripts_are_the_documented_ones() -> None:
    assert SCRIPTS == [
        "benchmark",
        "build-horovod",
        "check",
        "container",
        "fetch-chromium",
        "fetch-fashion-mnist",
        "fetch-slurm",
        "fuzz",
        "kill-test",
        "lock",
        "setup",
        "slurm-cluster",
        "test",
        "train",
    ]


@pytest.mark.parametrize("path", [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_syntax(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=10)


@pytest.mark.parametrize("script", sorted(set(SCRIPTS) - {"train"}))
def test_help_says_how_to_use_it(script: str) -> None:
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: scripts/{script}" in done.stdout.replace("Usage:", "usage:")
    assert not any(line.startswith(("#", "set -")) for line in done.stdout.splitlines())


@pytest.mark.parametrize("script", WITH_OWN_OPTIONS)
def test_unknown_option_is_the_users_fault(script: str) -> None:
    done = run(script, "--no-such-option")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'--no-such-option'" in done.stderr
