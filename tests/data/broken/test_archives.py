"""Archives that unpack to far more than they hold, and shapes that no file can fill, under a limit of memory."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import resource, sys, time
from ptrain.data.sources.load import read
from ptrain.config import DataConfig
from ptrain.errors import DataError

limit = 2 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
start = time.monotonic()
try:
    read(DataConfig(data=sys.argv[1], labels=sys.argv[2] if len(sys.argv) > 2 else None))
except DataError as error:
    print(error)
assert time.monotonic() - start < 10
"""


def refused(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.stdout


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = str({"descr": "<f8", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_its_ratio(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        with archive.open("x.npy", "w") as member:
            member.write(npy_header((30, 500_000)))
            for _ in range(30):
                member.write(bytes(4_000_000))
        buffer = io.BytesIO()
        np.save(buffer, np.arange(30) % 3)
        archive.writestr("y.npy", buffer.getvalue())
    assert (tmp_path / "a.npz").stat().st_size < 10**6
    assert "array x: declares 120000128 bytes of values in" in refused(str(tmp_path / "a.npz"))


def test_a_directory_that_lies_about_a_member_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy_header((10**9, 10**9)) + bytes(1000))
        archive.writestr("y.npy", b"")
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    assert "expected 8000000000000000000 for float64 of shape" in refused(str(tmp_path / "a.npz"))


def test_a_shape_that_no_file_can_fill_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy_header((10**12, 10**6)) + bytes(100))
    np.save(tmp_path / "y.npy", np.arange(30) % 3)
    assert "100 bytes of values; expected 8000000000000000000" in refused(
        str(tmp_path / "x.npy"), str(tmp_path / "y.npy")
    )
