"""Real jobs on a real Slurm: backends, requeue, lost nodes, cancelling, sweeps, preflight, hostile names."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.slurm.cluster import PTRAIN, TINY, Cluster, epochs_done, evaluation, running, slurmd_of, trained_alone

pytestmark = pytest.mark.alone

LIMIT = 240  # seconds for a job; two cores that others use as well
LONG = [*TINY, "--epochs", "200", "--validation", "0.1"]
"""Long enough to be met in the middle."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def short_hash(folder: Path) -> str:
    (folder / "short").mkdir()
    return trained_alone(folder / "short", *TINY, "--epochs", "2")


@pytest.fixture(scope="module")
def long_hash(folder: Path) -> str:
    (folder / "long").mkdir()
    return trained_alone(folder / "long", *LONG)


def test_the_cluster_has_four_nodes_with_names_of_their_own(cluster: Cluster) -> None:
    done = cluster.call("srun", "-N4", "--ntasks-per-node=1", "hostname")
    assert sorted(done.stdout.split()) == ["n1", "n2", "n3", "n4"], done.stderr
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, timeout=10, check=True).stdout
    ours = [line.split()[3] for line in listening.splitlines() if "slurm" in line]
    assert all(address.startswith("127.0.0.1:") for address in ours), ours


LAUNCHERS, BACKENDS = ("srun", "mpirun"), ("mpi", "horovod", "torch")
WITH_PREFLIGHT = ("srun-mpi", "mpirun-torch")


@pytest.fixture(scope="module")
def two_node_jobs(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Submit all of them at once, of which four nodes run two side by side; return their numbers."""
    jobs = {}
    for launcher in LAUNCHERS:
        for backend in BACKENDS:
            name = f"{launcher}-{backend}"
            words = ["--nodes", "2", "--ranks-per-node", "2", "--launcher", launcher]
            words += [] if name in WITH_PREFLIGHT else ["--no-preflight"]
            train = [*TINY, "--epochs", "2", "--backend", backend, "--run-dir", name]
            jobs[name] = cluster.submit(*words, "--", *train, cwd=folder)
    return jobs


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_nodes_with_two_ranks_each(
    cluster: Cluster, folder: Path, short_hash: str, two_node_jobs: dict[str, str], launcher: str, backend: str
) -> None:
    name = f"{launcher}-{backend}"
    job, run = two_node_jobs[name], folder / name
    ended = cluster.wait(job, run / "slurm.log", LIMIT)
    log = (run / "slurm.log").read_text()
    assert ended["JobState"] == "COMPLETED", log
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["world_size"], environment["backend"]) == (4, backend)
    hosts = [process["host"] for process in environment["processes"]]
    assert hosts in (["n1", "n1", "n2", "n2"], ["n3", "n3", "n4", "n4"])
    assert environment["launcher"] == {"srun": "slurm", "mpirun": "openmpi"}[launcher]
    assert evaluation(run)["parameters_sha256"] == short_hash
    assert ("preflight: 4 ranks on 2 hosts started by" in log) == (name in WITH_PREFLIGHT)
    nodes = f"n[{hosts[0][1]}-{hosts[-1][1]}]"
    assert f"job {job}: start 1 on {nodes}: 2 nodes, 4 ranks, run directory {name}" in log


def test_signal_checkpoint_requeue_resume_to_the_same_bits(cluster: Cluster, folder: Path, long_hash: str) -> None:
    # A rank finds no scontrol, as in most containers: it is the job's shell that asks for the requeue.
    site = folder / "bare.toml"
    site.write_text(f'[rank_environment]\nPATH = "{PTRAIN.parent}"\n')
    words = ["--site", str(site), "--nodes", "2", "--ranks-per-node", "1", "--no-preflight"]
    job = cluster.submit(*words, "--", *LONG, "--run-dir", "cycle", cwd=folder)
    run = folder / "cycle"
    log = run / "slurm.log"
    cluster.until(lambda: epochs_done(run) >= 1, log, LIMIT, job)
    # What --signal=B:USR1@120 does, without waiting for the time limit.
    cluster.call("scancel", "--signal=USR1", "--batch", job)
    ended = cluster.wait(job, log, LIMIT)
    text = log.read_text()
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), text
    assert [line.split(": ", 1)[1].split(" on ")[0] for line in text.splitlines() if ": start " in line] == [
        "start 1",
        "start 2",
    ]
    assert "stopped at a step boundary, checkpoint written; requeued, restart 1 of at most 20" in text
    assert "ptrain: stopped on request after step" in text
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == list(
        range(1, 201)
    )
    assert evaluation(run)["parameters_sha256"] == long_hash


def test_where_requeue_is_off_a_successor_goes_on_up_to_the_limit(
    cluster: Cluster, folder: Path, long_hash: str
) -> None:
    words = ["--ranks-per-node", "1", "--no-preflight", "--requeue", "successor", "--max-restarts", "1"]
    first = cluster.submit(*words, "--", *LONG, "--run-dir", "successor", cwd=folder)
    run = folder / "successor"
    log = run / "slurm.log"
    cluster.until(lambda: epochs_done(run) >= 1, log, LIMIT, first)
    cluster.call("scancel", "--signal=USR1", "--batch", first)
    cluster.wait(first, log, LIMIT)
    second = (run / "slurm.jobs").read_text().split()[-1]
    assert second != first, log.read_text()
    before = epochs_done(run)
    cluster.until(lambda: epochs_done(run) > before, log, LIMIT, second)
    cluster.call("scancel", "--signal=USR1", "--batch", second)
    ended = cluster.wait(second, log, LIMIT)
    text = log.read_text()
    assert ended["JobState"] == "FAILED", text
    assert f"; job {second} goes on, restart 1 of at most 1" in text
    assert (
        f"job {second}: stopped at a step boundary, checkpoint written; restarted 1 times, which is the limit" in text
    )
    assert (run / "slurm.jobs").read_text().split() == [first, second]
    # Submitted again by hand, as the log says, the run goes on to its end.
    third = cluster.submit("--ranks-per-node", "1", "--no-preflight", "--", *LONG, "--run-dir", "successor", cwd=folder)
    assert cluster.wait(third, log, LIMIT)["JobState"] == "COMPLETED"
    assert evaluation(run)["parameters_sha256"] == long_hash


def test_a_node_that_dies_in_the_middle(folder: Path, long_hash: str) -> None:
    with running("--fast-failures") as cluster:
        words = ["--nodes", "2", "--ranks-per-node", "1", "--no-preflight"]
        job = cluster.submit(*words, "--", *LONG, "--run-dir", "lost-node", cwd=folder)
        run = folder / "lost-node"
        log = run / "slurm.log"
        cluster.until(lambda: epochs_done(run) >= 1, log, LIMIT, job)
        script = Path(__file__).resolve().parents[2] / "scripts" / "slurm-cluster"
        subprocess.run([str(script), "kill-node", str(cluster.folder), "n2"], check=True, timeout=30)
        ended = cluster.wait(job, log, LIMIT)
        text = log.read_text()
        assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), text
        assert "start 1 on n[1-2]" in text
        assert re.search(r"start 2 on n(\[1,3\]|\[3-4\])", text), text
        assert evaluation(run)["parameters_sha256"] == long_hash


def test_cancel_ends_a_job_for_good(cluster: Cluster, folder: Path) -> None:
    train = [*TINY, "--epochs", "100000", "--run-dir", "cancelled"]
    job = cluster.submit("--ranks-per-node", "1", "--no-preflight", "--", *train, cwd=folder)
    run = folder / "cancelled"
    log = run / "slurm.log"
    cluster.until(lambda: epochs_done(run) >= 1, log, LIMIT, job)
    told = cluster.slurm("status", "cancelled", cwd=folder)
    assert f"job {job}: RUNNING on n1, 0 restarts" in told
    assert "RUNNING: epoch " in told
    assert "of 100000" in told
    second = cluster.call(
        str(PTRAIN), "slurm", "submit", "--site", "generic-cpu", "--venv", str(PTRAIN.parent.parent), "--",
        "--run-dir", "cancelled", cwd=folder,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"its job {job} is RUNNING; expected one job a run directory" in second.stderr
    start = time.monotonic()
    assert f"cancelled {job}" in cluster.slurm("cancel", "cancelled", cwd=folder)
    ended = cluster.wait(job, log, 30)
    assert time.monotonic() - start < 30
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    time.sleep(1)
    text = log.read_text()
    assert "requeued, restart" not in text
    assert "goes on" not in text
    assert cluster.slurm("cancel", "cancelled", cwd=folder) == "no job of cancelled waits or runs\n"
    epochs = cluster.slurm("log", "cancelled", "--lines", "200", cwd=folder)
    assert re.search(r"^ +\d+ +\d\.\d{4} ", epochs, re.MULTILINE), epochs


def test_a_sweep_is_an_array_and_is_compared_by_validation(cluster: Cluster, folder: Path) -> None:
    words = ["--ranks-per-node", "1", "--no-preflight", "--sweep", "lr=0.0001,0.3", "--sweep", "hidden=8,16x8"]
    train = [*TINY, "--epochs", "3", "--validation", "0.2", "--run-dir", "sweep"]
    job = cluster.submit(*words, "--array", "0,3%2", "--", *train, cwd=folder)
    for task in (0, 3):
        assert cluster.wait(f"{job}_{task}", folder / "sweep" / f"slurm-{task}.log", LIMIT)["JobState"] == "COMPLETED"
    rows = json.loads(cluster.slurm("status", "sweep", "--json", cwd=folder))
    assert [row["task"] for row in rows[:2]] == [3, 0]
    assert rows[0]["values"] == {"lr": "0.3", "hidden": "16x8"}
    assert rows[0]["best_validation_accuracy"] > rows[1]["best_validation_accuracy"]
    assert [row["state"] for row in rows] == ["DONE", "DONE", "NOT DONE", "NOT DONE"]
    table = cluster.slurm("status", "sweep", cwd=folder).splitlines()
    assert table[2].split()[:3] == ["3", "0.3", "16x8"]
    assert "run directory" in cluster.slurm("log", rows[0]["run_dir"], cwd=folder)
    chosen = cluster.slurm("status", rows[0]["run_dir"], cwd=folder)
    assert f"job {job}_3: COMPLETED" in chosen
    assert "DONE: epoch 3 of 3, best validation accuracy" in chosen


def test_a_folder_that_is_not_shared_stops_the_job_before_the_training(cluster: Cluster, folder: Path) -> None:
    run = folder / "unshared"
    run.mkdir()
    # On n2 the folder is another one, as a local disk would be.
    enter = ["nsenter", "--mount", f"--target={slurmd_of(cluster, 'n2')}"]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "none", str(run)], check=True, timeout=10)
    try:
        job = cluster.submit("--nodes", "2", "--ranks-per-node", "1", "--", *TINY, "--run-dir", "unshared", cwd=folder)
        ended = cluster.wait(job, run / "slurm.log", LIMIT)
    finally:
        subprocess.run([*enter, "umount", str(run)], check=True, timeout=10)
    text = (run / "slurm.log").read_text()
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "2:0", "0"), text
    assert (
        "ptrain: error: preflight: rank 1 on n2: does not see what rank 0 wrote to unshared; choose a --run-dir" in text
    )
    assert "the preflight failed (nothing was trained) with exit code " in text
    assert not (run / "config.toml").exists()


def test_a_first_host_that_cannot_be_resolved_is_named(cluster: Cluster, folder: Path) -> None:
    site = folder / "suffix.toml"
    site.write_text('[network]\nhost_suffix = "i"\n')
    words = ["--site", str(site), "--nodes", "2", "--ranks-per-node", "1"]
    job = cluster.submit(*words, "--", *TINY, "--run-dir", "suffix", cwd=folder)
    ended = cluster.wait(job, folder / "suffix" / "slurm.log", 60)
    assert ended["JobState"] == "FAILED"
    text = (folder / "suffix" / "slurm.log").read_text()
    assert "the first node's name n1i cannot be resolved on n1" in text


def test_a_run_that_crashes_is_not_requeued_and_hostile_names_do_nothing(cluster: Cluster, folder: Path) -> None:
    name = "a 'b' \"c\" $(touch canary); `touch canary` & #é"
    (folder / "bad.npz").write_bytes(b"no archive")
    train = ["--data", "bad.npz", "--run-dir", name]
    job = cluster.submit("--ranks-per-node", "1", "--no-preflight", "--", *train, cwd=folder)
    ended = cluster.wait(job, folder / name / "slurm.log", LIMIT)
    text = (folder / name / "slurm.log").read_text()
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "2:0", "0"), text
    assert "ended with exit code 2; not requeued; the reason is above" in text
    assert "ptrain: error: " in text
    assert not list(folder.rglob("canary"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--partition", "mian"], "--partition mian: is not known to this cluster; did you mean main?"),
        (["--nodes", "5", "--ranks-per-node", "1"], "Slurm would not take this job: "),
        (["--sbatch", "gres=fpga:1"], "Slurm would not take this job: "),
        (["--module", "cuda"], "there is no module command here: "),
        (["--image", "none.sif"], "--image none.sif: cannot be read; expected an Apptainer image"),
        (["--venv", "none"], "--venv none: cannot be read; expected a virtual environment"),
        (["--venv", "."], "--venv .: has no bin/ptrain; install ptrain into it with ./bin/pip install"),
        (["--", "--data", "none.npz"], "--data none.npz: is not there; expected a file that this node"),
        (
            ["--", "--shards", "3"],
            "4 ranks with --shards 3: expected at most one rank a gradient shard; add --shards 4",
        ),
        (["--", "--run-dir", "/proc/x"], "--run-dir /proc/x: cannot be made "),
    ],
)
def test_submit_says_before_what_would_fail(cluster: Cluster, tmp_path: Path, words: list[str], message: str) -> None:
    done = cluster.call(str(PTRAIN), "slurm", "submit", "--site", "generic-cpu", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith(f"ptrain: error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert cluster.call("squeue", "--noheader", "--user", str(os.getuid())).stdout == ""


def test_without_slurm_the_error_says_what_to_do(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [str(PTRAIN), "slurm", "submit", "--site", "generic-cpu", "--venv", str(PTRAIN.parent.parent)]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.match(r"ptrain: error: s\w+ is not on PATH: run this on a login node of the cluster, ", done.stderr)
