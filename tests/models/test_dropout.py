import numpy as np
import pytest
import torch

from ptrain.models.buffers import ShardBuffer
from ptrain.models.dropout import Dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_what_is_kept_is_scaled_so_that_the_mean_stays(probability: float) -> None:
    """Inverted dropout: nothing is left to do at the evaluation."""
    dropout = Dropout(probability, 3, range(2), [ShardBuffer(2, 1, 1, torch.device("cpu"))])
    mask = dropout.mask(1, 0, (400, 250))
    values, counts = np.unique(mask.numpy(), return_counts=True)
    assert values.tolist() == pytest.approx([0.0, 1 / (1 - probability)])
    assert counts[0] / mask.numel() == pytest.approx(probability, abs=0.005)
    assert mask.mean().item() == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(mask, dropout.mask(0, 0, (400, 250)))
