"""What ptrain verify finds in a run's own files, and what evaluate, predict and a continued training refuse."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ptrain.cli import main
from ptrain.config import build, file_sha256
from ptrain.console import Console
from ptrain.errors import RunDirectoryError
from ptrain.run import listing
from ptrain.run.directory import read_model
from ptrain.run.train import train
from ptrain.run.trained import read_trained
from ptrain.verbs.verify.own_files import check_files
from ptrain.verbs.verify.replayed import changed_files, other_conditions

VALUES: dict[str, Any] = {
    "data": "blobs:samples=200,classes=3,noise=3", "hidden": [4], "epochs": 3, "lr": 0.1, "validation": 0.2,
    "batch_size": 32, "threads": 1, "backend": "single", "report": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "run"
    assert train(build({**VALUES, "run_dir": str(folder)})) == 0
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the same shape with another seed."""
    folder = tmp_path_factory.mktemp("other") / "run"
    assert train(build({**VALUES, "seed": 1, "run_dir": str(folder)})) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a copy that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def found(run_dir: Path) -> tuple[str, list[str]]:
    """Return the error, empty without, and what was said of the files."""
    stream = io.StringIO()
    try:
        check_files(run_dir, Console(stream=stream))
        error = ""
    except RunDirectoryError as raised:
        error = str(raised)
    return error, stream.getvalue().splitlines()


def flip(path: Path, place: float = 0.5) -> None:
    """Flip a bit at this share of the file, or at this place from its end."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * place) if 0 <= place < 1 else int(place)] ^= 1
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def swap_counts(path: Path) -> None:
    """Change the confusion matrix and leave all that follows from it."""
    content = json.loads(path.read_text())
    content["confusion"][0][0] += 1
    path.write_text(json.dumps(content))


def newest(run_dir: Path) -> Path:
    return max((run_dir / "checkpoints").iterdir())


def test_a_run_that_nobody_touched_has_no_findings(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(run) == ("", [])
    assert set(listing.read(run) or {}) >= {
        "config.toml", "environment.json", "metrics.jsonl", "model.safetensors", "evaluation.json", "confusion.csv",
        "per_class.csv", "predictions.npy", "misclassified.json",
    }  # fmt: skip
    # Whoever writes a file anew brings the list up to date.
    assert main(["evaluate", str(run), "--absent", "zero", "--backend", "single"]) == 0
    assert main(["evaluate", str(run), "--split", "train", "--backend", "single"]) == 0
    assert main(["report", str(run)]) == 0
    assert found(run) == ("", [])
    assert set(listing.read(run / "evaluations" / "train") or {}) >= {"evaluation.json", "confusion.csv"}
    assert {"report.html", "plots/loss.png"} <= set(listing.read(run) or {})
    # Pages, pictures and checkpoints may be removed; notes may lie there.
    shutil.rmtree(run / "plots")
    shutil.rmtree(run / "checkpoints")
    (run / "notes.txt").write_text("mine")
    assert found(run) == ("", [])
    flip(run / "evaluations" / "train" / "evaluation.json")
    assert "evaluations/train/evaluation.json" in found(run)[0]
    capsys.readouterr()


CHANGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a bit of a parameter": ("model.safetensors", lambda run: flip(run / "model.safetensors", 0.99), "is damaged"),
    "a bit of the model's header": ("model.safetensors", lambda run: flip(run / "model.safetensors", 0.3), "damaged"),
    "half a model": ("model.safetensors", lambda run: (run / "model.safetensors").write_bytes(b"x" * 99), "damaged"),
    "no model": ("model.safetensors", lambda run: (run / "model.safetensors").unlink(), "is missing"),
    "accuracy": (
        "evaluation.json",
        lambda run: edit_json(run / "evaluation.json", overall_accuracy=0.999),
        "overall_accuracy is 0.999, expected",
    ),
    "confusion": ("evaluation.json", lambda run: swap_counts(run / "evaluation.json"), "by its own confusion matrix"),
    "hash of the evaluation": (
        "evaluation.json",
        lambda run: edit_json(run / "evaluation.json", parameters_sha256="0" * 64),
        "is of parameters with the SHA-256 000000000000",
    ),
    "no JSON": ("evaluation.json", lambda run: (run / "evaluation.json").write_text("{"), "is damaged"),
    "another evaluation": ("evaluation.json", lambda run: (run / "evaluation.json").write_text("{}"), "is damaged"),
    "counts": ("confusion.csv", lambda run: edit(run / "confusion.csv", "\n0,", "\n0,1"), "agree with evaluation.json"),
    "ratios": ("per_class.csv", lambda run: edit(run / "per_class.csv", "0.", "0.1"), "agree with evaluation.json"),
    "predictions": ("predictions.npy", lambda run: flip(run / "predictions.npy", -6), "evaluation.json"),
    "settings": ("config.toml", lambda run: edit(run / "config.toml", "lr = 0.1", "lr = 0.2"), "other settings"),
    "unknown setting": ("config.toml", lambda run: edit(run / "config.toml", "lr = 0.1", "lrr = 0.1"), "unknown key"),
    "hash of the run": (
        "environment.json",
        lambda run: edit_json(run / "environment.json", parameters_sha256="0" * 64),
        "names parameters with the SHA-256 000000000000",
    ),
    "no environment JSON": ("environment.json", lambda run: (run / "environment.json").write_text("["), "is damaged"),
    "a line of the history": ("metrics.jsonl", lambda run: flip(run / "metrics.jsonl", 0), "line 1 is damaged"),
    "an epoch less": (
        "metrics.jsonl",
        lambda run: (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().split("\n", 1)[1]),
        "holds the epochs 2, 3",
    ),
    "a checkpoint": ("checkpoints/step-", lambda run: flip(newest(run) / "tensors.safetensors"), "is damaged"),
    "a manifest": ("checkpoints/step-", lambda run: flip(newest(run) / "manifest.json", 0.9), "damaged"),
}


@pytest.mark.parametrize("has_list", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_named_with_or_without_the_list(run: Path, change: str, has_list: bool) -> None:
    name, alter, reason = CHANGES[change]
    if not has_list:
        listing.remove(run)
    alter(run)
    error, said = found(run)
    assert name in error
    lines = [line for line in said if "has no files.json" not in line]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"{run / name}")
    assert reason in lines[0]
    assert any("has no files.json" in line for line in said) is not has_list


@pytest.mark.parametrize(
    "name", ["model.safetensors", "metrics.jsonl", "evaluation.json", "confusion.csv", "config.toml"]
)
def test_any_flipped_bit_is_found(run: Path, name: str) -> None:
    kept = (run / name).read_bytes()
    for place in (0.0, 0.13, 0.37, 0.61, 0.83, 0.999):
        flip(run / name, place)
        assert name in found(run)[0]
        (run / name).write_bytes(kept)


def test_a_damaged_list_is_named_and_left_alone(run: Path) -> None:
    (run / listing.LIST).write_text("{")
    with listing.renewing(run, run, ("report.html",)):
        (run / "report.html").write_text("new")
    assert "files.json: is damaged" in found(run)[1][0]


def test_files_that_were_changed_end_verify_with_code_2_before_anything_is_repeated(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(run / "model.safetensors", 0.99)
    edit_json(run / "evaluation.json", kappa=1.0)
    assert main(["verify", str(run)]) == 2
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 2
    assert output.err.count("\n") == 1
    assert "2 files are not what the run wrote (evaluation.json, model.safetensors)" in output.err


def test_an_edited_history_is_found_by_the_repeated_run(finished: Path, run: Path) -> None:
    """Without a list nothing else can know."""
    assert changed_files(run, finished) == []
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    records[1]["train_loss"] *= 1 + 2**-50
    records[1]["seconds"] = 99.0
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    edit_json(run / "evaluation.json", loss=0.5)
    history, evaluation = changed_files(run, finished)
    assert history.startswith(f"{run / 'metrics.jsonl'}: epoch 2.train_loss is ")
    assert "loss is 0.5, expected" in evaluation
    assert other_conditions(run, finished) == []
    edit_json(run / "environment.json", torch="1.0")
    assert other_conditions(run, finished)[0].startswith("torch: 1.0 -> ")


# Evaluate, predict and continue


def refused(run_dir: Path, checkpoint: str = "last") -> str:
    with pytest.raises(RunDirectoryError) as caught:
        read_trained(run_dir, checkpoint, print)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_model_is_refused(run: Path) -> None:
    kept = (run / "model.safetensors").read_bytes()
    for place in (0.0, 0.05, 0.2, 0.4, 0.7, 0.9, 0.999):
        flip(run / "model.safetensors", place)
        assert "damaged" in refused(run), place
        (run / "model.safetensors").write_bytes(kept)
    read_trained(run, "last", print)


def test_the_model_of_another_run_is_refused_on_the_command_line(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(other / "model.safetensors", run)
    for command in (["evaluate", str(run)], ["predict", str(run), VALUES["data"], "--out", str(tmp_path / "p.csv")]):
        assert main([*command, "--backend", "single"]) == 2
        error = capsys.readouterr().err
        assert "model.safetensors: is not the model of this run" in error
        assert f"ptrain train --resume --run-dir {run}" in error
    assert not (tmp_path / "p.csv").exists()
    # The fix that the message names
    assert main(["train", "--resume", "--run-dir", str(run)]) == 0
    assert found(run) == ("", [])
    capsys.readouterr()


def test_settings_that_are_not_those_of_the_model_are_refused(run: Path) -> None:
    edit(run / "config.toml", 'activation = "relu"', 'activation = "tanh"')
    expected = "config.toml: holds other settings than model.safetensors was trained with (activation: relu -> tanh)"
    assert expected in refused(run)
    # A checkpoint has its own, and data may be moved.
    assert read_trained(run, "best", print).config.model.activation == "relu"
    edit(run / "config.toml", 'activation = "tanh"', 'activation = "relu"')
    edit(run / "config.toml", "blobs:", "elsewhere:")
    read_trained(run, "last", print)


def test_a_model_and_its_settings_are_enough(finished: Path, tmp_path: Path) -> None:
    for name in ("config.toml", "model.safetensors"):
        shutil.copy(finished / name, tmp_path)
    expected = read_trained(finished, "last", print)
    assert read_trained(tmp_path, "last", print).hashes == expected.hashes
    # As an earlier version wrote it
    _, about = read_model(finished / "model.safetensors")
    metadata = {
        "ptrain": json.dumps(
            {key: value for key, value in about.items() if key != "config" and not key.endswith("sha256")}
        )
    }
    metadata["ptrain"] = json.dumps(json.loads(metadata["ptrain"]) | {"data_sha256": about["data_sha256"]})
    save_file(load_file(finished / "model.safetensors"), tmp_path / "model.safetensors", metadata)
    assert read_trained(tmp_path, "last", print).hashes == expected.hashes


def test_a_refused_continuation_changes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", "--resume", "--run-dir", str(run), "--lr", "0.5"]) == 2
    assert "lr: 0.1 -> 0.5" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_continued_with_other_settings_becomes_a_run_of_these(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["train", "--resume", "--force-resume", "--run-dir", str(run)]
    assert main([*flags, "--activation", "tanh", "--epochs", "5", "--max-steps", "14"]) == 75
    assert "holds other settings" in refused(run), "the model of before"
    assert not (run / listing.LIST).exists()
    assert main(["train", "--resume", "--run-dir", str(run)]) == 0
    assert found(run) == ("", [])
    after = json.loads((run / "evaluation.json").read_text())
    assert main(["evaluate", str(run), "--backend", "single"]) == 0
    assert json.loads((run / "evaluation.json").read_text()) == after
    assert after["config_sha256"] == file_sha256(run / "config.toml")
    assert 'activation = "tanh"' in (run / "config.toml").read_text()
    capsys.readouterr()


def test_a_damaged_line_of_the_history_does_not_stop_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    flags = ["--data", "xor", "--epochs", "6", "--hidden", "4", "--no-report", "--run-dir", str(folder)]
    assert main(["train", *flags, "--max-steps", "4"]) == 75
    content = bytearray((folder / "metrics.jsonl").read_bytes())
    content[20] ^= 0x80
    (folder / "metrics.jsonl").write_bytes(bytes(content) + b'{"epoch": 4, "st')
    capsys.readouterr()
    assert main(["train", "--resume", "--run-dir", str(folder)]) == 0
    assert f"warning: {folder / 'metrics.jsonl'}: line 1 is damaged and is left out" in capsys.readouterr().err
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [
        2,
        3,
        4,
        5,
        6,
    ]
