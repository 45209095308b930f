"""``ptrain evaluate RUN``: exact evaluation of a trained network on any number of ranks."""

import itertools
import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ptrain.config import DataConfig, RunConfig
from ptrain.console import Console
from ptrain.data.samples import DataSet, Split, check_shape
from ptrain.errors import EXIT_DONE, DataError, RunDirectoryError
from ptrain.evaluation.area import add_areas
from ptrain.evaluation.files import read_areas
from ptrain.evaluation.table import EVALUATION, show
from ptrain.run import listing
from ptrain.run.scoring import EVALUATION_FILES, Evaluation, evaluate_split
from ptrain.run.session import Session, load_data, open_session
from ptrain.run.trained import Trained, load_trained
from ptrain.verbs.evaluate import EvaluateOptions


def run(options: EvaluateOptions, settings: RunConfig) -> int:
    """Evaluate the run on a split of its own data, or on other data, and return the exit code.

    The evaluation of the run's test split is written into the run directory itself, any other into a folder below it,
    unless --out names a folder.

    Raises InputError where the run, the data or the split is at fault; on every rank alike.
    """
    assert options.run is not None, "EvaluateOptions sees to it"
    folder, areas, split, data = Path(options.run), options.areas, options.split, options.data
    with open_session(settings, quiet=options.json) as session:
        trained = load_trained(session, folder, options.checkpoint)
        mapped = None if areas is None else session.agreed(lambda: read_areas(Path(areas), trained.class_names))
        config, schema = trained.config.data, None
        if data is not None:  # read as the run's own were
            schema = trained.schema
            config = DataConfig(data=data, labels=options.labels, test_fraction=0.0, neighborhood=config.neighborhood)
        dataset, data_sha256 = load_data(session, config, trained.config.train.seed, trained.class_names, schema)
        chosen = session.agreed(lambda: _choose(dataset, trained, split, data, data_sha256))
        if data is not None:
            session.console.tell(_unused(dataset, chosen), ())
            known, names = trained.normalization.seen, trained.feature_names
            session.warn_if_foreign(chosen.samples.origin, session.look_at(chosen), known, names)
        with trained.inference(session) as inference:
            found = evaluate_split(
                session, inference, dataset, chosen, trained.normalization, trained.class_names, absent=options.absent
            )
        found.summary.update({"split": split, "data": config.data} | trained.hashes | {"data_sha256": data_sha256})
        if mapped is not None:
            session.agreed(lambda: add_areas(found.summary, mapped))
        if session.is_root:
            _write(session, found, folder, _folder_of(options, folder, found.summary), options.json)
    return EXIT_DONE


def _folder_of(options: EvaluateOptions, run_dir: Path, summary: Mapping[str, Any]) -> Path:
    """Where the evaluation goes: only that of the run's own test split by its last checkpoint into the run itself.

    Others get a folder each: one that holds the evaluation of something else is left alone, and the next number taken.
    """
    if options.out is not None:
        return Path(options.out)
    name = options.split if options.data is None else Path(options.data).stem.strip(".") or "data"
    if options.checkpoint != "last":
        name += f"-{options.checkpoint}"
    if options.data is None and name == "test":
        return run_dir
    folders = (run_dir / "evaluations" / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in folders if _is_of_the_same(folder, summary))


def _is_of_the_same(folder: Path, summary: Mapping[str, Any]) -> bool:
    """Whether a folder may take this evaluation: it has none, or one of the same split of the same data."""
    try:
        there = json.loads((folder / EVALUATION).read_bytes())
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(there, dict) and all(
        there.get(key) == summary.get(key) for key in ("data", "split", "data_sha256")
    )


def _choose(dataset: DataSet, trained: Trained, split: str, data: str | None, data_sha256: str) -> Split:
    """The split to evaluate; its data must fit the network, and be the run's where they are not given."""
    if data is None and data_sha256 != trained.hashes["data_sha256"]:
        raise DataError(
            f"{dataset.name}: the data changed since the run (sha256 {trained.hashes['data_sha256'][:12]} -> "
            f"{data_sha256[:12]}); expected the same files: bring them back, or evaluate on these with --data"
        )
    if dataset.num_features != trained.model.num_features:
        raise DataError(
            f"{dataset.name}: {dataset.num_features} features a sample; expected {trained.model.num_features}, "
            "those of the training data"
        )
    check_shape(dataset.image_shape, trained.image_shape, dataset.name)
    if data is not None and dataset.test is None:
        return dataset.train
    found = dataset.splits.get(split)
    if found is None:
        have = ", ".join(dataset.splits)
        raise DataError(f"--split {split}: {dataset.name} has no such split here; expected one of {have}")
    return found


def _unused(dataset: DataSet, chosen: Split) -> list[str]:
    """A line for splits of other data that are not the one which is evaluated."""
    others = [name for name, split in dataset.splits.items() if split is not chosen]
    [used] = [name for name, split in dataset.splits.items() if split is chosen]
    return [f"{dataset.name}: its {used} split is evaluated, {' and '.join(others)} not: see --split"] if others else []


def _write(session: Session, found: Evaluation, run_dir: Path, folder: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.summary, indent=1))
    else:
        show(session.console, found.summary)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_of_run = run_dir.resolve() in (folder.resolve(), *folder.resolve().parents)
        with listing.renewing(run_dir, folder, EVALUATION_FILES) if is_of_run else nullcontext():
            found.write(folder)
        Console(stream=sys.stderr if as_json else None).say(f"written to {folder}")
    except (OSError, RunDirectoryError) as error:
        session.console.warn(f"{folder} cannot be written ({error}): the evaluation is shown here only")
