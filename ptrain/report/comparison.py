"""Several runs on one page: curves over each other, scores side by side, and McNemar's test."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptrain.config.values import shown
from ptrain.evaluation.mcnemar import holm, mcnemar
from ptrain.evaluation.table import SCORES, find, score
from ptrain.files import write_file
from ptrain.report.page import render
from ptrain.report.plots import Plot, curves_of, curves_plot
from ptrain.report.records import RunRecord, read_array
from ptrain.report.words import number

SIGNIFICANT = 0.05


class Measure(NamedTuple):
    """One score of all runs."""

    name: str
    values: list[str]
    best: list[bool]


def write_comparison(runs: Sequence[RunRecord], path: Path) -> None:
    """Write the page that compares runs. Raises OSError, and RunDirectoryError where predictions are damaged."""
    names, same = run_names(runs), same_data(runs)
    content = render(
        "comparison.html.j2",
        runs=list(zip(names, runs, strict=True)),
        same_data=same,
        rows=score_rows(runs, mark=same),
        differences=differences(runs),
        curves=_plots(runs, names),
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
    measured: list[tuple[str, list[Any], int, Callable[[Any], str]]] = [
        (name, [find(run.evaluation, path) for run in runs], sign, score) for name, path, sign in SCORES if sign
    ]
    measured.append(("training time (s)", [run.seconds or None for run in runs], 0, number))
    measured.append(("samples per second", [run.samples_per_second for run in runs], 0, number))
    return [
        Measure(name, [form(value) for value in values], _best(values, sign if mark else 0))
        for name, values, sign, form in measured
        if any(value is not None for value in values)
    ]


def _best(values: Sequence[float | None], sign: int) -> list[bool]:
    """Which of the values are the largest (sign 1) or smallest (-1), if they differ at all; sign 0: none."""
    known = [sign * value for value in values if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return [False] * len(values)
    return [value is not None and sign * value == max(known) for value in values]


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
    for what, (key, title) in itertools.product(
        ("loss", "accuracy"), (("train", "Training"), ("validation", "Validation"))
    ):
        curves = curves_of(zip(names, (run.metrics for run in runs), strict=True), f"{key}_{what}")
        if curves:
            plots.append(curves_plot(f"{key}_{what}", f"{title} {what}", curves, percent=what == "accuracy"))
    return plots


def mcnemar_tests(runs: Sequence[RunRecord], names: Sequence[str]) -> list[dict[str, Any]]:
    """McNemar's test of every pair of runs whose predictions of the same samples were kept."""
    kept = [(name, run, read_array(run.path / "predictions.npy")) for name, run in zip(names, runs, strict=True)]
    tests: list[dict[str, Any]] = []
    for (first, run_a, a), (second, run_b, b) in itertools.combinations(kept, 2):
        if a is None or b is None or not same_data([run_a, run_b]) or not np.array_equal(a["label"], b["label"]):
            continue
        right_a, right_b = a["prediction"] == a["label"], b["prediction"] == b["label"]
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        tests.append(
            {
                "first": first,
                "second": second,
                "both": int((right_a & right_b).sum()),
                "only_first": only_a,
                "only_second": only_b,
                "neither": int((~right_a & ~right_b).sum()),
                "p": mcnemar(only_a, only_b),
                "better": first if only_a > only_b else second,
            }
        )
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["adjusted"] = adjusted
    return tests
