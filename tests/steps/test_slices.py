"""How the parameter vector is cut into slices. What they compute: test_step.py, and with several ranks tests/verbs."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ptrain.config import ModelConfig
from ptrain.models.mlp import layout_of
from ptrain.steps.slices import STRIP, cut, pays


@given(
    st.lists(st.integers(1, 300), max_size=4).map(tuple),
    st.integers(1, 900),
    st.integers(2, 20),
    st.booleans(),
    st.integers(1, 70),
)
def test_slices_cover_the_vector_and_cut_weights_between_strips_only(
    hidden: tuple[int, ...], features: int, classes: int, bias: bool, places: int
) -> None:
    layout = layout_of(ModelConfig(hidden=hidden, bias=bias), features, classes)
    slices = cut(layout, places)
    assert len(slices) == places
    covered = torch.zeros(layout.length, dtype=torch.int64)
    for part in slices:
        covered[part.start : part.stop] += 1
    assert covered.eq(1).all()
    starts = {slot.offset: slot for slot in layout.slots}
    for edge in (part.start for part in slices if len(part)):
        slot = starts[max(start for start in starts if start <= edge)]
        inside = edge - slot.offset
        assert inside == 0 or (len(slot.shape) == 2 and inside % (STRIP * slot.shape[1]) == 0)
    largest_step = max(STRIP * slot.shape[-1] for slot in layout.slots)
    assert max(map(len, slices)) <= layout.length / places + largest_step + 16


def test_slices_are_for_batches_that_are_small_for_the_network() -> None:
    layout = layout_of(ModelConfig(hidden=(128, 128)), 784, 10)
    assert pays(layout, 128, 2)
    assert not pays(layout, 4096, 16)
    assert pays(layout, 4096, 1)
