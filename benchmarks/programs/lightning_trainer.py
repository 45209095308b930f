"""Lightning's Trainer with DDP over Gloo; progress, logs and checkpoints off."""

import importlib.metadata
import logging
import os
import sys
import time
import warnings
from typing import Any


def hide(package: str) -> None:
    """Let nothing in this process find a package."""
    version = importlib.metadata.version

    def hidden(name: str) -> str:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    importlib.metadata.version = hidden
    sys.modules[package] = None  # type: ignore[assignment]


# Lightning's metrics load it where they find it, and one that does not fit this torch then ends the program.
hide("torchvision")
# An MPI that cannot be loaded from here is looked for in vain, with messages.
hide("mpi4py")

import lightning  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from benchmarks.programs import common  # noqa: E402


class Classifier(lightning.LightningModule):
    """The network with its loss, and the seconds of every epoch."""

    def __init__(self, hidden: list[int]) -> None:
        super().__init__()
        self.network = common.network(hidden)
        self.seconds: list[float] = []

    def training_step(self, batch: Any, _: int) -> Any:
        """Return the loss of a batch."""
        return torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=common.LEARNING_RATE)

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.start)


def main() -> None:
    """Train and report."""
    wanted = common.arguments()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    common.torch_threads()
    train, test_x, test_y = common.torch_sets(common.arrays())
    loader = DataLoader(train, batch_size=wanted.batch_size // ranks, shuffle=True)
    model = Classifier(wanted.hidden)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=wanted.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    if trainer.is_global_zero:
        common.report(model.seconds, len(train), common.accuracy_of(model.network, test_x, test_y))


if __name__ == "__main__":
    main()
