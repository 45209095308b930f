"""Operations on fixed buffers that are done at every step: on a GPU recorded once and started with one call."""

import itertools
from collections.abc import Sequence

import torch

from ptrain.models.base import Operation

BRANCHES = 8
"""Tasks that a GPU may do side by side."""


def recorded(stages: Sequence[Sequence[Operation]], device: torch.device) -> Operation:
    """Make what does all tasks, stage by stage; the tasks of a stage do not depend on each other.

    On a GPU it is a CUDA graph. There every task is done once now, and must neither wait for the device nor depend on
    anything on the host: it may only read and write tensors that stay where they are.
    """
    if device.type != "cuda":
        tasks = list(itertools.chain(*stages))
        return lambda: [task() for task in tasks]
    own, *branches = (
        torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        for _ in range(1 + min(BRANCHES, max(map(len, stages))))
    )
    # On the very streams of the recording: libraries get their workspaces here, and not in the graph's memory.
    own.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(own):
        _side_by_side(stages, branches)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as NCCL's, may go on asking for the state of their own work.
    with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
        _side_by_side(stages, branches)
    return graph.replay


def _side_by_side(stages: Sequence[Sequence[Operation]], branches: Sequence[torch.cuda.Stream]) -> None:
    """Put the tasks of each stage on branches of the current stream, and join them."""
    main = torch.cuda.current_stream()
    for stage in stages:
        if len(stage) == 1:
            stage[0]()
            continue
        used = branches[: len(stage)]
        for branch in used:
            branch.wait_stream(main)
        for index, task in enumerate(stage):
            with torch.cuda.stream(used[index % len(used)]):
                task()
        for branch in used:
            main.wait_stream(branch)
