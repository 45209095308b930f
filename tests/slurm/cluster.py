"""A real Slurm on this machine for the tests: start it, submit to it, wait for jobs."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.ranks import ROOT, clean_environment, kill_tree

PTRAIN = Path(sys.executable).with_name("ptrain")
TINY = ["--no-report", "--data", "digits", "--hidden", "16", "--optimizer", "sgd", "--batch-size", "256"]
NEEDED = ("slurmctld", "slurmd", "sbatch", "srun", "munged")


class Cluster:
    """A running cluster of the nodes n1 to n4."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return what people have on a login node: Slurm's configuration and the virtual environment on PATH."""
        path = f"{PTRAIN.parent}:{os.environ['PATH']}:/usr/sbin"
        return clean_environment({"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path, **(extra or {})})

    def call(self, *command: str, cwd: Path = ROOT, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program with the environment of a login node."""
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            kill_tree(process.pid)
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def slurm(self, *words: str, cwd: Path) -> str:
        """Run ``ptrain slurm`` and return its output; fails where it fails."""
        done = self.call(str(PTRAIN), "slurm", *words, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *words: str, cwd: Path) -> str:
        """Submit a job through ``ptrain slurm submit`` and return its number."""
        site = [] if "--site" in words else ["--site", "generic-cpu"]
        out = self.slurm("submit", *site, "--venv", str(PTRAIN.parent.parent), "--time", "5", *words, cwd=cwd)
        match = re.search(r"^job (\d+) submitted", out, re.MULTILINE)
        assert match is not None, out
        return match[1]

    def show(self, job: str) -> dict[str, str]:
        """Return what Slurm says of a job."""
        done = self.call("scontrol", "--oneliner", "show", "job", job, timeout=20)
        return dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", done.stdout))

    def wait(self, job: str, log: Path, seconds: float) -> dict[str, str]:
        """Wait until a job has ended and return what Slurm says of it; at the limit cancel it and show its log."""

        def ended() -> bool:
            return self.show(job).get("JobState") in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

        self.until(ended, log, seconds, job)
        return self.show(job)

    def until(self, condition: Callable[[], bool], log: Path, seconds: float, job: str) -> None:
        """Wait for a condition; at the limit cancel the job and fail with its log."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                state = self.show(job)
                self.call("scancel", job, timeout=20)
                text = log.read_text(errors="replace") if log.exists() else "(no log)"
                raise AssertionError(f"job {job} after {seconds} s: {state}\n{text[-4000:]}")
            time.sleep(0.1)


@contextlib.contextmanager
def running(*options: str) -> Iterator[Cluster]:
    """Start a cluster, and stop it with everything it started."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    assert not missing, (
        f"the tests need a Slurm ({', '.join(missing)} missing): scripts/setup --dev installs it for root"
    )
    folder = Path(tempfile.mkdtemp(prefix="ptrain-slurm-"))
    script = str(ROOT / "scripts" / "slurm-cluster")
    done = subprocess.run([script, "start", str(folder), *options], capture_output=True, text=True, timeout=90)
    try:
        assert done.returncode == 0, done.stderr
        yield Cluster(folder)
    finally:
        subprocess.run([script, "stop", str(folder)], timeout=60, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def evaluation(run_dir: Path) -> dict[str, Any]:
    """Return evaluation.json of a finished run."""
    found: dict[str, Any] = json.loads((run_dir / "evaluation.json").read_text())
    return found


def trained_alone(folder: Path, *words: str) -> str:
    """Train on one rank without Slurm and return the SHA-256 of the parameters."""
    command = [str(PTRAIN), "train", *words, "--run-dir", "alone"]
    done = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return str(evaluation(folder / "alone")["parameters_sha256"])


def epochs_done(run_dir: Path) -> int:
    """Return the number of epochs that a run has recorded."""
    path = run_dir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def slurmd_of(cluster: Cluster, node: str) -> int:
    """Return the process id of a node's slurmd."""
    return int((cluster.folder / "pid" / f"{node}.pid").read_text())
