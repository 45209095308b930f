import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptrain.config import ModelConfig
from ptrain.models.mlp import ALIGNMENT, Layout, initialise, layout_of, parameters_sha256

widths = st.lists(st.integers(1, 40), min_size=2, max_size=5).map(tuple)


def test_the_lectures_network_has_325_parameters() -> None:
    assert Layout(widths=(10, 20, 5), bias=True).num_parameters == 325


def test_no_hidden_layer_makes_a_perceptron() -> None:
    layout = layout_of(ModelConfig(hidden=()), 64, 10)
    assert layout.num_layers == 1
    assert layout.num_parameters == 64 * 10 + 10


@given(widths, st.booleans())
def test_parameters_are_aligned_and_do_not_overlap(widths: tuple[int, ...], bias: bool) -> None:
    layout = Layout(widths=widths, bias=bias)
    flat = torch.zeros(layout.length)
    for view in layout.views(flat).values():
        view.add_(1.0)
    assert flat.max() == 1.0
    assert int(flat.sum()) == layout.num_parameters
    assert all(slot.offset % ALIGNMENT == 0 for slot in layout.slots)


@pytest.mark.parametrize(
    ("init", "activation", "deviation"),
    [
        ("normal", "relu", 0.3),
        ("he", "sigmoid", (2 / 400) ** 0.5),
        ("glorot", "relu", (2 / (400 + 300)) ** 0.5),
        ("auto", "relu", (2 / 400) ** 0.5),
        ("auto", "tanh", (2 / (400 + 300)) ** 0.5),
    ],
)
def test_initial_weights_have_the_deviation_of_their_formula(init: str, activation: str, deviation: float) -> None:
    model = ModelConfig(hidden=(300,), init=init, init_sigma=0.3, activation=activation)  # type: ignore[arg-type]
    layout = layout_of(model, 400, 10)
    views = layout.views(initialise(layout, model, seed=5))
    assert views["layers.0.weight"].std().item() == pytest.approx(deviation, rel=0.01)
    assert abs(views["layers.0.weight"].mean().item()) < deviation / 50
    assert not views["layers.0.bias"].any()


def test_initial_weights_depend_on_the_seed_and_on_nothing_else() -> None:
    model = ModelConfig(hidden=(7,))
    layout = layout_of(model, 5, 3)
    torch.manual_seed(1)
    first = initialise(layout, model, seed=0)
    torch.manual_seed(2)
    assert torch.equal(first, initialise(layout, model, seed=0))
    assert not torch.equal(first, initialise(layout, model, seed=1))


def test_the_hash_ignores_the_padding() -> None:
    layout = Layout(widths=(3, 2), bias=True)
    flat = torch.arange(layout.length, dtype=torch.float32)
    other = flat.clone()
    other[6:16] = -1.0  # behind the 3 x 2 weight
    assert parameters_sha256(layout, flat) == parameters_sha256(layout, other)
    other[0] = -1.0
    assert parameters_sha256(layout, flat) != parameters_sha256(layout, other)


def test_initial_weights_never_change_by_accident() -> None:
    model = ModelConfig(hidden=(4,))
    layout = layout_of(model, 3, 2)
    weights = layout.views(initialise(layout, model, seed=0))["layers.0.weight"].numpy()
    assert weights.ravel()[:3].tolist() == pytest.approx([0.7368633, 0.67491966, 0.09317128], rel=1e-6)
