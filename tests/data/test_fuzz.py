import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.data import fuzz
from tests.data.fuzz_formats import SEEDS
from tests.data.fuzz_mutations import mutate

FILES = 40


def test_changed_files_of_every_format_are_read_or_refused() -> None:
    """The short form of scripts/fuzz, with two children at a time."""
    with ThreadPoolExecutor(2) as pool:
        tallies = list(pool.map(lambda kind: fuzz.fuzz(kind, FILES), SEEDS))
    assert [tally.findings for tally in tallies] == [[]] * len(SEEDS)
    assert [tally.files for tally in tallies] == [FILES] * len(SEEDS)
    assert all(tally.refused > 0 for tally in tallies)


def test_a_change_is_a_function_of_the_number_and_nearly_always_changes_something() -> None:
    content = bytes(range(256)) * 4
    made = [mutate(content, random.Random(number), b"other") for number in range(300)]
    assert made == [mutate(content, random.Random(number), b"other") for number in range(300)]
    assert Counter(changed == content for changed in made)[True] < 30
    assert all(mutate(b"", random.Random(number)) is not None for number in range(300))


TOY = """
import os, signal, sys, time
from pathlib import Path
from tests.data import fuzz
from ptrain.data.sources import table
from tests.data.fuzz_formats import SEEDS, Seed

def read(spec, request):
    number = Path(spec).read_bytes()[0]
    if number == 1: os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2: time.sleep(60)
    if number == 3: raise KeyError("not a DataError")
    if number == 4: os.write(2, b"noise of a library")
    if number == 5: bytearray(8 * 2**30)
    return table.resolve(table.SOURCES["digits"].opens)("", request)

seed = Seed(spec="a", files={"a": bytes(1)})
SEEDS["toy"] = lambda _: [seed]
sys.modules["ptrain.data.toy"] = sys.modules["__main__"]
table.SOURCES["toy"] = table.Row("toy", "file", "toy:read", "toy:FILE")
fuzz.changed_files = lambda seeds, number, kind: (seed, {"a": bytes([number])})
sys.exit(fuzz.main())
"""


def test_crashes_hangs_and_noise_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(fuzz, "PROGRAM", [str(tmp_path / "toy.py")])
    monkeypatch.setattr(fuzz, "SECONDS", 2.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    tally = fuzz.fuzz("toy", 6)
    assert {finding["number"]: finding["kind"] for finding in tally.findings} == {
        1: "crash", 2: "hang", 3: "exception", 4: "stderr", 5: "exception"
    }  # fmt: skip
    assert (tally.files, tally.accepted) == (6, 1)
