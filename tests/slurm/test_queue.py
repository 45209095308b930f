"""What Slurm's programs say, read without a Slurm."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ptrain.errors import LaunchError
from ptrain.slurm import queue as slurm_queue
from ptrain.slurm.queue import Entry, entry_of, reason_in

LINE = (
    "JobId=7 ArrayJobId=5 ArrayTaskId=2 JobName=x y UserId=me(1) JobState=RUNNING Reason=None Dependency=(null) "
    "Requeue=1 Restarts=3 BatchFlag=1 NodeList=n[1-2] BatchHost=n1"
)

Fake = Callable[[str, str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name: str, body: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return make


def test_a_task_of_an_array() -> None:
    assert entry_of(LINE) == Entry(job="5_2", state="RUNNING", restarts=3, reason="None", nodes="n[1-2]")


def test_a_job_that_waits() -> None:
    entry = entry_of("JobId=7 JobName=x JobState=PENDING Reason=Priority Restarts=0 NodeList=(null)")
    assert entry == Entry(job="7", state="PENDING", restarts=0, reason="Priority", nodes="")


def test_reasons_are_one_line_without_the_programs_name() -> None:
    text = "sbatch: error: Batch job submission failed: Invalid account\nsbatch: x\n\n"
    assert reason_in(text) == "Batch job submission failed: Invalid account; x"


def test_submit_reads_the_number_also_of_a_cluster_with_a_name(fake: Fake) -> None:
    fake("sbatch", "echo '12;juwels'")
    assert slurm_queue.submit("job.sh") == "12"


def test_a_refusal_is_told(fake: Fake) -> None:
    fake("sbatch", "echo 'sbatch: error: QOSMaxNodePerUserLimit' >&2; exit 1")
    with pytest.raises(LaunchError, match=r"^sbatch refused job.sh: QOSMaxNodePerUserLimit$"):
        slurm_queue.submit("job.sh")
    with pytest.raises(LaunchError, match=r"^Slurm would not take this job: QOSMaxNodePerUserLimit; change the flags"):
        slurm_queue.test("job.sh")


def test_a_program_that_hangs_is_given_up(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("sinfo", "exec /bin/sleep 60")
    monkeypatch.setattr(slurm_queue, "TIME_LIMIT", 0.3)
    with pytest.raises(LaunchError, match=r"sinfo did not answer within 0.3 s"):
        slurm_queue.partitions()


def test_accounts_are_asked_for_where_there_is_accounting(fake: Fake) -> None:
    assert slurm_queue.accounts("me") == []
    fake("sacctmgr", "printf 'b\\na\\na\\n'")
    assert slurm_queue.accounts("me") == ["a", "b"]
    fake("sacctmgr", "exit 1")
    assert slurm_queue.accounts("me") == []


def test_jobs_that_slurm_forgot_are_left_out(fake: Fake) -> None:
    fake("scontrol", f'[ "$4" = 5 ] && echo "{LINE}" || exit 1')
    assert [entry.job for entry in slurm_queue.entries(["4", "5"])] == ["5_2"]
