"""The fuzzer of the readers (scripts/fuzz): changed files must be read or refused with a DataError of one line.

Files are read in a child process with a limit on its memory and its time, so that a crash of a library in C is a
finding and not the end. Every file is a pure function of format and number, so a finding can be made again.
"""

import argparse
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ptrain.errors import DataError
from tests.data.fuzz_formats import SEEDS, Seed, read
from tests.data.fuzz_mutations import mutate

MEMORY = 1536 * 2**20
"""Bytes of address space that reading a file may take, on top of what the libraries take."""
SECONDS = 10.0
"""For one file."""
PROGRAM = ["-m", "tests.data.fuzz"]


@dataclass(kw_only=True)
class Tally:
    """What came of the files of a format."""

    format: str
    files: int = 0
    accepted: int = 0
    refused: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0
    """Largest growth of the resident memory of a child, in MiB."""


def changed_files(seeds: Sequence[Seed], number: int, kind: str) -> tuple[Seed, dict[str, bytes]]:
    """Return a seed and its files with one of them changed."""
    chance = random.Random(f"{kind}/{number}")
    seed = seeds[number % len(seeds)]
    name = chance.choice(sorted(seed.files))
    other = chance.choice(sorted(seeds[chance.randrange(len(seeds))].files.values()))
    if seed.inside is not None and name in seed.inside and chance.random() < 0.6:
        content, pack = seed.inside[name]
        return seed, {**seed.files, name: pack(mutate(content, chance))}
    return seed, {**seed.files, name: mutate(seed.files[name], chance, other)}


def write(files: dict[str, bytes], folder: Path, before: dict[str, bytes]) -> None:
    """Bring the folder from the files ``before`` to these."""
    for name in before.keys() - files.keys():
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        if before.get(name) != content:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def work(kind: str, start: int, stop: int) -> None:
    """Be a child: read the files start .. stop - 1 and tell what came of each on stdout, one line of JSON each."""
    scratch = Path(tempfile.mkdtemp(prefix="ptrain-fuzz-"))
    cache = scratch.with_suffix(".cache")
    os.environ["PTRAIN_CACHE"] = str(cache)
    try:
        seeds = SEEDS[kind](scratch)
        shutil.rmtree(scratch)
        scratch.mkdir()
        os.chdir(scratch)
        stderr = os.open(scratch.with_suffix(".stderr"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(stderr, 2)
        for seed in (
            seeds if PROGRAM[0] == "-m" else []
        ):  # a valid file, which also loads the libraries before memory is counted
            write(seed.files, scratch, {})
            read(kind, seed.spec, seed.labels)
            shutil.rmtree(scratch)
            scratch.mkdir()
            os.chdir(scratch)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        before: dict[str, bytes] = {}
        first = _resident()
        for number in range(start, stop):
            seed, files = changed_files(seeds, number, kind)
            if before.keys() - files.keys():
                shutil.rmtree(scratch)
                scratch.mkdir()
                os.chdir(scratch)
                before = {}
            write(files, scratch, before)
            before = files
            print(json.dumps({"number": number}), flush=True)
            result, text = _read(kind, seed)
            if os.fstat(2).st_size:
                os.lseek(2, 0, os.SEEK_SET)
                wrote = os.read(2, 300).decode(errors="replace")
                os.ftruncate(2, 0)
                os.lseek(2, 0, os.SEEK_SET)
                result, text = ("stderr", wrote) if result in ("accepted", "refused") else (result, text)
            print(json.dumps({"result": result, "text": text, "peak": (_resident() - first) // 1024}), flush=True)
    finally:
        os.chdir("/")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(cache, ignore_errors=True)
        scratch.with_suffix(".stderr").unlink(missing_ok=True)


def _read(kind: str, seed: Seed) -> tuple[str, str]:
    try:
        read(kind, seed.spec, seed.labels)
    except DataError as error:
        text = str(error)
        # every message names a file or folder below the current one
        whole = "\n" not in text and len(text) < 2000 and text.isprintable()
        return ("refused", "") if whole else ("message", text[:500])
    except BaseException:
        return "exception", traceback.format_exc()[-1500:]
    return "accepted", ""


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB


def fuzz(kind: str, files: int, first: int = 0) -> Tally:
    """Read ``files`` changed files of a format in children and return what came of them."""
    tally = Tally(format=kind)
    begin, number = time.monotonic(), first
    while number < first + files:
        number = _run_child(kind, number, first + files, tally)
    tally.seconds = round(time.monotonic() - begin, 1)
    return tally


def _run_child(kind: str, start: int, stop: int, tally: Tally) -> int:
    """Run a child until it is done, dies or hangs; return the number of the next file."""
    command = [sys.executable, *PROGRAM, "--work", kind, str(start), str(stop)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        number, open_ = start - 1, False
        for line in _lines(child.stdout.fileno(), SECONDS):
            if line is None:
                child.send_signal(signal.SIGKILL)
                break
            told = json.loads(line)
            if "number" in told:
                number, open_ = told["number"], True
                continue
            open_ = False
            tally.files += 1
            tally.peak = max(tally.peak, told["peak"])
            if told["result"] in ("accepted", "refused"):
                setattr(tally, told["result"], getattr(tally, told["result"]) + 1)
            else:
                tally.findings.append({"number": number, "kind": told["result"], "text": told["text"]})
        code = child.wait()
    if open_:
        tally.files += 1
        kind_of_end = "hang" if code == -signal.SIGKILL else "crash"
        tally.findings.append({"number": number, "kind": kind_of_end, "text": f"exit code {code}"})
    elif number < start:
        raise RuntimeError(f"the child for {kind} ended with {code} before its first file")
    return number + 1


def _lines(descriptor: int, seconds: float) -> Iterator[bytes | None]:
    """Yield lines as they come; None when none came for ``seconds``, ten times as long for the first one."""
    buffer, wait = b"", max(60.0, seconds * 10)
    while True:
        ready, _, _ = select.select([descriptor], [], [], wait)
        chunk = os.read(descriptor, 2**16) if ready else None
        if chunk is None:
            yield None
            return
        if not chunk:
            return
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        wait = seconds
        yield from lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer and print a line for each format; the exit code is 1 where there is a finding."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Change files at random and read them.")
    parser.add_argument(
        "--format", action="append", choices=list(SEEDS), metavar="FORMAT", help="format (may be repeated; all)"
    )
    parser.add_argument("--files", type=int, default=10_000, help="changed files of each format (10000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    parser.add_argument("--out", type=Path, help="file for the findings as JSON")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:  # FORMAT START STOP
        work(options.work[0], int(options.work[1]), int(options.work[2]))
        return 0
    tallies = []
    for kind in options.format or list(SEEDS):
        tally = fuzz(kind, options.files, options.first)
        tallies.append(tally)
        print(
            f"{kind}: {tally.files} files, {tally.refused} refused, {tally.accepted} accepted, "
            f"{len(tally.findings)} findings, {tally.seconds:.0f} s, memory grew by {tally.peak} MiB at most",
            flush=True,
        )
        for finding in tally.findings[:5]:
            print(f"  file {finding['number']}: {finding['kind']}: {finding['text'].strip()[-300:]}", flush=True)
    if options.out:
        options.out.write_text(json.dumps([asdict(tally) for tally in tallies], indent=1))
    return 1 if any(tally.findings for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
