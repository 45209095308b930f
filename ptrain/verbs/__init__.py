"""The verbs: another one is a file or a folder here that defines VERB, and its name in this table."""

import importlib

from ptrain.verbs.base import Command as Command
from ptrain.verbs.base import Verb

NAMES = ("train", "evaluate", "predict", "verify", "report", "data", "slurm", "bench", "doctor")
"""In the order of ``ptrain --help``."""


def load(name: str) -> Verb:
    """The verb of that name. What a verb imports at the top is light: it waits for libraries when it is run."""
    verb: Verb = importlib.import_module(f"ptrain.verbs.{name}").VERB
    return verb
