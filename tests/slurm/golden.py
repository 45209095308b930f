"""The golden files: one command line a site. ``python -m tests.slurm.golden`` writes them anew."""

import contextlib
import io
import sys
from pathlib import Path

from ptrain import cli
from ptrain.slurm import site as slurm_site

FOLDER = Path(__file__).parent / "golden"
TRAIN = ["--data", "data/train.npz", "--hidden", "256", "128", "--epochs", "50", "--run-dir", "runs/first"]
LINES = {
    "generic-cpu": ["--nodes", "2", "--venv", "/project/env", "--", *TRAIN],
    "generic-gpu": [
        "--nodes", "2", "--ranks-per-node", "4", "--image", "/project/ptrain.sif", "--", *TRAIN, "--device", "cuda",
    ],
    "juwels-booster": ["--nodes", "2", "--account", "prj", "--venv", "/p/project/prj/env", "--", *TRAIN],
    "jureca-dc": ["--account", "prj", "--partition", "dc-gpu-devel", "--venv", "/p/project/prj/env", "--", *TRAIN],
    "lumi-g": ["--nodes", "2", "--account", "project_1", "--image", "ptrain.sif", "--", *TRAIN, "--shards", "16"],
    "leonardo-booster": [
        "--account", "prj", "--venv", "/leonardo/env", "--requeue", "successor",
        "--sweep", "lr=0.1,0.01", "--sweep", "hidden=128,256x128", "--array", "%2", "--", *TRAIN, "--validation", "0.1",
    ],
    "perlmutter": ["--nodes", "2", "--account", "m1_g", "--module", "pytorch", "--time", "02:00:00", "--", *TRAIN],
    "frontier": [
        "--account", "prj", "--venv", "/lustre/env.tar.gz", "--sbatch", "constraint=nvme",
        "--", *TRAIN, "--backend", "torch", "--device", "cuda",
    ],
    "marenostrum5-acc": [
        "--account", "prj", "--launcher", "mpirun", "--module", "openmpi", "--no-preflight", "--", *TRAIN,
    ],
}  # fmt: skip
"""Every site, each with other features of the template."""


def rendered(*words: str) -> str:
    """Return what ``ptrain slurm render`` prints; an error ends in AssertionError."""
    argv, before = ["slurm", "render", *words], sys.argv
    out = io.StringIO()
    try:
        sys.argv = ["ptrain", *argv]
        with contextlib.redirect_stdout(out):
            code = cli.main(argv)
    finally:
        sys.argv = before
    assert code == 0
    return out.getvalue()


def of_site(site: str) -> str:
    """Return the script of a site for its line above."""
    return rendered("--site", site, *LINES[site])


if __name__ == "__main__":
    for name in slurm_site.names():
        (FOLDER / f"{name}.sh").write_text(of_site(name), encoding="utf-8")
