"""Horovod as its examples show it: DistributedSampler, DistributedOptimizer, broadcast at the start."""

import horovod.torch as hvd
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from benchmarks.programs import common


def main() -> None:
    """Train and report."""
    wanted = common.arguments()
    hvd.init()
    common.torch_threads()
    train, test_x, test_y = common.torch_sets(common.arrays())
    sampler: DistributedSampler[int] = DistributedSampler(train, num_replicas=hvd.size(), rank=hvd.rank())
    loader = DataLoader(train, batch_size=wanted.batch_size // hvd.size(), sampler=sampler)
    model = common.network(wanted.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=common.LEARNING_RATE)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())

    def epoch(number: int) -> None:
        sampler.set_epoch(number)
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    seconds = common.timed(wanted.epochs, epoch)
    if hvd.rank() == 0:
        common.report(seconds, len(train), common.accuracy_of(model, test_x, test_y))
    hvd.shutdown()


if __name__ == "__main__":
    main()
