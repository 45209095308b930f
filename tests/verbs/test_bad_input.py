"""Bad input through the command line: one line, exit code 2, no traceback, nothing left behind, no hanging rank."""

import gzip
import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptrain.cli import main
from ptrain.run import checkpoint
from tests.ranks import run_ranks

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(40, 3)).astype(np.float32)
LABELS = np.arange(40) % 2


def pair(folder: Path, features: np.ndarray = FEATURES, labels: np.ndarray = LABELS) -> list[str]:
    np.save(folder / "x.npy", features)
    np.save(folder / "y.npy", labels)
    return ["--data", str(folder / "x.npy"), "--labels", str(folder / "y.npy")]


def changed(index: tuple[int, int], value: float) -> np.ndarray:
    features = FEATURES.copy()
    features[index] = value
    return features


def idx(folder: Path, magic: int = 0x803, declared: int = 20, content: int = 20 * 4, packed: bool = False) -> list[str]:
    """Write a folder of IDX files of 20 images of 2 x 2 pixels, the images as told."""
    images = struct.pack(">IIII", magic, declared, 2, 2) + bytes(content)
    labels = struct.pack(">II", 0x801, 20) + bytes([0, 1] * 10)
    name = "train-images-idx3-ubyte"
    if packed:
        (folder / f"{name}.gz").write_bytes(gzip.compress(images)[:-9])
    else:
        (folder / name).write_bytes(images)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    return ["--data", str(folder)]


def pickled(folder: Path) -> list[str]:
    np.savez(folder / "data.npz", x=np.array([{"a": 1}, None], dtype=object), y=np.arange(2))
    return ["--data", str(folder / "data.npz")]


def empty(folder: Path) -> list[str]:
    pair(folder)
    (folder / "x.npy").write_bytes(b"")
    return ["--data", str(folder / "x.npy"), "--labels", str(folder / "y.npy")]


DATA: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "missing file": (lambda f: ["--data", str(f / "none.npz")], "no such"),
    "missing labels": (lambda f: [*pair(f)[:2]], "--labels"),
    "empty file": (empty, "is empty"),
    "truncated IDX": (lambda f: idx(f, content=79), "79 bytes of values; expected 80"),
    "wrong IDX magic": (lambda f: idx(f, magic=0x12345678), "expected an IDX file"),
    "truncated gzip": (lambda f: idx(f, packed=True), "truncated"),
    "huge declared shape": (lambda f: idx(f, declared=2**31), "truncated"),
    "rows differ": (lambda f: pair(f, labels=LABELS[:39]), "40 rows of features but 39 labels"),
    "NaN": (lambda f: pair(f, changed((7, 1), np.nan)), "feature 1 of sample 7 is nan"),
    "infinity": (lambda f: pair(f, changed((9, 2), -np.inf)), "feature 2 of sample 9 is -inf"),
    "strings": (lambda f: pair(f, FEATURES.astype(str)), "features are text"),
    "one class only": (lambda f: pair(f, labels=LABELS * 0), "expected at least two classes"),
    "a pickle in an .npz": (pickled, "pickled Python objects, which are never read"),
    "unknown source": (lambda f: ["--data", "fashon-mnist"], "did you mean fashion-mnist?"),
    "unknown parameter": (lambda f: ["--data", "blobs:sample=3"], "samples"),
}
FLAGS: dict[str, tuple[list[str], str]] = {
    "batch of 0": (["--batch-size", "0"], "--batch-size 0: expected"),
    "more ranks than shards": (["--ranks", "9"], "--shards 9"),
    "unknown flag": (["--epoch", "3"], "did you mean --epochs?"),
    "unknown value": (["--optimizer", "adm"], "did you mean adam?"),
    "text for a number": (["--lr", "fast"], "expected a number"),
    "wrong number of class weights": (["--data", "xor", "--class-weights", "1", "2", "3"], "expected 2, one a class"),
    "early stopping without validation": (["--early-stopping", "3"], "--validation"),
}


def expect_one_line(argv: list[str], part: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["train", *argv, "--run-dir", str(folder / "run"), "--epochs", "1", "--no-report"])
    error = capfd.readouterr().err
    assert code == 2, error
    assert error.startswith("ptrain: error: ")
    assert error.count("\n") == 1
    assert part in error
    assert not (folder / "run").exists()


@pytest.mark.parametrize("name", DATA)
def test_bad_data(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, part = DATA[name]
    expect_one_line(make(tmp_path), part, tmp_path, capfd)


@pytest.mark.parametrize("name", FLAGS)
def test_bad_flags(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv, part = FLAGS[name]
    expect_one_line(argv, part, tmp_path, capfd)


def test_an_unknown_key_of_a_file_names_the_nearest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.toml").write_text("[optimizer]\nlearning_rate = 0.1\n")
    expect_one_line(["--config", str(tmp_path / "job.toml")], "learning_rate", tmp_path, capfd)
    (tmp_path / "job.toml").write_text("[train]\nepoch = 1\n")
    expect_one_line(["--config", str(tmp_path / "job.toml")], "did you mean epochs?", tmp_path, capfd)


def test_a_read_only_place_for_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file in place of the folder, since permissions do not bind root."""
    (tmp_path / "file").write_text("")
    code = main(["train", "--run-dir", str(tmp_path / "file" / "run"), "--epochs", "1", "--no-report"])
    error = capfd.readouterr().err
    assert code == 2
    assert "cannot be written" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["NaN", "one class only", "a pickle in an .npz"])
def test_bad_data_on_two_ranks(name: str, tmp_path: Path) -> None:
    """Of the NaN only the rank knows whose part of the data holds it."""
    make, part = DATA[name]
    command = [sys.executable, "-m", "ptrain", "train", *make(tmp_path), "--run-dir", str(tmp_path / "run")]
    done = run_ranks(command, 2, timeout=60)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("ptrain: error: ")]
    assert len(errors) == 1
    assert part in errors[0]
    assert "Traceback" not in done.stderr
    assert not os.path.exists(tmp_path / "run")


def test_evaluate_and_predict_check_what_they_are_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = str(tmp_path / "run")
    assert (
        main(["train", "--data", "xor", "--epochs", "1", "--hidden", "none", "--run-dir", run_dir, "--no-report"]) == 0
    )
    capfd.readouterr()
    wide = pair(tmp_path)
    for argv, part in [
        (["evaluate", run_dir, *wide], "3 features a sample; expected 2"),
        (["evaluate", run_dir, "--split", "validation"], "has no such split"),
        (["evaluate", run_dir, "--checkpoint", "step-00000099"], "expected last, best or one of"),
        (["evaluate", str(tmp_path)], "no run directory"),
        (["predict", run_dir, wide[1], "--out", str(tmp_path / "out.csv")], "3 features a sample; expected 2"),
        (["predict", run_dir, "xor", "--out", str(tmp_path / "out.txt")], "ends in .csv or .npy"),
        (["predict", run_dir, "xor", "--out", str(tmp_path / "none" / "out.csv")], "cannot be written"),
    ]:
        assert main(argv) == 2, argv
        # a warning of how classes were matched may come before it
        [error] = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning: ")]
        assert error.startswith("ptrain: error: "), error
        assert part in error
    assert not (tmp_path / "out.csv").exists()


def test_damaged_runs_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    assert main(["train", "--data", "xor", "--epochs", "1", "--run-dir", str(run_dir), "--no-report"]) == 0
    capfd.readouterr()
    (run_dir / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not a model")
    assert main(["evaluate", str(run_dir)]) == 2
    assert "model.safetensors: is not a model of ptrain, or is damaged" in capfd.readouterr().err
    (run_dir / "config.toml").write_text("[data\n")
    assert main(["evaluate", str(run_dir)]) == 2
    assert "not a TOML file" in capfd.readouterr().err


def test_resume_with_another_library_says_which(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    assert main(["train", "--data", "xor", "--epochs", "1", "--run-dir", str(run_dir), "--no-report"]) == 0
    path = next((run_dir / "checkpoints").iterdir())
    record = json.loads((path / checkpoint.RECORD).read_text())
    record["libraries"]["torch"] = "1.0.0"
    (path / checkpoint.RECORD).write_text(json.dumps(record))
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    manifest["sha256"][checkpoint.RECORD] = hashlib.sha256((path / checkpoint.RECORD).read_bytes()).hexdigest()
    (path / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    capfd.readouterr()
    assert main(["train", "--resume", "--run-dir", str(run_dir)]) == 2
    error = capfd.readouterr().err
    assert "torch: 1.0.0 -> " in error
    assert "--force-resume" in error
