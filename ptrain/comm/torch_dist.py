"""Communication through torch.distributed: Gloo between CPUs, NCCL between GPUs."""

import os
import socket
import stat
import zlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import FileStore, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from ptrain.comm.base import Communicator, Op, RankInfo, check_world
from ptrain.errors import LaunchError, os_error_as
from ptrain.launch.env import first_host

# Ranks of one job start within seconds of each other; after this one of them is missing.
RENDEZVOUS = timedelta(seconds=120)
# The longest that one rank may wait for another within a run, such as for its first read from a slow file system.
EXCHANGE = timedelta(minutes=30)


class TorchCommunicator(Communicator):
    """The default process group of torch.distributed. Raises LaunchError where the ranks cannot find each other."""

    name = "torch"

    def __init__(self, info: RankInfo, device: torch.device, environ: Mapping[str, str] = os.environ) -> None:
        backend = "nccl" if device.type == "cuda" else "gloo"
        if not dist.is_available() or (backend == "nccl" and not dist.is_nccl_available()):
            raise LaunchError(f"--backend torch: this torch was built without {backend}; choose --backend mpi")
        if info.local_size == info.size:
            loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
            if loopback is not None:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        address = plan_rendezvous(info, environ)
        self._file = address if isinstance(address, Path) else None
        try:
            store = _open(address, info, environ)
            dist.init_process_group(
                backend,
                store=store,
                rank=info.rank,
                world_size=info.size,
                timeout=EXCHANGE,
                device_id=device if backend == "nccl" else None,
            )
        except (RuntimeError, ValueError) as error:  # torch's DistError is a RuntimeError
            reason = str(error).strip().splitlines()[0]
            raise LaunchError(
                f"--backend torch: the {info.size} ranks did not find each other ({reason}); check MASTER_ADDR and "
                "MASTER_PORT, and GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME where hosts have several networks"
            ) from None
        check_world(info, self.name, dist.get_rank(), dist.get_world_size(), "unset stale RANK and WORLD_SIZE")
        self._ops = {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
        self._device = device if backend == "nccl" else torch.device("cpu")
        # torch 2.13 renamed the second to the first.
        self._gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        self.info = info

    def _all_reduce(self, tensor: torch.Tensor, op: Op) -> None:
        dist.all_reduce(tensor, self._ops[op])

    def _all_to_all(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        dist.all_to_all_single(_movable(out), _movable(tensor))

    def _all_gather(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        self._gather(_movable(out), _movable(tensor))

    def _broadcast(self, tensor: torch.Tensor, root: int) -> None:
        dist.broadcast(_movable(tensor), root)

    def barrier(self) -> None:
        """See Communicator."""
        # A sum instead of dist.barrier(), which under NCCL guesses the device.
        dist.all_reduce(torch.zeros(1, device=self._device))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """See Communicator."""
        self.barrier()
        dist.destroy_process_group()
        if self._file is not None and self.info.rank == 0:
            self._file.unlink(missing_ok=True)

    def _near(self, tensor: torch.Tensor, *, filled: bool = True) -> torch.Tensor:
        return tensor.to(self._device)  # NCCL takes only memory of its GPU


def plan_rendezvous(info: RankInfo, environ: Mapping[str, str]) -> Path | tuple[str, int]:
    """The address of the rendezvous: a file where all ranks are on one host, else host and port of rank 0.

    Pure: nothing is opened or looked up. Raises LaunchError where it does not follow from the variables.
    """
    if environ.get("MASTER_ADDR"):
        return environ["MASTER_ADDR"], _port(info, environ)
    if info.local_size == info.size and info.job_id:
        # The launcher's own folder ends with the job. A name left over from a killed job would mislead a later one.
        folder = environ.get("PMIX_SERVER_TMPDIR") or f"{environ.get('TMPDIR') or '/tmp'}/ptrain-{os.getuid()}"  # noqa: S108
        return Path(folder) / f"rendezvous-{zlib.crc32(info.job_id.encode()):08x}"
    if info.size == 1:
        return "localhost", 0
    if info.launcher == "slurm":
        nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
        return first_host(nodes), _port(info, environ)
    raise LaunchError(
        f"--backend torch: {info.launcher} started {info.size} ranks, but nothing says where they meet; set "
        "MASTER_ADDR to the host of rank 0 and MASTER_PORT to a free port there, the same on all ranks"
    )


def _port(info: RankInfo, environ: Mapping[str, str]) -> int:
    """MASTER_PORT, or a port that follows from the job, below those that systems give out by themselves."""
    text = environ.get("MASTER_PORT")
    if not text:
        return 10_000 + zlib.crc32(info.job_id.encode()) % 20_000
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise LaunchError(f"MASTER_PORT is {text}: expected a port number from 1 to 65535")
    return int(text)


def _open(address: Path | tuple[str, int], info: RankInfo, environ: Mapping[str, str]) -> Store:
    if isinstance(address, Path):
        _make_private(address.parent)
        return FileStore(str(address), info.size)
    host, port = address
    fix = "set MASTER_ADDR to a name or address that every node can reach"
    with os_error_as(LaunchError, f"--backend torch: the host of rank 0, {host}, cannot be resolved", fix):
        socket.getaddrinfo(host, port)
    # torchrun's agent serves the store at this address already.
    serves = info.rank == 0 and environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = TCPStore(host, port, info.size, serves, timeout=RENDEZVOUS)
    return PrefixStore(f"ptrain/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _make_private(folder: Path) -> None:
    """Make a folder that no other user can write to; raises LaunchError where somebody else was there first."""
    with os_error_as(LaunchError, f"--backend torch: {folder} cannot be used", "set TMPDIR"):
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise LaunchError(f"--backend torch: {folder} is not a private folder of yours; remove it or set TMPDIR")


def _movable(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a vector of a type that Gloo and NCCL can move: neither knows int16."""
    return tensor.view(-1).view(torch.uint8) if tensor.itemsize <= 2 else tensor.view(-1)
