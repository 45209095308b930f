"""torchvision.datasets and its downloads, also where its compiled operators do not fit the torch that is installed."""

import contextlib
import fcntl
import importlib
import io
import re
import warnings
from pathlib import Path
from types import ModuleType

from ptrain.data.store.reading import one_line

_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")


def import_datasets() -> ModuleType:
    """Return torchvision.datasets; raises ImportError where it is not there, RuntimeError where it does not fit torch.

    A CUDA build, which is what PyPI has, cannot load its compiled operators beside a CPU torch, but registers shapes
    and gradients for them while it is imported. A declared operator is all that this asks for, and the data sets need
    none. Which ones are missing is told by torch, so that no list of them can be out of date.
    """
    declared: set[str] = set()
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return importlib.import_module("torchvision.datasets")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None or missing[1] in declared:
                raise
            declared.add(missing[1])
            _declare(missing[1])


def _declare(operator: str) -> None:
    import torch

    torch.library.define(f"torchvision::{operator}", "() -> ()")


def download(dataset: str, root: Path) -> str | None:
    """Let torchvision put the training and test files of a data set under ``root``; return why not, or None.

    Several ranks may call it at once: a lock lets one of them download, the others find its files.
    """
    try:
        datasets = import_datasets()
    except ImportError:
        return "torchvision, which could download it, is not installed"
    except Exception as error:
        return f"torchvision, which could download it, cannot be imported ({one_line(error)})"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".download.lock").open("w") as lock, contextlib.redirect_stdout(io.StringIO()):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for train in (True, False):
                getattr(datasets, dataset)(str(root), train=train, download=True)
    except Exception as error:
        return f"torchvision could not download it ({one_line(error)})"
    return None
