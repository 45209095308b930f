"""What every rank of the conformance suite does: call each method of each backend, write what came back as JSON.

Arguments: backends, one after the other in one world; folder for the results; ``close`` or ``abort``: how to leave.
"""

import hashlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ptrain.comm.base import Communicator, Op
from ptrain.comm.select import create
from ptrain.launch.env import detect
from ptrain.sums.ordered import OrderedSum, merge_

DTYPES = (torch.float32, torch.float64, torch.int64, torch.uint8)
OPS: tuple[Op, ...] = ("sum", "min", "max")
SHARDS = (3, 4, 5, 8, 11)
LENGTH = 1001


def leaf(shard: int) -> torch.Tensor:
    """Return one shard's vector, with exponents far apart so that the order of a sum shows in its bits."""
    generator = torch.Generator().manual_seed(shard)
    mantissas = torch.randn(LENGTH, generator=generator)
    return mantissas * 2.0 ** torch.randint(-30, 30, (LENGTH,), generator=generator)


def ordered_sum(comm: Communicator, shards: int) -> str:
    """Return the hash of the ordered sum over all leaves, called twice to see that buffers carry nothing over."""
    size, rank = comm.info.size, comm.info.rank
    owners = [range(r * shards // size, (r + 1) * shards // size) for r in range(size)]
    reduce = OrderedSum(comm, owners, LENGTH)
    digests = set()
    for length in (LENGTH, reduce.padded_length):
        rows = torch.full((len(owners[rank]), length), float("nan"))
        for row, shard in zip(rows, owners[rank], strict=True):
            row[:LENGTH] = leaf(shard)
        pieces = merge_(((shard, 1, row) for row, shard in zip(rows, owners[rank], strict=True)), shards)
        digests.add(hashlib.sha256(reduce(pieces).numpy().tobytes()).hexdigest())
    assert len(digests) == 1
    return digests.pop()


def body(comm: Communicator) -> dict[str, Any]:
    """Call every method and return what came back."""
    rank, size = comm.info.rank, comm.info.size
    seen: dict[str, Any] = {"info": asdict(comm.info), "name": comm.name}
    for dtype in DTYPES:
        for op in OPS:
            tensor = torch.tensor([[rank + 1, 3], [5 - rank, 2 * rank]], dtype=dtype)
            result = comm.all_reduce_(tensor, op)
            assert result is tensor
            seen[f"all_reduce {dtype} {op}"] = tensor.tolist()
    for dtype in (*DTYPES, torch.bfloat16):
        rows = torch.arange(size * 3).view(size, 3).add(10 * rank).to(dtype)
        seen[f"all_to_all {dtype}"] = comm.all_to_all(rows).tolist()
        seen[f"all_gather {dtype}"] = comm.all_gather(rows[0]).tolist()
        seen[f"broadcast {dtype}"] = comm.broadcast_(rows.clone(), size - 1).tolist()
        for method in (comm.all_to_all, comm.all_gather):
            tensor = rows if method == comm.all_to_all else rows[0]
            out = torch.zeros((size, 3), dtype=dtype)
            assert method(tensor, out=out) is out
            seen[f"{method.__name__} out {dtype}"] = out.tolist()
    scalar, empty = torch.tensor(rank + 0.5), torch.empty(0, 4)
    seen["0-dim"] = [comm.all_gather(scalar).tolist(), comm.broadcast_(scalar.clone()).tolist()]
    seen["0-dim"].append(comm.all_reduce_(scalar).tolist())
    shapes = [comm.all_reduce_(empty), comm.all_gather(empty), comm.all_to_all(torch.empty(size, 0))]
    seen["empty"] = [list(tensor.shape) for tensor in (*shapes, comm.broadcast_(empty))]
    seen["broadcast_object"] = [comm.broadcast_object({"rank": rank, "text": "ä" * rank}, root) for root in range(size)]
    seen["gather_object"] = comm.gather_object([rank] * rank, size - 1)
    seen["all_gather_object"] = comm.all_gather_object("x" * (rank * 1000))
    seen["ordered_sum"] = {shards: ordered_sum(comm, shards) for shards in SHARDS if shards >= size}
    moment = time.time()
    if rank == 0:
        time.sleep(0.3)
        moment = time.time()
    comm.barrier()
    seen["barrier"] = [moment, time.time()]
    return seen


def main() -> None:
    """Run the body on every backend and leave."""
    backends, folder, leaving = sys.argv[1:]
    torch.set_num_threads(1)
    comms = []
    for backend in backends.split(","):
        lines: list[str] = []
        comm = create(backend, detect(os.environ), torch.device("cpu"), lines.append)
        comms.append(comm)
        seen = body(comm) | {"said": lines}
        (Path(folder) / f"{backend}-{comm.info.rank}.json").write_text(json.dumps(seen))
    if leaving == "close":
        for comm in reversed(comms):  # MPI last: Horovod runs on the MPI that it ends
            comm.close()
        return
    comm.barrier()
    if comm.info.rank == comm.info.size - 1:
        print(f"rank {comm.info.rank} leaves", flush=True)
        comm.abort(3)
    time.sleep(600)


if __name__ == "__main__":
    main()
