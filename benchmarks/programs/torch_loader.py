"""The usual torch loop with a DataLoader, one process with all cores."""

import torch
from torch.utils.data import DataLoader

from benchmarks.programs import common


def main() -> None:
    """Train and report."""
    wanted = common.arguments()
    common.torch_threads()
    train, test_x, test_y = common.torch_sets(common.arrays())
    loader = DataLoader(train, batch_size=wanted.batch_size, shuffle=True)
    model = common.network(wanted.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=common.LEARNING_RATE)

    def epoch(_: int) -> None:
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    common.report(common.timed(wanted.epochs, epoch), len(train), common.accuracy_of(model, test_x, test_y))


if __name__ == "__main__":
    main()
