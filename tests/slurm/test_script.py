"""What the job's shell does with each exit code, run with programs that only note how they are called."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.slurm import golden

NOTE = '#!/bin/bash\nprintf "%s\\n" "$(basename "$0") $*" >>"$CALLS"\n'
PROGRAMS = {
    "srun": 'case " $* " in *" true ") exit "$NODES" ;; *" doctor "*) exit "$PREFLIGHT" ;; esac\n'
    '[ -z "$SLOW" ] || { touch started; trap "kill \\$!; exit 75" USR1; sleep 20 & wait $!; }\nexit "$TRAIN"',
    "squeue": 'echo "$STATE"',
    "scontrol": 'exit "$SCONTROL"',
    "sbatch": 'echo "${PTRAIN_RESTARTS}" >>"$CALLS"; [ "$SBATCH" = 0 ] && echo "99;cluster"; exit "$SBATCH"',
    "getent": "exit 0",
    "ptrain": "exit 0",
    "sleep": 'exec /bin/sleep "$(( $1 > 100 ? 0 : $1 ))"',
}
SITUATION = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "2",
    "SLURM_CPUS_PER_TASK": "1", "SLURMD_NODENAME": "n1", "NODES": "0", "PREFLIGHT": "0", "TRAIN": "0", "SLOW": "",
    "STATE": "RUNNING", "SCONTROL": "0", "SBATCH": "0",
}  # fmt: skip


class Job:
    """A job script with its programs."""

    def __init__(self, folder: Path, *words: str, without: str = "") -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        for name, body in PROGRAMS.items():
            if name != without:
                (programs / name).write_text(f"{NOTE}{body}\n")
                (programs / name).chmod(0o755)
        for name in ("bash", "date", "mkdir", "timeout", "hostname", "basename", "touch"):
            (programs / name).symlink_to(f"/usr/bin/{name}")
        (folder / "job.sh").write_text(golden.rendered("--site", "generic-cpu", *words))

    def start(self, **changes: str) -> "subprocess.Popen[str]":
        calls = {"CALLS": str(self.folder / "calls"), "PATH": str(self.folder / "bin"), "HOME": "/"}
        return subprocess.Popen(
            ["/bin/bash", "job.sh"],
            cwd=self.folder,
            env={**SITUATION, **calls, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **changes: str) -> tuple[int, str]:
        process = self.start(**changes)
        out, _ = process.communicate(timeout=30)
        return process.returncode, out

    def calls(self, program: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.split()[0] == program]


def test_a_run_that_ends_well(tmp_path: Path) -> None:
    job = Job(tmp_path)
    code, out = job.run()
    assert (code, out.splitlines()[-1].endswith("job 7: done")) == (0, True)
    preflight, train = job.calls("srun")
    assert " doctor --preflight --expect-ranks 2 --shared-folder runs/ptrain" in preflight
    assert train.endswith(" train --resume auto --run-dir runs/ptrain --threads 1")
    assert not job.calls("scontrol")


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"TRAIN": "75"}, 75, "stopped at a step boundary, checkpoint written; requeued, restart 1 of at most 20"),
        ({"TRAIN": "75", "SLURM_RESTART_COUNT": "3"}, 75, "requeued, restart 4 of at most 20"),
        ({"TRAIN": "75", "SLURM_RESTART_COUNT": "20"}, 75, "restarted 20 times, which is the limit (--max-restarts)"),
        ({"SLURM_RESTART_COUNT": "21"}, 2, "restarted 21 times, more than 20: stopped for good"),
        ({"TRAIN": "75", "STATE": "CANCELLED"}, 75, "Slurm says CANCELLED, so the job is not requeued from here"),
        ({"TRAIN": "75", "STATE": "COMPLETING"}, 75, "Slurm says COMPLETING, so the job is not requeued from here"),
        ({"TRAIN": "75", "STATE": ""}, 75, "requeued, restart 1 of at most 20"),
        ({"TRAIN": "75", "SCONTROL": "1"}, 75, "; job 99 goes on, restart 1 of at most 20"),
        ({"TRAIN": "75", "SCONTROL": "1", "SBATCH": "1"}, 75, "Slurm refused to requeue it: submit it again to go on"),
        ({"TRAIN": "1"}, 1, "ended with exit code 1; not requeued; the reason is above"),
        ({"TRAIN": "2", "NODES": "1"}, 2, "ended with exit code 2; not requeued; the reason is above"),
        ({"TRAIN": "3", "NODES": "1"}, 3, "ended with exit code 3; not requeued; the reason is above"),
        ({"TRAIN": "138"}, 138, "ended with exit code 138; not requeued; the reason is above"),
        ({"TRAIN": "137", "NODES": "1"}, 137, "and a node does not answer: Slurm requeues the job when it gives"),
        ({"PREFLIGHT": "143"}, 2, "the preflight failed (nothing was trained) with exit code 143; not requeued"),
    ],
)
def test_what_each_exit_code_leads_to(changes: dict[str, str], code: int, told: str, tmp_path: Path) -> None:
    job = Job(tmp_path)
    returned, out = job.run(**changes)
    assert (returned, told in out.splitlines()[-1]) == (code, True), out
    assert bool(job.calls("scontrol") if (tmp_path / "calls").exists() else []) == (
        "requeued, restart" in told or "SCONTROL" in changes
    )


def test_without_scontrol_on_the_node_a_successor_goes_on(tmp_path: Path) -> None:
    job = Job(tmp_path, without="scontrol")
    _, out = job.run(TRAIN="75", PTRAIN_RESTARTS="4")
    assert "; job 99 goes on, restart 5 of at most 20" in out
    assert job.calls("sbatch") == ["sbatch --parsable --dependency=afterany:7 job.sh"]
    assert "\n5\n" in (tmp_path / "calls").read_text()
    assert (tmp_path / "runs" / "ptrain" / "slurm.jobs").read_text() == "99\n"


def test_a_task_of_a_sweep_requeues_itself_only(tmp_path: Path) -> None:
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    job = Job(tmp_path, "--sweep", "lr=0.1,0.2", "--requeue", "successor")
    _, out = job.run(TRAIN="75", **array)
    assert "job 7_1: stopped" in out
    assert job.calls("sbatch") == ["sbatch --parsable --dependency=afterany:7_1 --array=1 job.sh"]
    assert job.calls("srun")[-1].endswith("--run-dir runs/ptrain/1-lr=0.2 --threads 1 --lr 0.2")


def test_requeue_off_and_a_lost_node_with_a_successor(tmp_path: Path) -> None:
    for name in ("off", "successor"):
        (tmp_path / name).mkdir()
    code, out = Job(tmp_path / "off", "--requeue", "off").run(TRAIN="75")
    assert (code, "requeue is off (--requeue): submit it again to go on" in out) == (75, True)
    job = Job(tmp_path / "successor", "--requeue", "successor")
    code, out = job.run(TRAIN="137", NODES="1")
    assert "ended with exit code 137, and a node does not answer; job 99 goes on" in out


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_signals_reach_the_ranks_and_their_exit_code_is_not_lost(number: signal.Signals, tmp_path: Path) -> None:
    job = Job(tmp_path, "--no-preflight")
    process = job.start(SLOW="yes")
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert "stopped at a step boundary, checkpoint written; requeued, restart 1 of at most 20" in out
    assert process.returncode == 75
