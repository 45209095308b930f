"""How often the 95 % intervals of an evaluation hold the true value: ``python -m benchmarks.intervals``.

Confusion matrices are drawn from populations whose scores are known. For each population, number of samples and score
it prints the share of the intervals that hold the true score and, after a slash, the share of the draws that have an
interval where that is not all. The table in docs/metrics.md is what it prints.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptrain.evaluation.scores import summarise
from ptrain.evaluation.table import find

Shares = NDArray[np.float64]
Counts = NDArray[np.int64]

SAMPLES = (30, 100, 300, 1000, 10000)
SCORES = {
    "OA": "overall_accuracy",
    "AA": "average_accuracy",
    "macro precision": "macro.precision",
    "macro F1": "macro.f1",
    "F1 of means": "macro.f1_of_means",
    "kappa": "kappa",
    "Matthews": "matthews",
}
"""Name in the table, and path in evaluation.json and in its intervals."""


def population(frequencies: Sequence[float], recalls: Sequence[float]) -> Shares:
    """Return the shares of the cells, (classes, classes); errors go to the other classes by their frequency."""
    cells = np.diag(np.asarray(recalls, dtype=np.float64))
    for k, recall in enumerate(recalls):
        others = np.array([0.0 if j == k else frequency for j, frequency in enumerate(frequencies)])
        cells[k] += (1 - recall) * others / others.sum()
    shares: Shares = cells * np.asarray(frequencies)[:, None] / sum(frequencies)
    return shares


POPULATIONS = {
    "three classes, 80 %": population([1, 1, 1], [0.85, 0.8, 0.75]),
    "a rare class of 2 %": population([0.6, 0.38, 0.02], [0.9, 0.85, 0.5]),
    "a rare one of two, 2 %": population([0.98, 0.02], [0.97, 0.6]),
    "three classes, 99 %": population([1, 1, 1], [0.99] * 3),
    "rare class of 2 %, 99 %": population([0.6, 0.38, 0.02], [0.99] * 3),
    "ten classes, 90 %": population([1] * 10, [0.9] * 10),
}


def truths(shares: Shares) -> dict[str, float]:
    """Return the scores of a population, by their names in the table, to 12 digits: those of 10**15 samples."""
    summary = summarise(np.rint(shares * 1e15).astype(np.int64), list(map(str, range(len(shares)))))
    return {name: find(summary, path) for name, path in SCORES.items()}


def coverage(shares: Shares, samples: int, draws: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return for each score the share of the intervals that hold the truth, and of the draws that have an interval."""
    generator = np.random.default_rng(seed)
    matrices: Counts = generator.multinomial(samples, shares.ravel(), size=draws).reshape(draws, *shares.shape)
    different, times = np.unique(matrices, axis=0, return_counts=True)
    truth, names = truths(shares), list(map(str, range(len(shares))))
    given, inside = dict.fromkeys(SCORES, 0), dict.fromkeys(SCORES, 0)
    for matrix, number in zip(different, times.tolist(), strict=True):
        intervals = summarise(matrix, names)["intervals"]
        for name, path in SCORES.items():
            interval = find(intervals, path)
            if interval is not None:
                given[name] += number
                inside[name] += number * (interval[0] <= truth[name] + 1e-12 and truth[name] - 1e-12 <= interval[1])
    return {name: (inside[name] / max(given[name], 1), given[name] / draws) for name in SCORES}


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"| population | n | {' | '.join(SCORES)} |")
    print("|---|---|" + "---|" * len(SCORES))
    for title, shares in POPULATIONS.items():
        for samples in SAMPLES:
            found = coverage(shares, samples, options.draws, options.seed)
            cells = [
                "–" if not given else f"{100 * inside:.1f}" + ("" if given == 1 else f" / {100 * given:.0f}")  # noqa: RUF001
                for inside, given in found.values()
            ]
            print(f"| {title} | {samples:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
