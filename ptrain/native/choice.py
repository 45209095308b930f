"""Which kernels compute: ptrain's own compiled ones, for which instruction set, or torch's."""

import os
from typing import Literal

import numpy as np
import torch

from ptrain.errors import ConfigError
from ptrain.native.calls import linear, weight_gradient
from ptrain.native.structs import kernels

VARIABLE = "PTRAIN_INSTRUCTION_SET"
"""Environment variable that names the instruction set to use: avx512, avx2, neon or plain."""

_chosen: str | None = None


def resolve(choice: str, precision: str, device: torch.device) -> Literal["native", "torch"]:
    """Decide for native or torch by the value of ``--kernels``.

    Raises ConfigError where native was asked for and cannot be had, or PTRAIN_INSTRUCTION_SET is of another processor.
    """
    if choice == "torch":
        return "torch"
    try:
        compiled = instruction_set() is not None
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


def instruction_set() -> str | None:
    """Name the instruction set that the kernels use, None where they were not compiled. The first call checks them.

    Raises:
        ValueError: PTRAIN_INSTRUCTION_SET names one that this processor does not have.
        RuntimeError: the kernels' bits are not those of the plain ones, or they were compiled from other sources.
    """
    global _chosen
    if kernels is not None and _chosen is None:
        here = kernels.instruction_sets()
        wanted = os.environ.get(VARIABLE) or here[0]
        if wanted not in here:
            raise ValueError(f"{VARIABLE}={wanted}: expected one of this processor's: {', '.join(here)}")
        _check_bits(wanted)
        _chosen = wanted
    return _chosen


def choose(name: str) -> None:
    """Use the kernels of this instruction set from now on. Raises ValueError where the processor has none such."""
    global _chosen
    kernels.choose(name)
    _chosen = name


def _check_bits(name: str) -> None:
    """Compare a small product of every sort with the plain kernels': a compiler's fault must not pass unseen.

    The kernels of ``name`` are in use afterwards.
    """
    random = np.random.Generator(np.random.Philox(key=1))
    # Sizes that no tile divides, so that every kernel's ends are passed through
    x, w = (torch.from_numpy(random.standard_normal(shape, dtype=np.float32)) for shape in ((2, 7, 19), (19, 83)))
    results = []
    for chosen in ("plain", name):
        kernels.choose(chosen)
        forward, gradient, back = torch.zeros(2, 7, 83), torch.zeros(1, 19, 83), torch.zeros(2, 7, 19)
        linear(x, w, forward, relu=True)()
        weight_gradient(x, forward, [0, 1], gradient)()
        linear(forward, w, back, transposed=True, gate=x)()
        results.append((forward, gradient, back))
    if not all(torch.equal(plain, other) for plain, other in zip(*results, strict=True)):
        raise RuntimeError(
            f"the {name} kernels do not give the bits of the plain ones: set {VARIABLE}=plain and report it"
        )
