"""Which kernels compute: ptrain's own compiled ones, or torch's."""

from typing import Literal

import torch

from ptrain import native
from ptrain.errors import ConfigError


def resolve(choice: str, precision: str, device: torch.device) -> Literal["native", "torch"]:
    """Return native or torch for a value of ``--kernels``.

    Raises:
        ConfigError: native was asked for and cannot be had, or PTRAIN_INSTRUCTION_SET is not of this processor.
    """
    if choice == "torch":
        return "torch"
    try:
        compiled = native.instruction_set() is not None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    why = (
        f"--device {device.type}"
        if device.type != "cpu"
        else f"--precision {precision}"
        if precision != "fp32"
        else "an installation without compiled kernels (it needs a C compiler; install ptrain again)"
        if not compiled
        else None
    )
    if why is None:
        return "native"
    if choice == "native":
        raise ConfigError(f"--kernels native with {why}: expected fp32 on the CPU; use --kernels auto or torch")
    return "torch"
