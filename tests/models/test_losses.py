import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ptrain.models.losses import probabilities


def test_probabilities_of_cross_entropy_are_the_softmax() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]])
    result = probabilities(outputs, "cross_entropy")
    torch.testing.assert_close(result, torch.softmax(outputs.double(), -1))


def test_probabilities_of_mse_are_the_nearest_to_the_outputs() -> None:
    outputs = torch.tensor(
        [[0.5, 1.5, -0.2], [-1.0, -2.0, 0.0], [0.25, 0.45, 0.3], [1.25, 1.5, 0.0], [-0.5, -0.5, -0.5]]
    )
    result = probabilities(outputs, "mse")
    assert result[0].tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert result[1].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert result[2].tolist() == pytest.approx([0.25, 0.45, 0.3])  # these are probabilities
    assert result[3].tolist() == pytest.approx([0.375, 0.625, 0.0])  # both above 1, and yet not the same
    assert result[4].tolist() == pytest.approx([1 / 3] * 3)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.floats(-1e6, 1e6, width=32)))
def test_probabilities_of_mse_fit_the_decision(values: NDArray[np.float32]) -> None:
    outputs = torch.from_numpy(values)
    result = probabilities(outputs, "mse")
    assert result.sum(-1).tolist() == pytest.approx([1.0] * len(values))
    assert (result >= 0).all()
    chosen = outputs.argmax(-1, keepdim=True)
    assert torch.equal(result.gather(-1, chosen), result.amax(-1, keepdim=True))
    one_hot = torch.eye(values.shape[1], dtype=torch.float64)
    for target in one_hot:  # nearer to any target: the Brier score is at most the loss
        assert ((result - target).square().sum(-1) <= (outputs.double() - target).square().sum(-1) * (1 + 1e-9)).all()
