"""``ptrain evaluate --predictions FILE --labels FILE``: the evaluation of anybody's predictions, without a run."""

import json
from pathlib import Path

from ptrain.console import Console
from ptrain.errors import EXIT_DONE, RunDirectoryError
from ptrain.evaluation.area import add_areas
from ptrain.evaluation.files import read_areas, read_judged
from ptrain.evaluation.mergeable import count_samples, summarise_counts
from ptrain.evaluation.ranking import add_ranking
from ptrain.evaluation.ratios import Absent
from ptrain.evaluation.table import show, write_files


def run(
    predictions: str,
    labels: str,
    *,
    absent: Absent,
    areas: str | None,
    out: str | None,
    as_json: bool,
    console: Console,
) -> int:
    """Print the evaluation, write it into the folder ``out`` where one is given, and return the exit code.

    Raises:
        InputError: a file cannot be read, or the files do not belong together.
    """
    judged = read_judged(Path(predictions), Path(labels))
    counts = count_samples(
        judged.labels, judged.predictions, len(judged.class_names), probabilities=judged.probabilities
    )
    summary = summarise_counts(counts, judged.class_names, absent=absent)
    if judged.probabilities is not None:
        add_ranking(summary, judged.labels, judged.probabilities)
    if areas is not None:
        add_areas(summary, read_areas(Path(areas), judged.class_names))
    summary |= {"predictions": predictions, "labels": labels}
    if as_json:
        console.say(json.dumps(summary, indent=1))
    else:
        show(console, summary)
    if out is not None:
        folder = Path(out)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"--out {out}: cannot be made ({error.strerror}); expected a folder you can write to"
            ) from None
        write_files(summary, folder)
        if not as_json:
            console.say(f"written to {folder}")
    return EXIT_DONE
