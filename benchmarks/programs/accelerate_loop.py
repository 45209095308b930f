"""Hugging Face Accelerate: its prepare() around the usual loop, on one process or several."""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from benchmarks.programs import common


def main() -> None:
    """Train and report."""
    wanted = common.arguments()
    accelerator = Accelerator(cpu=True)
    common.torch_threads()
    train, test_x, test_y = common.torch_sets(common.arrays())
    loader = DataLoader(train, batch_size=wanted.batch_size // accelerator.num_processes, shuffle=True)
    model = common.network(wanted.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=common.LEARNING_RATE)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    def epoch(_: int) -> None:
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
            optimizer.step()

    seconds = common.timed(wanted.epochs, epoch)
    if accelerator.is_main_process:
        accuracy = common.accuracy_of(accelerator.unwrap_model(model), test_x, test_y)
        common.report(seconds, len(train), accuracy)
    accelerator.end_training()


if __name__ == "__main__":
    main()
