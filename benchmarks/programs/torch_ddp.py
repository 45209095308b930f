"""torch's DistributedDataParallel over Gloo, with DistributedSampler."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from benchmarks.programs import common


def main() -> None:
    """Train and report."""
    wanted = common.arguments()
    dist.init_process_group("gloo")
    common.torch_threads()
    train, test_x, test_y = common.torch_sets(common.arrays())
    sampler: DistributedSampler[int] = DistributedSampler(train)
    loader = DataLoader(train, batch_size=wanted.batch_size // dist.get_world_size(), sampler=sampler)
    model = DistributedDataParallel(common.network(wanted.hidden))
    optimizer = torch.optim.SGD(model.parameters(), lr=common.LEARNING_RATE)

    def epoch(number: int) -> None:
        sampler.set_epoch(number)
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    seconds = common.timed(wanted.epochs, epoch)
    if dist.get_rank() == 0:
        common.report(seconds, len(train), common.accuracy_of(model.module, test_x, test_y))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
