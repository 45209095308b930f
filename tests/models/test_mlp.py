import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptrain.config import ModelConfig
from ptrain.models.base import ALIGNMENT, parameters_sha256
from ptrain.models.mlp import MLP

widths = st.lists(st.integers(1, 40), min_size=2, max_size=5).map(tuple)


def test_the_lectures_network_has_325_parameters() -> None:
    assert MLP(ModelConfig(), (10, 20, 5)).layout.num_parameters == 325


def test_no_hidden_layer_makes_a_perceptron() -> None:
    model = MLP.on(ModelConfig(hidden=()), 64, 10)
    assert model.title == "64-10"
    assert model.layout.num_parameters == 64 * 10 + 10


@given(widths, st.booleans())
def test_a_network_is_made_again_from_its_description(widths: tuple[int, ...], bias: bool) -> None:
    config = ModelConfig(bias=bias)
    model = MLP(config, widths)
    assert MLP.described(config, json.loads(json.dumps(model.description))).layout == model.layout


def test_weights_decay_and_biases_do_not() -> None:
    model = MLP(ModelConfig(), (3, 2))
    decay = model.layout.decay(0.5, torch.device("cpu"))
    assert decay is not None
    assert [set(view.flatten().tolist()) for view in model.layout.views(decay).values()] == [{0.5}, {0.0}]
    assert decay.sum() == 3 * 2 * 0.5
    assert model.layout.decay(0.0, torch.device("cpu")) is None


@given(widths, st.booleans())
def test_parameters_are_aligned_and_do_not_overlap(widths: tuple[int, ...], bias: bool) -> None:
    layout = MLP(ModelConfig(bias=bias), widths).layout
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
        *(("auto", name, (2 / 400) ** 0.5) for name in ("relu", "leaky_relu", "elu", "gelu", "softplus")),
        *(("auto", name, (2 / (400 + 300)) ** 0.5) for name in ("identity", "sigmoid", "tanh")),
    ],
)
def test_initial_weights_have_the_deviation_of_their_formula(init: str, activation: str, deviation: float) -> None:
    model = ModelConfig(hidden=(300,), init=init, init_sigma=0.3, activation=activation)  # type: ignore[arg-type]
    network = MLP.on(model, 400, 10)
    views = network.layout.views(network.initial(5))
    assert views["layers.0.weight"].std().item() == pytest.approx(deviation, rel=0.01)
    assert abs(views["layers.0.weight"].mean().item()) < deviation / 50
    assert not views["layers.0.bias"].any()
    largest = views["layers.0.weight"].abs().max().item()
    # A uniform distribution ends at sqrt(3) deviations, a normal one that is not truncated goes well beyond 4.
    glorot = init == "glorot" or (init == "auto" and deviation < (2 / 400) ** 0.5)
    assert largest == pytest.approx(3**0.5 * deviation, rel=1e-3) if glorot else largest > 4 * deviation


def test_initial_weights_depend_on_the_seed_and_on_nothing_else() -> None:
    model = MLP.on(ModelConfig(hidden=(7,)), 5, 3)
    torch.manual_seed(1)
    first = model.initial(0)
    torch.manual_seed(2)
    assert torch.equal(first, model.initial(0))
    assert not torch.equal(first, model.initial(1))


def test_the_hash_ignores_the_padding() -> None:
    layout = MLP(ModelConfig(), (3, 2)).layout
    flat = torch.arange(layout.length, dtype=torch.float32)
    other = flat.clone()
    other[6:16] = -1.0  # behind the 3 x 2 weight
    assert parameters_sha256(layout, flat) == parameters_sha256(layout, other)
    other[0] = -1.0
    assert parameters_sha256(layout, flat) != parameters_sha256(layout, other)


def test_initial_weights_never_change_by_accident() -> None:
    model = MLP.on(ModelConfig(hidden=(4,)), 3, 2)
    weights = model.layout.views(model.initial(0))["layers.0.weight"].numpy()
    assert weights.ravel()[:3].tolist() == pytest.approx([0.7368633, 0.67491966, 0.09317128], rel=1e-6)
