import pytest
import torch

from ptrain.models.losses import probabilities


def test_probabilities_of_cross_entropy_are_the_softmax() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]])
    result = probabilities(outputs, "cross_entropy")
    torch.testing.assert_close(result, torch.softmax(outputs.double(), -1))


def test_probabilities_of_mse_are_clipped_and_scaled() -> None:
    outputs = torch.tensor([[0.5, 1.5, -0.2], [-1.0, -2.0, 0.0]])
    result = probabilities(outputs, "mse")
    assert result[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert result[1].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
