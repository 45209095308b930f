"""ptrain evaluate: the same bytes on any number of ranks, each sample once, files without a run, its schema."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score

from ptrain import cli
from ptrain.config import RunConfig
from ptrain.errors import DataError
from ptrain.run import scoring
from ptrain.run.session import Session
from ptrain.verbs.evaluate import EvaluateOptions, of_files, of_run
from ptrain.verbs.predict import PredictOptions, samples
from tests.ranks import ROOT, run_group, run_ranks

PTRAIN = [sys.executable, "-m", "ptrain"]
FILES = ["confusion.csv", "evaluation.json", "misclassified.json", "misclassified.npy", "per_class.csv"]
FILES += ["predictions.npy"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = ["--run-dir", str(folder), "--epochs", "3", "--hidden", "32", "--validation", "0.1", "--no-report"]
    done = run_group([*PTRAIN, "train", *flags], timeout=100)
    assert done.returncode == 0, done.stderr
    return folder


def evaluate(run: Path, out: Path | None = None, threads: int = 1, **options: Any) -> int:
    chosen = EvaluateOptions(run=str(run), out=None if out is None else str(out), **options)
    return of_run.run(chosen, RunConfig(backend="single", threads=threads))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def summary_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return content


def test_any_number_of_ranks_writes_the_same_bytes_as_training_did(trained: Path, tmp_path: Path) -> None:
    after_training = {name: (trained / name).read_bytes() for name in FILES}
    done = run_ranks([*PTRAIN, "evaluate", str(trained), "--out", str(tmp_path / "3")], 3, timeout=100)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "3") == after_training
    assert evaluate(trained, out=tmp_path / "1", threads=2) == 0
    assert contents(tmp_path / "1") == after_training


@pytest.mark.parametrize(("split", "size"), [("train", 1294), ("validation", 144), ("test", 359)])
def test_every_sample_of_a_split_counts_once(trained: Path, tmp_path: Path, split: str, size: int) -> None:
    assert evaluate(trained, split=split, out=tmp_path, threads=2) == 0
    summary = summary_of(tmp_path)
    assert summary["num_samples"] == size
    assert sum(map(sum, summary["confusion"])) == size
    rows = np.load(tmp_path / "predictions.npy")
    assert len(rows) == size
    assert (rows["label"] == rows["prediction"]).sum() == summary["num_correct"]


def test_a_sample_that_is_counted_twice_is_a_defect(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "owned", lambda session, number: range(1))  # the second chunk is forgotten
    with pytest.raises(RuntimeError, match="256 samples counted in a split of 359"):
        evaluate(trained, out=tmp_path)


def test_predictions_and_ranking_are_those_of_predict_and_of_scikit_learn(trained: Path, tmp_path: Path) -> None:
    assert evaluate(trained, out=tmp_path) == 0
    options = PredictOptions(paths=(str(trained), "digits"), out=str(tmp_path / "p.npy"))
    assert samples.run(options, RunConfig(backend="single", threads=1)) == 0
    predicted, rows = np.load(tmp_path / "p.npy"), np.load(tmp_path / "predictions.npy")
    assert np.array_equal(predicted["class"], rows["prediction"])
    assert np.array_equal(predicted["probabilities"].max(axis=1), rows["confidence"])
    ranking = summary_of(tmp_path)["ranking"]
    one_hot = np.eye(10)[rows["label"]]
    shares = predicted["probabilities"].astype(np.float64)  # rounded to float32: ties may differ
    assert ranking["macro"]["roc_auc"] == pytest.approx(roc_auc_score(one_hot, shares, average="macro"), abs=1e-6)
    assert ranking["macro"]["average_precision"] == pytest.approx(average_precision_score(one_hot, shares), abs=1e-5)


def test_misclassified_samples_are_the_most_confident_ones_of_the_worst_confusions(trained: Path) -> None:
    groups = json.loads((trained / "misclassified.json").read_text())["groups"]
    rows, summary = np.load(trained / "predictions.npy"), summary_of(trained)
    counts = sorted(
        (n for i, row in enumerate(summary["confusion"]) for j, n in enumerate(row) if i != j), reverse=True
    )
    assert [group["count"] for group in groups] == counts[: len(groups)]
    for group in groups:
        chosen = rows[[sample["position"] for sample in group["samples"]]]
        assert set(chosen["label"]) == {int(group["reference"])}
        assert set(chosen["prediction"]) == {int(group["predicted"])}
        alike = rows[(rows["label"] == chosen["label"][0]) & (rows["prediction"] == chosen["prediction"][0])]
        assert np.array_equal(chosen["confidence"], np.sort(alike["confidence"])[::-1][: len(chosen)])
    pixels = np.load(trained / "misclassified.npy")
    assert pixels.shape == (sum(len(group["samples"]) for group in groups), 8, 8)
    assert (pixels.dtype, pixels.max()) == (np.uint8, 255)


def test_too_many_scores_to_gather_are_left_out_with_the_reason(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring, "MAX_SCORES", 3000)
    assert evaluate(trained, out=tmp_path / "a") == 0
    note = (
        "ROC AUC and average precision are left out: 359 samples x 10 classes are too many scores to gather "
        "(at most 3,000)"
    )
    assert note in capsys.readouterr().out
    summary = summary_of(tmp_path / "a")
    assert summary["ranking"] is None
    assert note in summary["notes"]
    assert (tmp_path / "a" / "predictions.npy").exists()
    monkeypatch.setattr(scoring, "MAX_PREDICTIONS", 300)
    assert evaluate(trained, out=tmp_path / "a") == 0
    assert not (tmp_path / "a" / "predictions.npy").exists()  # that of before would belong to nothing
    assert summary_of(tmp_path / "a")["ranking"] is None


def test_two_data_sets_of_one_name_have_a_folder_each(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bunch = load_digits()
    folders = []
    for number, rows in enumerate((slice(0, 50), slice(50, 120))):
        folder = tmp_path / str(number)
        folder.mkdir()
        np.savez(folder / "new.npz", features=bunch.data[rows].astype(np.uint8), labels=bunch.target[rows])
        assert evaluate(trained, data=str(folder / "new.npz")) == 0
        folders.append(Path(capsys.readouterr().out.rpartition("written to ")[2].strip()))
    assert folders == [trained / "evaluations" / "new", trained / "evaluations" / "new-2"]
    assert [summary_of(folder)["num_samples"] for folder in folders] == [50, 70]
    assert evaluate(trained, data=str(tmp_path / "0" / "new.npz"), absent="zero") == 0  # the same data, once more
    assert f"written to {folders[0]}\n" in capsys.readouterr().out
    np.savez(tmp_path / "validation.npz", features=bunch.data[:30].astype(np.uint8), labels=bunch.target[:30])
    assert evaluate(trained, data=str(tmp_path / "validation.npz")) == 0
    assert evaluate(trained, split="validation") == 0
    assert summary_of(trained / "evaluations" / "validation")["num_samples"] == 30
    assert summary_of(trained / "evaluations" / "validation-2")["num_samples"] == 144


def test_mse_is_judged_by_the_classifier_that_decides(tmp_path: Path) -> None:
    flags = ["--run-dir", str(tmp_path / "run"), "--epochs", "3", "--hidden", "none", "--loss", "mse", "--lr", "0.02"]
    assert cli.main(["train", *flags, "--optimizer", "sgd", "--no-report"]) == 0
    summary, rows = summary_of(tmp_path / "run"), np.load(tmp_path / "run" / "predictions.npy")
    options = PredictOptions(paths=(str(tmp_path / "run"), "digits"), out=str(tmp_path / "p.npy"))
    assert samples.run(options, RunConfig(backend="single", threads=1)) == 0
    predicted = np.load(tmp_path / "p.npy")
    shares = predicted["probabilities"].astype(np.float64)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert (shares[np.arange(len(rows)), predicted["class"]] == shares.max(axis=1)).all()
    assert np.array_equal(predicted["class"], rows["prediction"])
    assert shares.max(axis=1) == pytest.approx(rows["confidence"])
    probabilities = summary["probabilities"]
    assert probabilities["brier"] <= summary["loss"]
    one_hot = np.eye(10)[rows["label"]]
    assert probabilities["brier"] == pytest.approx(((shares - one_hot) ** 2).sum(axis=1).mean(), rel=1e-5)
    right = sum(row["count"] * (row["accuracy"] or 0) for row in probabilities["calibration"])
    assert right == pytest.approx(summary["num_correct"])
    # by the outputs, of which most have a probability of 0
    assert summary["ranking"]["macro"]["roc_auc"] > roc_auc_score(one_hot, shares, average="macro")
    assert any("--loss mse" in note for note in summary["notes"])


# The schema

CHECKS: dict[str, Callable[[Any], bool]] = {
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "text": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
    "interval": lambda value: isinstance(value, list) and len(value) == 2 and value[0] <= value[1],
    "integers": lambda value: all(type(count) is int for row in value for count in row),
    "texts": lambda value: all(isinstance(text, str) for text in value),
}


def documented() -> tuple[dict[str, list[str]], set[str]]:
    """Return the types of every documented key, and the keys that are always there."""
    text = (ROOT / "docs" / "evaluation-schema.md").read_text(encoding="utf-8")
    always, rest = text.split("## Not always")
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", always, re.MULTILINE)
    rows_of_rest = re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", rest.split("## Files")[0], re.MULTILINE)
    types: dict[str, list[str]] = {}
    for key, words in [*rows, *rows_of_rest]:
        types.setdefault(key, []).extend(words.split(" or "))
    return types, {key for key, _ in rows}


def leaves(value: Any, path: str, types: dict[str, list[str]]) -> Iterator[tuple[str, Any]]:
    known = types.get(path, [])
    if isinstance(value, dict) and "object" not in known:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key, types)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from leaves(inner, f"{path}[]", types)
    else:
        yield path, value


def check_schema(summary: dict[str, Any]) -> set[str]:
    types, always = documented()
    seen = set()
    for path, value in leaves(summary, "", types):
        assert path in types, f"{path} is not documented"
        assert any(CHECKS[word](value) for word in types[path]), f"{path} is {value!r}, documented as {types[path]}"
        seen.add(path)
    assert always <= seen
    return seen


def test_the_schema_is_documented_and_holds(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "areas.csv").write_text("".join(f"{name},{100 + name}\n" for name in range(10)))
    assert evaluate(trained, areas=str(tmp_path / "areas.csv"), out=tmp_path / "a") == 0
    seen = check_schema(summary_of(tmp_path / "a"))
    (tmp_path / "p.csv").write_text("a\nb\nc\n")
    (tmp_path / "l.csv").write_text("a\na\na\n")
    found: dict[str, Any] = {"predictions": str(tmp_path / "p.csv"), "labels": str(tmp_path / "l.csv")}
    assert of_files.run(EvaluateOptions(**found, out=str(tmp_path / "b")), RunConfig()) == 0
    seen |= check_schema(summary_of(tmp_path / "b"))
    assert seen == set(documented()[0]) - {"ranking"}  # null only, see the test of what is left out


# Without a run


def ptrain(*words: str) -> subprocess.CompletedProcess[str]:
    return run_group([*PTRAIN, *words], timeout=60)


def test_files_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sample,class,p(cat),p(dog)\n0,cat,0.9,0.1\n1,dog,0.2,0.8\n2,cat,0.6,0.4\n")
    (tmp_path / "l.csv").write_text("label\ncat\ndog\ndog\n")
    (tmp_path / "a.csv").write_text("class,area\ncat,60\ndog,40\n")
    words = ["evaluate", "--predictions", str(tmp_path / "p.csv"), "--labels", str(tmp_path / "l.csv")]
    done = ptrain(*words, "--areas", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Weighted by area: overall accuracy 0.7000" in done.stdout
    assert re.search(r"^cat +1 +0\.5000 +1\.0000 +0\.6667$", done.stdout, re.MULTILINE)
    assert sorted(contents(tmp_path / "out")) == ["confusion.csv", "evaluation.json", "per_class.csv"]
    summary = summary_of(tmp_path / "out")
    assert (summary["num_samples"], summary["class_names"]) == (3, ["cat", "dog"])
    assert summary["ranking"]["macro"]["roc_auc"] == 1.0
    assert summary["probabilities"]["log_loss"] == pytest.approx(-(np.log([0.9, 0.8, 0.4])).mean())
    done = ptrain(*words, "--json")
    assert json.loads(done.stdout)["confusion"] == [[1, 0], [1, 1]]


def test_the_policy_for_absent_classes_is_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text("cat\ncat\ncat\n")
    (tmp_path / "l.csv").write_text("cat\ncat\ndog\n")
    words = ["evaluate", "--predictions", str(tmp_path / "p.csv"), "--labels", str(tmp_path / "l.csv"), "--json"]
    found = {}
    for policy in ("exclude", "zero"):
        assert cli.main([*words, "--absent", policy]) == 0
        found[policy] = json.loads(capsys.readouterr().out)
    assert found["exclude"]["macro"]["precision"] == pytest.approx(2 / 3)
    assert found["zero"]["macro"]["precision"] == pytest.approx(1 / 3)
    assert found["zero"]["absent"] == "zero"
    assert found["exclude"]["notes"][0] == "class dog never predicted: precision is undefined, left out of the means"


def test_files_are_evaluated_without_torch_and_once_in_a_job(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a\n")
    program = (
        "import sys; from ptrain.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'mpi4py', 'sklearn', 'scipy'} & set(sys.modules); sys.exit(str(heavy) if heavy else code)"
    )
    words = ["evaluate", "--predictions", str(tmp_path / "p.csv"), "--labels", str(tmp_path / "p.csv")]
    done = run_ranks([sys.executable, "-c", program, *words], 2, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("overall accuracy (OA)") == 1


def test_bad_files_are_one_line_and_exit_code_2(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("a\nb\n")
    (tmp_path / "l.csv").write_text("a\n")
    (tmp_path / "a.csv").write_text("0,much\n")
    files = ["--predictions", str(tmp_path / "p.csv"), "--labels", str(tmp_path / "l.csv")]
    assert cli.main(["evaluate", *files]) == 2
    assert capsys.readouterr() == (
        "",
        f"ptrain: error: 1 labels in {tmp_path}/l.csv and 2 predictions in {tmp_path}/p.csv: expected one of each a "
        "sample, in the same order\n",
    )
    with pytest.raises(DataError, match=r"--areas .*a\.csv: area 'much' of class 0: expected a number"):
        evaluate(trained, areas=str(tmp_path / "a.csv"))
