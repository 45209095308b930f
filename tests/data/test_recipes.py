"""Every recipe of docs/data-formats.md is run as it stands there."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ptrain.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "data-formats.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def test_every_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"python", "sh", "console"}
    names: dict[str, Any] = {}
    runs = 0
    for language, text in blocks:
        if language == "python":
            exec(text, names)  # noqa: S102
        for line in text.splitlines() if language == "sh" else ():
            program, *words = shlex.split(line)
            assert program == "ptrain"
            assert main(words) == 0, f"{line}\n{capsys.readouterr().err}"
            runs += "train" in words
    assert runs == len(list(tmp_path.glob("*/config.toml"))) == 15
    assert not capsys.readouterr().err


def test_commands_that_need_a_network_are_the_only_ones_that_are_not_run() -> None:
    console = [
        text.strip() for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if language == "console"
    ]
    assert console == ["ptrain data fetch CIFAR10", "ptrain train --data torchvision:CIFAR10 --hidden 512 256"]


def test_the_page_names_every_kind() -> None:
    from ptrain.data.sources.table import names
    from ptrain.data.sources.torchvision_sets import SETS

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{kind}`" in text for kind in names("named", "file", "folder"))
    assert all(name in text for name in SETS)
    assert os.linesep == "\n"
