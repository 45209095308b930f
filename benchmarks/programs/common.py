"""What every program shares: the job's numbers, the data, the torch network, and the line that it prints."""

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]

LEARNING_RATE = 0.01
CLASSES = 10


def arguments(parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """Return hidden widths, global batch size and epochs, and what ``parser`` knows besides."""
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    return parser.parse_args()


def arrays() -> Arrays:
    """Return Fashion-MNIST in memory: features (N, 784) from 0 to 1 and labels (N,), training, then test."""
    from ptrain.data.sources import fashion_mnist

    source = fashion_mnist.open_fashion_mnist()
    assert source.test is not None
    found: list[Any] = []
    for samples in (source.train, source.test):
        found += [np.asarray(samples.features, np.float32) / np.float32(255), np.asarray(samples.labels, np.int64)]
    return tuple(found)  # type: ignore[return-value]


def report(epoch_seconds: Iterable[float], samples: int, accuracy: float) -> None:
    """Print the line of the program; of several ranks the first prints it."""
    print(json.dumps({"samples_per_second": [samples / seconds for seconds in epoch_seconds], "accuracy": accuracy}))


def timed(epochs: int, epoch: Callable[[int], None]) -> list[float]:
    """Do the epochs and return the seconds of each."""
    seconds = []
    for number in range(epochs):
        start = time.perf_counter()
        epoch(number)
        seconds.append(time.perf_counter() - start)
    return seconds


def network(hidden: list[int], features: int = 784) -> Any:
    """Return the network in torch."""
    from torch import nn

    widths = [features, *hidden, CLASSES]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def torch_sets(data: Arrays) -> tuple[Any, Any, Any]:
    """Return the training split as a data set, and features and labels of the test split."""
    import torch
    from torch.utils.data import TensorDataset

    x, y, test_x, test_y = map(torch.from_numpy, data)
    return TensorDataset(x, y), test_x, test_y


def accuracy_of(model: Any, test_x: Any, test_y: Any) -> float:
    """Return the share of test samples that a torch network gets right."""
    import torch

    with torch.no_grad():
        return float((model(test_x).argmax(1) == test_y).double().mean())


def torch_threads() -> None:
    """Let torch use one thread where there are several ranks, and all cores where there is one process."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
