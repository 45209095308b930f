"""Data sets that torchvision can download, also where its compiled operators do not fit the torch that is installed."""

import contextlib
import fcntl
import importlib
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any, cast

_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_libraries: list[Any] = []
"""Declared operators, kept: they go away with their library."""


def download(dataset: str, root: Path) -> str | None:
    """Let torchvision put the training and test files of a data set under ``root``; return why not, or None.

    Several ranks may call it at once: a lock lets one of them download, the others find its files.
    """
    try:
        datasets = _import_datasets()
    except ImportError:
        return "torchvision, which could download it, is not installed"
    except Exception as error:
        return f"torchvision, which could download it, cannot be imported ({_line(error)})"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".download.lock").open("w") as lock, contextlib.redirect_stdout(io.StringIO()):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for train in (True, False):
                getattr(datasets, dataset)(str(root), train=train, download=True)
    except Exception as error:
        return f"torchvision could not download it ({_line(error)})"
    return None


def _import_datasets() -> ModuleType:
    # A CUDA build beside a CPU torch cannot load its compiled operators but registers gradients for them: a declared
    # schema is all that this asks for. Its data sets need no operator.
    library: Any = None
    while True:
        try:
            return importlib.import_module("torchvision.datasets")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None:
                raise
            if library is None:
                import torch

                library = cast("Any", torch.library.Library)("torchvision", "FRAGMENT")
                _libraries.append(library)
            library.define(f"{missing[1]}() -> ()")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
