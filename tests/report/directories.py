"""Run directories as ptrain train leaves them, made without training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptrain import config
from ptrain.evaluation.mergeable import count_samples, summarise_counts
from ptrain.evaluation.ranking import add_ranking
from ptrain.evaluation.table import write_files


def make_run(
    path: Path,
    *,
    num_classes: int = 4,
    epochs: int = 5,
    num_samples: int = 400,
    skill: float = 2.0,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    image_shape: tuple[int, ...] | None = (8, 8),
    validation: bool = True,
    evaluated: bool = True,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a run directory: labels depend on ``num_samples``, predictions on ``seed`` and ``skill`` as well."""
    path.mkdir(parents=True)
    config.write_toml(
        config.build({"run_dir": str(path), "epochs": max(epochs, 1), **(settings or {})}), path / "config.toml"
    )
    environment = {
        "ptrain": "0.1.0",
        "command": ["ptrain", "train", "--run-dir", str(path)],
        "backend": "single",
        "device": "cpu",
        "world_size": 2,
        "processes": [{"host": "node1", "pid": 1}, {"host": "node1", "pid": 2}],
        "slurm_job_id": None,
        "started": "2026-01-31T12:00:00+0000",
        **{f"{name}_sha256": f"{number}" * 64 for number, name in enumerate(("parameters", "data", "config"))},
    }
    (path / "environment.json").write_text(json.dumps(environment))
    with (path / "metrics.jsonl").open("w") as file:
        for epoch in range(1, epochs + 1):
            record = {
                "epoch": epoch,
                "step": 10 * epoch,
                "train_loss": 2.0 / epoch,
                "train_accuracy": 1 - 0.5 / epoch,
                "validation_loss": 2.2 / epoch if validation else None,
                "validation_accuracy": 1 - 0.6 / epoch if validation else None,
                "learning_rate": 0.1,
                "seconds": 0.5,
                "samples_per_second": 12345.6 + epoch,
            }
            file.write(json.dumps(record) + "\n")
    if evaluated:
        _evaluate(path, num_classes, num_samples, skill, seed, class_names, image_shape)
    return path


def _evaluate(
    path: Path,
    num_classes: int,
    num_samples: int,
    skill: float,
    seed: int,
    class_names: Sequence[str] | None,
    image_shape: tuple[int, ...] | None,
) -> None:
    labels = np.random.default_rng(0).integers(num_classes, size=num_samples)
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(num_samples, num_classes))
    scores[np.arange(num_samples), labels] += skill
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    predictions = shares.argmax(axis=1)
    names = [str(name) for name in class_names or range(num_classes)]
    losses = -np.log(shares[np.arange(num_samples), labels])
    counts = count_samples(labels, predictions, num_classes, losses=losses, probabilities=shares)
    summary = summarise_counts(counts, names)
    add_ranking(summary, labels, shares)
    write_files(summary | {"split": "test", "data": "made", "data_sha256": "1" * 64}, path)
    rows = np.zeros(num_samples, dtype=[("label", "u1"), ("prediction", "u1"), ("confidence", "<f4")])
    rows["label"], rows["prediction"], rows["confidence"] = labels, predictions, shares.max(axis=1)
    np.save(path / "predictions.npy", rows)
    wrong = np.flatnonzero(labels != predictions)[:1]
    groups = [
        {
            "reference": names[labels[place]],
            "predicted": names[predictions[place]],
            "count": 1,
            "samples": [{"position": int(place), "confidence": 0.75}],
        }
        for place in wrong
    ]
    (path / "misclassified.json").write_text(json.dumps({"groups": groups}))
    if image_shape is not None:
        pixels = generator.integers(256, size=(len(groups), *image_shape), dtype=np.uint8)
        np.save(path / "misclassified.npy", pixels)
