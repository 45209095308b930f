"""The examples of docs/architecture.md: patches that fit the code as it is, and do what they are there for."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ranks import ROOT, run_group

TEXT = (ROOT / "docs" / "architecture.md").read_text()


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with all of the page's patches."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "ptrain", folder / "ptrain", ignore=shutil.ignore_patterns("__pycache__"))
    patches = re.findall(r"```diff\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(patches) == 5
    for patch in patches:
        # Git refuses a patch whose lines are not those of the file, and says which.
        done = subprocess.run(
            ["git", "apply", "-"], input=patch, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


def test_each_example_adds_what_it_says(extended: Path, tmp_path: Path) -> None:
    data = tmp_path / "flowers.jsonl"
    rows = [{"features": [i % 7, i % 3], "label": i % 3} for i in range(120)]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    environment = {"PYTHONPATH": str(extended)}
    ptrain = [sys.executable, "-m", "ptrain"]

    def say(*arguments: str) -> str:
        done = run_group([*ptrain, *arguments], timeout=120, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    train = ["train", "--data", str(data), "--epochs", "1", "--no-report", "--run-dir", "first", "--ranks", "2"]
    output = say(*train, "--backend", "counting", "--model", "linear", "--step", "checked")
    assert "network      2-3, 9 parameters" in output
    assert "step         checked: " in output
    assert re.search(r"^sent [\d,]+ bytes$", output, flags=re.MULTILINE)
    assert say("size", "first") == "2-3, 9 parameters\n"


def test_the_map_names_every_room() -> None:
    rooms = {path.name for path in (ROOT / "ptrain").iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(re.findall(r"`(\w+)/`", TEXT))


def test_paths_on_the_page_exist() -> None:
    prose = re.sub(r"```diff\n.*?```", "", TEXT, flags=re.DOTALL)
    paths = set(re.findall(r"\b(?:ptrain/|tests/)?[\w/]+/\w+\.(?:py|c|h)\b", prose))
    assert len(paths) > 20
    missing = {path for path in paths if not any((ROOT / base / path).exists() for base in ("", "ptrain"))}
    assert not missing
