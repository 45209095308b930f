"""``ptrain report``: the page of one run, or the comparison of several, from the files of the run directories."""

import glob
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ptrain.config.flags import Flag, FlagGroup, Given
from ptrain.errors import EXIT_DONE, RunDirectoryError
from ptrain.verbs.base import RUN, Command, Verb, function, required_run


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Of which runs, and where to."""

    runs: Annotated[tuple[str, ...], RUN]
    """run directory of ptrain train; several are compared"""
    out: Annotated[str | None, Flag(metavar="FILE.html")] = None
    """where to write the page (default: report.html in the run directory, comparison.html here for several)"""


def check(given: Given) -> Command:
    """One process writes the page: it starts no ranks."""
    options = given.of(ReportOptions)
    for run_dir in options.runs:
        required_run(run_dir)
    return Command(work="verbs.report:run", arguments=(options,))


def run(options: ReportOptions) -> int:
    """Write RUN/report.html and RUN/plots/, or for several runs comparison.html, and return the exit code.

    Raises InputError where a run directory is missing or damaged, or the page cannot be written.
    """
    from ptrain.console import Console
    from ptrain.launch import env
    from ptrain.report.records import read_run
    from ptrain.run import listing

    if env.detect(os.environ).rank != 0:  # one process of a job is enough
        return EXIT_DONE
    records = [read_run(Path(name)) for name in options.runs]
    several = len(records) > 1
    path = Path(options.out or ("comparison.html" if several else Path(options.runs[0], "report.html")))
    try:
        if several:
            function("report.comparison:write_comparison")(records, path)
        else:
            run_dir = Path(options.runs[0])
            is_own = path.parent.resolve() == run_dir.resolve()
            with (
                listing.renewing(run_dir, run_dir, (glob.escape(path.name), "plots/*.png")) if is_own else nullcontext()
            ):
                function("report.page:write_report")(records[0], path)
    except OSError as error:
        raise RunDirectoryError(
            f"{error.filename or path}: cannot be written ({error.strerror}); expected a folder you can write to"
        ) from None
    Console().say(f"written to {path}")
    return EXIT_DONE


VERB = Verb(
    summary="draw the page of a run, or compare several runs, from their files",
    usage="RUN [RUN ...]",
    examples="""\
  ptrain report runs/first
  ptrain report runs/first --out first.html
  ptrain report runs/first runs/second runs/third --out comparison.html
""",
    groups=(FlagGroup(of=ReportOptions),),
    check=check,
)
