"""Several runs on one page: curves over each other, scores side by side, and McNemar's test."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptrain.evaluation.mcnemar import holm, mcnemar
from ptrain.evaluation.table import SCORES, find, score
from ptrain.files import write_file
from ptrain.report.page import drawn, render
from ptrain.report.plots import Plot, curves_of, curves_plot
from ptrain.report.records import RunRecord, read_predictions
from ptrain.report.words import number, shown

SIGNIFICANT = 0.05


class Measure(NamedTuple):
    """One score of all runs."""

    name: str
    values: list[str]
    best: list[bool]


def write_comparison(runs: Sequence[RunRecord], path: Path) -> None:
    """Write the page that compares runs.

    Raises:
        OSError: the file cannot be written.
        RunDirectoryError: predictions of a run are damaged.
    """
    names = run_names(runs)
    same = same_data(runs)
    content = render(
        "comparison.html.j2",
        runs=list(zip(names, runs, strict=True)),
        same_data=same,
        rows=score_rows(runs, mark=same),
        differences=differences(runs),
        curves=drawn(_plots(runs, names)),
        tests=mcnemar_tests(runs, names),
        significant=SIGNIFICANT,
    )
    write_file(path, content)


def run_names(runs: Sequence[RunRecord]) -> list[str]:
    """The names of the run directories, with their folders where two have the same name."""
    names = [run.name for run in runs]
    return [str(run.path) if names.count(name) > 1 else name for name, run in zip(names, runs, strict=True)]


def same_data(runs: Sequence[RunRecord]) -> bool:
    """Whether all runs that were evaluated were evaluated on the same samples, as far as the files tell."""
    keys = ("data_sha256", "split", "num_samples")
    found = [run.evaluation for run in runs if run.evaluation is not None]
    supports = {tuple(row["support"] for row in one["per_class"]) for one in found}
    return len({tuple(one.get(key) for key in keys) for one in found}) == 1 and len(supports) == 1


def score_rows(runs: Sequence[RunRecord], *, mark: bool) -> list[Measure]:
    """The scores of all runs; ``mark``: say which is best, where they differ."""
    rows = []
    for name, path, sign in SCORES:
        values = [find(run.evaluation, path) for run in runs]
        if sign and any(value is not None for value in values):
            rows.append(Measure(name, [score(value) for value in values], _best(values, sign) if mark else _none(runs)))
    for name, measured in (
        ("training time (s)", [run.seconds or None for run in runs]),
        ("samples per second", [run.samples_per_second for run in runs]),
    ):
        if any(value is not None for value in measured):
            rows.append(Measure(name, [number(value) for value in measured], _none(runs)))
    return rows


def _best(values: Sequence[float | None], sign: int) -> list[bool]:
    known = [sign * value for value in values if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return [False] * len(values)
    return [value is not None and sign * value == max(known) for value in values]


def _none(runs: Sequence[RunRecord]) -> list[bool]:
    return [False] * len(runs)


def differences(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """The settings, ranks and devices in which the runs differ, with the value of each run."""
    flat: list[dict[str, str]] = []
    for run in runs:
        sections = [section for name, section in run.config.items() if name != "run"]
        values = {key: shown(value) for section in sections for key, value in section.items()}
        known = ("ptrain", "torch", "backend", "device", "world_size", "threads", "data_sha256")
        values |= {key.replace("_", " "): str(run.environment[key])[:16] for key in known if key in run.environment}
        flat.append(values)
    keys = dict.fromkeys(key for values in flat for key in values)
    return [
        (key, [values.get(key, "–") for values in flat])  # noqa: RUF001
        for key in keys
        if len({values.get(key) for values in flat}) > 1
    ]


def _plots(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Plot]:
    plots = []
    for key, title in (
        ("train_loss", "Training loss"),
        ("validation_loss", "Validation loss"),
        ("train_accuracy", "Training accuracy"),
        ("validation_accuracy", "Validation accuracy"),
    ):
        curves = curves_of(zip(names, (run.metrics for run in runs), strict=True), key)
        if curves:
            plots.append(curves_plot(key, title, curves, percent=key.endswith("accuracy")))
    return plots


def mcnemar_tests(runs: Sequence[RunRecord], names: Sequence[str]) -> list[dict[str, Any]]:
    """McNemar's test of every pair of runs whose predictions of the same samples were kept."""
    predictions = [read_predictions(run.path) for run in runs]
    tests: list[dict[str, Any]] = []
    for first, second in itertools.combinations(range(len(runs)), 2):
        a, b = predictions[first], predictions[second]
        if a is None or b is None or not same_data([runs[first], runs[second]]):
            continue
        if len(a) != len(b) or not np.array_equal(a["label"], b["label"]):
            continue
        right_a, right_b = a["prediction"] == a["label"], b["prediction"] == b["label"]
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        tests.append(
            {
                "first": names[first],
                "second": names[second],
                "both": int((right_a & right_b).sum()),
                "only_first": only_a,
                "only_second": only_b,
                "neither": int((~right_a & ~right_b).sum()),
                "p": mcnemar(only_a, only_b),
                "better": names[first] if only_a > only_b else names[second],
            }
        )
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["adjusted"] = adjusted
    return tests
