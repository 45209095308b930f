import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ptrain.errors import RunDirectoryError
from ptrain.run import checkpoint

TENSORS = {"model.layers.0.weight": torch.arange(6.0).view(2, 3)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path / "checkpoints", 7, TENSORS, {"step": 7})
    found = checkpoint.read(path)
    assert path.name == "step-00000007"
    assert found.record == {"step": 7}
    assert torch.equal(found.tensors["model.layers.0.weight"], TENSORS["model.layers.0.weight"])


@pytest.mark.parametrize("name", [checkpoint.TENSORS, checkpoint.RECORD, checkpoint.MANIFEST])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_a_damaged_newest_one_is_named_and_the_one_before_is_taken(tmp_path: Path, name: str, damage: str) -> None:
    checkpoint.write(tmp_path, 1, TENSORS, {"step": 1})
    file = checkpoint.write(tmp_path, 2, TENSORS, {"step": 2}) / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "truncate" else b"")
    warnings: list[str] = []
    found = checkpoint.newest(tmp_path, warnings.append)
    assert found is not None
    assert found.record["step"] == 1
    assert len(warnings) == 1
    assert "step-00000002" in warnings[0]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path, print) is None


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 7):
        checkpoint.write(tmp_path, step, TENSORS, {})
    (tmp_path / ".step-00000009.123.tmp").mkdir()
    checkpoint.prune(tmp_path, keep=2, best=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000005", "step-00000006"]


def test_a_file_in_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        checkpoint.write(tmp_path / "checkpoints", 1, TENSORS, {})


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path) -> None:
    """In a process with a small limit on the size of files, which fails like a full disk does: in the middle."""
    program = """
import resource, signal, sys, torch
from pathlib import Path
from ptrain.run import checkpoint
from ptrain.errors import RunDirectoryError
folder = Path(sys.argv[1])
checkpoint.write(folder, 1, {"x": torch.zeros(10)}, {})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    checkpoint.write(folder, 2, {"x": torch.zeros(100_000)}, {})
except RunDirectoryError as error:
    print(error)
print(checkpoint.newest(folder, print).path.name, sorted(p.name for p in folder.iterdir()))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=True,
    )
    error, newest = done.stdout.splitlines()
    assert "step-00000002: cannot be written (File too large)" in error
    assert newest == "step-00000001 ['step-00000001']"


def test_an_interrupted_write_leaves_no_checkpoint(tmp_path: Path) -> None:
    """Killed with SIGKILL while it writes: what is left is not taken for a checkpoint."""
    program = """
import os, signal, sys, torch
from pathlib import Path
from ptrain.run import checkpoint
count = 0
def dying(descriptor):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = dying
checkpoint.write(Path(sys.argv[1]), 5, {"x": torch.zeros(1000)}, {})
"""
    for moment in range(1, 5):
        folder = tmp_path / str(moment)
        command = [sys.executable, "-c", program, str(folder), str(moment)]
        killed = subprocess.run(command, timeout=60, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert killed.returncode == -9
        assert checkpoint.newest(folder, print) is None
        checkpoint.prune(folder, keep=1, best=None)
        assert list(folder.iterdir()) == []
        shutil.rmtree(folder)
