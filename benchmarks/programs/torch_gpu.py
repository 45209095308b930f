"""The plain torch loop on one GPU with the data on it: as it is, compiled, or as one CUDA graph a step."""

import argparse
from collections.abc import Callable

import torch

from benchmarks.programs import common

WAYS = ("eager", "compile", "graph")


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=WAYS, default="eager")
    wanted = common.arguments(parser)
    x, y, test_x, test_y = (torch.from_numpy(part).cuda() for part in common.arrays())
    model = common.network(wanted.hidden).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=common.LEARNING_RATE)
    index = torch.zeros(wanted.batch_size, dtype=torch.int64, device="cuda")
    network = torch.compile(model, mode="reduce-overhead") if wanted.way == "compile" else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        torch.nn.functional.cross_entropy(network(x[index]), y[index]).backward()
        optimizer.step()

    run = captured(step) if wanted.way == "graph" else step
    # Whole batches only: a graph has one shape.
    steps = len(x) // wanted.batch_size

    def epoch(_: int) -> None:
        order = torch.randperm(len(x), device="cuda")
        for number in range(steps):
            index.copy_(order[number * wanted.batch_size : (number + 1) * wanted.batch_size])
            run()
        torch.cuda.synchronize()

    common.report(
        common.timed(wanted.epochs, epoch), steps * wanted.batch_size, common.accuracy_of(model, test_x, test_y)
    )


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return a step as one CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        step()
    return graph.replay


if __name__ == "__main__":
    main()
