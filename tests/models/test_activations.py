import math
from collections.abc import Callable

import pytest
import torch

from ptrain.config.sections import WITH_ALPHA as NAMES_WITH_ALPHA
from ptrain.models.activations import ACTIVATIONS, WITH_ALPHA, activation

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
    assert set(WITH_ALPHA) == set(NAMES_WITH_ALPHA)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 1.7])
@pytest.mark.parametrize(("name", "below"), [("leaky_relu", lambda z: z), ("elu", torch.expm1)])
def test_alpha_is_the_slope_or_the_scale_below_0(
    name: str, below: Callable[[torch.Tensor], torch.Tensor], alpha: float
) -> None:
    z = torch.tensor(POINTS)
    function, out, leaf = activation(name, alpha), torch.empty_like(z), z.double().requires_grad_()
    function.forward_(z, out)
    expected = torch.where(leaf > 0, leaf, alpha * below(leaf))
    torch.testing.assert_close(out.double(), expected.detach(), rtol=1e-6, atol=1e-6)
    expected.sum().backward()  # type: ignore[no-untyped-call]
    grad = torch.ones_like(z)
    function.backward_(grad, out, out)
    assert leaf.grad is not None
    torch.testing.assert_close(grad.double(), leaf.grad, rtol=1e-6, atol=1e-6)
    assert activation("relu", alpha) is ACTIVATIONS["relu"]


def test_gelu_is_exact_and_not_the_approximation_by_tanh() -> None:
    z = torch.linspace(-4, 4, 81)
    out = torch.empty_like(z)
    ACTIVATIONS["gelu"].forward_(z, out)
    exact = z.double() * 0.5 * (1 + torch.erf(z.double() / math.sqrt(2)))
    assert (out - exact).abs().max() < 1e-6
    assert (out - torch.nn.functional.gelu(z, approximate="tanh")).abs().max() > 1e-4
