"""``ptrain evaluate --predictions FILE --labels FILE``: the evaluation of anybody's predictions, without a run."""

import json
import os
import sys
from pathlib import Path

from ptrain.config import RunConfig
from ptrain.console import Console
from ptrain.errors import EXIT_DONE, RunDirectoryError, os_error_as
from ptrain.evaluation.area import add_areas
from ptrain.evaluation.files import read_areas, read_judged
from ptrain.evaluation.mergeable import count_samples, summarise_counts
from ptrain.evaluation.ranking import add_ranking
from ptrain.evaluation.table import show, write_files
from ptrain.launch.env import detect
from ptrain.verbs.evaluate import EvaluateOptions


def run(options: EvaluateOptions, _settings: RunConfig) -> int:
    """Print the evaluation on rank 0, write it into the folder --out where one is given, and return the exit code.

    Raises InputError where a file cannot be read, or the files do not belong together.
    """
    if detect(os.environ).rank != 0:
        return EXIT_DONE
    assert options.predictions is not None, "EvaluateOptions sees to it"
    assert options.labels is not None, "EvaluateOptions sees to it"
    console = Console()
    judged = read_judged(Path(options.predictions), Path(options.labels))
    counts = count_samples(
        judged.labels, judged.predictions, len(judged.class_names), probabilities=judged.probabilities
    )
    summary = summarise_counts(counts, judged.class_names, absent=options.absent)
    if judged.probabilities is not None:
        add_ranking(summary, judged.labels, judged.probabilities)
    if options.areas is not None:
        add_areas(summary, read_areas(Path(options.areas), judged.class_names))
    if judged.said:
        summary["notes"].append(f"read: {'; '.join(judged.said)}")
    summary |= {"predictions": options.predictions, "labels": options.labels}
    if options.json:
        console.say(json.dumps(summary, indent=1))
    else:
        show(console, summary)
    if options.out is not None:
        folder = Path(options.out)
        with os_error_as(
            RunDirectoryError, f"--out {options.out}: cannot be made", "expected a folder you can write to"
        ):
            folder.mkdir(parents=True, exist_ok=True)
        write_files(summary, folder)
        Console(stream=sys.stderr if options.json else None).say(f"written to {folder}")
    return EXIT_DONE
