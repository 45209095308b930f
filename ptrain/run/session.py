"""What train, evaluate and predict share: the ranks, the device, and data that all ranks agree on."""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from ptrain.comm.base import Communicator
from ptrain.comm.select import create
from ptrain.config import DataConfig, RunConfig
from ptrain.console import Console
from ptrain.data.checks import check, class_counts
from ptrain.data.fingerprint import combine_fingerprints, fingerprint_blocks
from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Split
from ptrain.data.scale_warnings import foreign
from ptrain.data.scenes.notes import warnings
from ptrain.data.seen import Seen, look_at_part, merged
from ptrain.data.sources.load import load
from ptrain.data.store import cache
from ptrain.data.store.stream import Stream
from ptrain.errors import InputError, LaunchError, PtrainError
from ptrain.launch.env import RankInfo, detect

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Session:
    """What one rank works with: its communicator, its console, its device."""

    comm: Communicator
    console: Console
    device: torch.device
    threads: int

    @property
    def is_root(self) -> bool:
        """Whether this rank writes the files of the run."""
        return self.comm.info.rank == 0

    def owned(self, number: int) -> range:
        """Which of that many parts of a piece of work are this rank's."""
        return owned_shards(number, self.comm.info.size, self.comm.info.rank)

    def agreed(self, task: Callable[[], T]) -> T:
        """Run ``task`` on every rank and return its result; where it fails on any rank, fail alike on all ranks.

        Only InputError is agreed upon: anything else is a defect and ends the job from the rank that met it.

        Raises InputError of the class of the first rank that failed; the message names the rank unless all failed.
        """
        # Nothing may be raised before the gathering below: the other ranks would wait there for ever.
        failure = result = None
        try:
            result = task()
        except InputError as error:
            failure = type(error), str(error)
        failures = self.comm.all_gather_object((failure, self.comm.info.host))
        failed = [(rank, f, host) for rank, (f, host) in enumerate(failures) if f is not None]
        if failed:
            rank, (kind, message), host = failed[0]
            if len(failed) < len(failures):
                message = f"rank {rank} on {host}: {message}"
            raise kind(message, agreed=True)
        return result  # type: ignore[return-value]

    @contextmanager
    def watch(self, stream: Stream) -> Iterator[Callable[[int], None] | None]:
        """Show how far the conversion of a stream is. Any rank may be the one that converts, the others wait for it."""
        console = Console(stream=self.console.stream)
        console.say(f"converting {stream.name} into the cache {cache.root()}")
        if stream.num_samples is None:
            yield None
            return
        with console.progress(stream.num_samples, "converting", "samples") as progress:
            yield progress.update

    def warn_if_foreign(self, origin: str, mine: list[Seen], known: Seen | None, names: Sequence[str] | None) -> None:
        """Warn where samples are on another scale than the training data, of which ``known`` was seen.

        mine: what this rank saw of the samples; every rank calls it.
        """
        if known is None:
            return
        parts = [one for rank in self.comm.all_gather_object(mine) for one in rank]
        text = foreign(known, merged(parts, len(parts[0].low)), names) if parts else None
        if text is not None:
            self.console.warn(f"{origin}: {text}")

    def look_at(self, split: Split) -> list[Seen]:
        """What this rank's share of a split holds."""
        return look_at_part(split, self.comm.info.rank, self.comm.info.size)

    def from_root(self, task: Callable[[], T]) -> T:
        """Run ``task`` on rank 0 and return its result on every rank; fail alike on all ranks."""
        result = self.agreed(lambda: task() if self.is_root else None)
        return self.comm.broadcast_object(result)  # type: ignore[no-any-return]


@contextmanager
def open_session(run: RunConfig, *, quiet: bool = False, environ: Mapping[str, str] = os.environ) -> Iterator[Session]:
    """Start the backend and yield this rank's session; leave in good order, also on an error all ranks agree on.

    With ``quiet`` nothing but warnings and errors is printed.
    """
    info = detect(environ)
    console = Console(rank=info.rank, stream=io.StringIO() if quiet else None)
    device = pick_device(run.device, info)
    comm = create(run.backend, info, device, console.say)
    session = Session(comm=comm, console=console, device=device, threads=run.threads or default_threads(info, environ))
    try:
        yield session
    except PtrainError as error:
        # To close is collective as well. After an error of one rank alone the launcher ends the others.
        if error.agreed:
            comm.close()
        raise
    comm.close()


def pick_device(name: str, info: RankInfo) -> torch.device:
    """The device of a rank: with CUDA the GPU of its local rank.

    Raises LaunchError where cuda was asked for and there is no GPU, or more ranks on this host than GPUs.
    """
    count = torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0
    if name == "cuda" and count == 0:
        raise LaunchError(
            f"--device cuda: no CUDA GPU is visible on {info.host} (torch {torch.__version__}); expected one a rank; "
            "use --device cpu, or a CUDA build of torch on a GPU node"
        )
    if count == 0:
        return torch.device("cpu")
    # A launcher that shows each rank only its own GPU leaves one, with index 0, to every rank.
    if info.local_rank >= count and count != 1:
        raise LaunchError(
            f"{info.local_size} ranks on {info.host} with {count} GPUs: expected at most one rank a GPU; "
            "start fewer ranks a node or use --device cpu"
        )
    device = torch.device("cuda", info.local_rank % count)
    torch.cuda.set_device(device)
    return device


def default_threads(info: RankInfo, environ: Mapping[str, str]) -> int:
    """The threads of a rank: Slurm's cores a task, or this host's usable cores shared out over its ranks."""
    per_task = environ.get("SLURM_CPUS_PER_TASK", "")
    if info.launcher == "slurm" and per_task.isdecimal():
        return max(1, int(per_task))
    return max(1, len(os.sched_getaffinity(0)) // info.local_size)


def load_data(
    session: Session,
    config: DataConfig,
    seed: int,
    class_names: tuple[str, ...] | None = None,
    schema: Mapping[str, Any] | None = None,
) -> tuple[DataSet, str]:
    """Read, check and fingerprint the data, each rank its part of the work. Returns the data set and its SHA-256.

    ``class_names`` and ``schema`` are those of a trained network that is to be evaluated on the data.

    Raises DataError on every rank alike, naming the rank where only some could not read.
    """
    part, parts = session.comm.info.rank, session.comm.info.size
    dataset = session.agreed(lambda: load(config, seed, schema=schema, class_names=class_names, watch=session.watch))
    session.console.tell(dataset.notes, dataset.warnings)
    if class_names is not None:
        dataset = replace(dataset, class_names=class_names, num_classes=len(class_names))
    session.agreed(lambda: check(dataset, part, parts, training=class_names is None))
    if class_names is None:
        for text in warnings(dataset, config):
            session.console.warn(text)
        counts = sum(session.comm.all_gather_object(class_counts(dataset.train, dataset.num_classes, part, parts)))
        absent = [dataset.class_names[number] for number in np.flatnonzero(counts == 0)]
        if absent:
            named = ", ".join(absent[:10]) + ", ..." * (len(absent) > 10)
            session.console.warn(f"no training sample is of class {named}: it cannot be learned")
    blocks = session.comm.all_gather_object(fingerprint_blocks(dataset, part, parts))
    return dataset, combine_fingerprints(blocks)
