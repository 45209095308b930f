import math
from collections.abc import Callable

import pytest
import torch

from ptrain.models.activations import ACTIVATIONS

FORMULAS: dict[str, Callable[[float], float]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "tanh": lambda z: (math.exp(z) - math.exp(-z)) / (math.exp(z) + math.exp(-z)),
    "relu": lambda z: max(0.0, z),
    "softplus": lambda z: math.log(1 + math.exp(z)),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "elu": lambda z: z if z > 0 else math.exp(z) - 1,
    "gelu": lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))),
}
POINTS = [-6.0, -2.5, -1.0, -0.3, 0.2, 0.7, 1.0, 3.0, 6.0]


@pytest.mark.parametrize("name", FORMULAS)
def test_values_follow_the_formula(name: str) -> None:
    z = torch.tensor(POINTS)
    out = torch.empty_like(z)
    ACTIVATIONS[name].forward_(z, out)
    torch.testing.assert_close(out, torch.tensor([FORMULAS[name](point) for point in POINTS]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_are_those_of_the_formula(name: str) -> None:
    z = torch.tensor(POINTS)
    function = ACTIVATIONS[name]
    out = torch.empty_like(z)
    function.forward_(z, out)
    grad = torch.full_like(z, 2.0)
    function.backward_(grad, z if function.needs_input else out, out)
    step = 1e-5
    expected = [2 * (FORMULAS[name](p + step) - FORMULAS[name](p - step)) / (2 * step) for p in POINTS]
    torch.testing.assert_close(grad, torch.tensor(expected), rtol=1e-3, atol=1e-5)


def test_every_configurable_activation_is_there() -> None:
    assert set(ACTIVATIONS) == set(FORMULAS)
