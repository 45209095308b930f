"""Reading streams in tests as the command line does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrain.config import DataConfig
from ptrain.data.sources.load import open_source
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError

X = np.arange(60, dtype=np.float64).reshape(20, 3)
Y = np.arange(20) % 4
IMAGES = (np.arange(20 * 12) % 250).astype(np.uint8).reshape(20, 4, 3)


def opened(spec: Path | str, labels: Path | str | None = None, *, labelled: bool = True) -> Stream:
    config = DataConfig(data=str(spec), labels=None if labels is None else str(labels))
    found = open_source(config, labelled=labelled)
    assert isinstance(found, Stream)
    return found


def joined(blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([block[0] for block in blocks]), np.concatenate([block[1] for block in blocks])


def train(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    return joined(list(stream.train()))


def test(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    assert stream.test is not None
    return joined(list(stream.test()))


test.__test__ = False  # type: ignore[attr-defined]


def refused(spec: Path | str, labels: Path | str | None = None) -> str:
    """Return the message of the DataError that reading raises, which must be one line with what was expected."""

    def drain() -> None:
        stream = opened(spec, labels)
        for make in (stream.train, *stream.held_out.values()):
            for _ in make():
                pass

    with pytest.raises(DataError) as caught:
        drain()
    message = str(caught.value)
    assert message.isprintable()
    assert "expected" in message
    return message


GROWTH = """
import resource, sys
from tests.data.sources.streams import opened
for small in sys.argv[2:]:
    for _ in opened(small).train(): pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(len(block[1]) for block in opened(sys.argv[1]).train())
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def memory_growth(large: Path | str, small: Path | str) -> tuple[int, int]:
    """Return the rows of a large file and by how many MiB reading it made a process grow that had read a small one."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(large), str(small)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    rows, growth = map(int, done.stdout.split())
    return rows, growth


def is_array(values: Any, expected: Any) -> None:
    np.testing.assert_array_equal(values, expected)
