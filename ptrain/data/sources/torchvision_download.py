"""Data sets that torchvision downloads in its own layout."""

import contextlib
import fcntl
import io
from pathlib import Path

from ptrain.data.sources.torchvision_import import import_datasets


def download(dataset: str, root: Path) -> str | None:
    """Let torchvision put the training and test files of a data set under ``root``; return why not, or None.

    Several ranks may call it at once: a lock lets one of them download, the others find its files.
    """
    try:
        datasets = import_datasets()
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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
