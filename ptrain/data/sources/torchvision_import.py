"""torchvision.datasets, also where torchvision's compiled operators do not fit the torch that is installed."""

import importlib
import re
import warnings
from types import ModuleType

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
