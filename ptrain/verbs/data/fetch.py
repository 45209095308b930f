"""``ptrain data fetch``: download one of torchvision's data sets and convert it, for nodes without network."""

import contextlib
import io
import sys

from ptrain.console import Console
from ptrain.data.sources import torchvision_sets
from ptrain.data.store import converted
from ptrain.errors import EXIT_DONE
from ptrain.verbs.data import DataOptions


def run(options: DataOptions, *_: object) -> int:
    """Bring a data set into $PTRAIN_DATA, or the user's cache, and return the exit code.

    Raises:
        DataError: there is no such set, torchvision or the network is missing, or the folder cannot be written to.
    """
    console = Console()
    # Torchvision's bar of the download is for a terminal: in a file it would be thousands of lines.
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
        folder = torchvision_sets.fetch(options.words[0].removeprefix("torchvision:"), say=console.say)
    source = converted.load(folder)
    test = f" and {len(source.test)} test" if source.test is not None else ""
    console.say(f"{source.name}: {len(source.train)} training{test} images in {folder}")
    console.say(f"use it with ptrain train --data {source.name}")
    return EXIT_DONE
