"""A full disk and a read-only one, as real small file systems in a mount namespace of their own."""

import os
import sys
from pathlib import Path

import pytest

from tests.ranks import run_group

pytestmark = pytest.mark.alone

UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
FLAGS = '--hidden 128 128 --epochs 30 --checkpoint-every 6 --threads 1 --no-report --run-dir "$1/run"'
READ = """
import sys
from pathlib import Path
from ptrain.run import checkpoint
found = checkpoint.newest(Path(sys.argv[1]), print)
left = [path.name for path in Path(sys.argv[1]).iterdir() if ".tmp" in path.name]
print("newest", found.path.name, found.record["step"], left)
"""


def on_tmpfs(folder: Path, options: str, script: str) -> tuple[int, str, str]:
    """Run a script with a tmpfs mounted on $1 and Python in $0; return its exit code and output."""
    shell = f'mount -t tmpfs -o {options} tmpfs "$1" || exit 99\n{script}'
    done = run_group([*UNSHARE, "bash", "-c", shell, sys.executable, str(folder)], timeout=90)
    assert done.returncode != 99, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_full_disk_ends_the_run_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    script = f'"$0" -m ptrain train {FLAGS}; code=$?\n"$0" -c \'{READ}\' "$1/run/checkpoints"; exit $code'
    code, stdout, stderr = on_tmpfs(tmp_path, "size=400k", script)
    assert code == 2, stderr
    errors = [line for line in stderr.splitlines() if line.startswith("ptrain: error: ")]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    assert "--resume" in errors[0]
    assert "Traceback" not in stderr
    newest = stdout.splitlines()[-1].split()
    assert newest[0] == "newest"
    assert int(newest[2]) >= 6
    assert newest[3] == "[]"


def test_a_read_only_folder_is_refused_before_training(tmp_path: Path) -> None:
    code, _, stderr = on_tmpfs(tmp_path, "ro", f'exec "$0" -m ptrain train {FLAGS}')
    assert code == 2, stderr
    assert "Read-only file system" in stderr
    assert stderr.count("ptrain: error: ") == 1
