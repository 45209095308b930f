"""How slices cut the parameter vector, when they pay, how their threads end. What they compute: test_conformance.py."""

import contextlib
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptrain.config import Config, ModelConfig, TrainConfig
from ptrain.models.base import Loader
from ptrain.models.table import make_model
from ptrain.native import calls
from ptrain.steps.choose import choose
from ptrain.steps.memory import STRIP, cut
from tests.steps.work import step_of, with_step, work_of


@given(
    st.lists(st.integers(1, 300), max_size=4).map(tuple),
    st.integers(1, 900),
    st.integers(2, 20),
    st.booleans(),
    st.integers(1, 70),
)
def test_slices_cover_the_vector_and_cut_weights_between_strips_only(
    hidden: tuple[int, ...], features: int, classes: int, bias: bool, threads: int
) -> None:
    layout = make_model(ModelConfig(hidden=hidden, bias=bias), features, classes).layout
    slices = cut(layout, threads)
    assert len(slices) == threads
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
    assert max(map(len, slices)) <= layout.length / threads + largest_step + 16


@pytest.mark.parametrize(("shards", "threads", "taken"), [(8, 2, "slices"), (8, 8, "messages"), (8, 1, "slices")])
def test_slices_are_for_batches_that_are_small_for_the_network(shards: int, threads: int, taken: str) -> None:
    """9-64-3: 8 * 832 parameters, and 50 * 67 derivatives a thread that is not the first."""
    model = ModelConfig(hidden=(64,))
    choice = choose(work_of(Config(model=model, train=TrainConfig(batch_size="all", shards=shards)), threads=threads))
    choice.step.close()
    assert choice.step.name == taken
    if taken == "messages":
        assert choice.why_not["slices"] == "a batch of 56 rows is large for this network and 8 threads"
        assert "no slices: a batch of 56 rows" in str(choice)


class FailingLoader:
    """A loader whose samples cannot be read at the second step."""

    def __init__(self, loader: Loader):
        self.loader, self.index = loader, 0

    def select(self, epoch: int, index: int) -> None:
        self.index = index
        self.loader.select(epoch, index)

    def bind(self, *arguments: object) -> Callable[[], object]:
        fill = self.loader.bind(*arguments)  # type: ignore[arg-type]

        def fails() -> None:
            if self.index == 1:
                raise OSError("no samples")
            fill()

        return fails


@pytest.mark.parametrize("failing", range(3))
def test_an_error_in_any_thread_ends_the_step(failing: int) -> None:
    """The others, who wait for it at a barrier, do not wait for ever."""
    config = with_step(Config(model=ModelConfig(hidden=(7,)), train=TrainConfig(batch_size=16)), "slices")
    first = [0, 2, 5][failing]
    work = work_of(config, threads=3, wrap=lambda shards, own: FailingLoader(own) if shards.start == first else own)
    step = step_of(work)
    step.run(0, 0, 16)
    with pytest.raises(OSError if failing == 0 else calls.GivenUpError):
        step.run(0, 1, 16)
    with pytest.raises(OSError, match="no samples") if failing else contextlib.nullcontext():
        step.close()
