"""The templates and sites come with the wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.ranks import ROOT
from tests.slurm import golden


def test_the_wheel_renders_what_the_checkout_renders(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("ptrain", "slurm"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(source)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys, ptrain; from ptrain.cli import main; sys.argv[0] = 'ptrain'; "
        "assert ptrain.__file__.startswith(sys.argv.pop(1)), ptrain.__file__; sys.exit(main())"
    )
    words = ["slurm", "render", "--site", "lumi-g", *golden.LINES["lumi-g"]]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (golden.FOLDER / "lumi-g.sh").read_text()
