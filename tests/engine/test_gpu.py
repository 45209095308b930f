"""Training and evaluation on a CUDA GPU; deselected where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from ptrain.config import build
from ptrain.verbs import train

pytestmark = pytest.mark.gpu


def evaluation(run_dir: Path, **values: object) -> dict[str, Any]:
    train.run(build({"run_dir": str(run_dir), "device": "cuda", "report": False, **values}))
    content: dict[str, Any] = json.loads((run_dir / "evaluation.json").read_text())
    return content


def test_the_digits_are_learned(tmp_path: Path) -> None:
    assert evaluation(tmp_path / "run")["overall_accuracy"] > 0.94


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_have_the_same_bits_with_any_number_of_threads(tmp_path: Path, precision: str) -> None:
    values = {"epochs": 2, "precision": precision, "dropout": 0.1, "class_weights": "balanced"}
    one = evaluation(tmp_path / "one", **values, threads=1)
    other = evaluation(tmp_path / "other", **values, threads=4)
    assert one == other
