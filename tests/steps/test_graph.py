"""What can be known without a GPU of the part of a step that a GPU does on its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ptrain.native.upload import Upload
from ptrain.steps.graph import recorded
from tests.steps.work import CONFIGS, OPTIMIZERS, plan_of, step_of, with_kernels, with_step, work_of

META = torch.device("meta")
"""A device whose tensors have no values: to read one is an error."""


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations and refuses those that mix devices, but for copies to the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.is_meta for tensor in tensors):
            self.count += 1
            is_upload = operation is torch.ops.aten.copy_.default and args[0].is_meta
            assert is_upload or all(tensor.is_meta for tensor in tensors), operation
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in OPTIMIZERS])
def test_a_step_reads_nothing_from_its_device(name: str, optimizer: str) -> None:
    config = with_step(with_kernels(replace(CONFIGS[name], optimizer=OPTIMIZERS[optimizer]), "torch"), "device")
    work = work_of(config, device=META)
    step, plan = step_of(work), plan_of(config)
    counts = []
    for index in range(3):
        with OneDevice() as mode:
            assert step.run(index, 0, plan.valid_rows(0), stop=index == 1) is False
        counts.append(mode.count)
    assert work.state.step == 3
    # The same work at every step.
    assert counts[0] == counts[1] == counts[2] > 20
    with pytest.raises(RuntimeError, match="meta"):
        step.synchronise()


def test_stages_are_done_in_order_at_every_call() -> None:
    done: list[str] = []
    run = recorded([[lambda: done.append("a")], [lambda: done.append("b"), lambda: done.append("c")]], META)
    assert done == []
    run()
    run()
    assert done == ["a", "b", "c", "a", "b", "c"]


def test_on_the_cpu_the_tensors_themselves_are_filled() -> None:
    tensors = [torch.zeros(3), torch.zeros(2, dtype=torch.int64)]
    upload = Upload(tensors)
    for value in (1, 2, 3, 4, 5):
        for host in upload.fill():
            host.fill_(value)
        upload.send()
        assert all((tensor == value).all() for tensor in tensors)
