"""``ptrain data convert``: any source as memory-mapped arrays, on any number of ranks, restartable."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptrain.config import DataConfig, RunConfig
from ptrain.console import Console
from ptrain.data.sources.load import open_source
from ptrain.data.store import convert
from ptrain.data.store.cache import Stamp
from ptrain.data.store.converted import described, is_converted, stream_of
from ptrain.data.store.stream import Stream
from ptrain.errors import EXIT_DONE, DataError, os_error_as
from ptrain.launch import env
from ptrain.verbs.data import DataOptions


def run(options: DataOptions, data: DataConfig, _seed: int, settings: RunConfig) -> int:
    """Write the data as memory-mapped arrays into the folder OUT and return the exit code.

    Where the rows come in pieces (Parquet, HDF5, Zarr) the ranks share them; else rank 0 does it all. An interrupted
    conversion goes on where it was, also on another number of ranks.

    Raises InputError where the data or the folder is at fault; on every rank alike.
    """
    folder = Path(options.words[1]).expanduser()
    if env.detect(os.environ).size == 1:
        _alone(data, folder)
        return EXIT_DONE
    from ptrain.run.session import open_session  # loads torch

    with open_session(settings) as session:
        info = session.comm.info

        def begin() -> tuple[Stream, str, list[Stamp]]:
            stream = _open(data)
            return (stream, *convert.stream_key(stream))

        stream, key, stamps = session.agreed(begin)
        session.console.tell(stream.notes, stream.warnings)
        if session.from_root(lambda: _is_done(folder, key)):
            session.console.say(f"{folder} holds these data already")
            return EXIT_DONE
        partial = convert.partial_of(folder)
        session.from_root(lambda: _writing(folder, lambda: convert.prepare(partial, key)))
        shares = stream.pieces is not None
        session.console.say(f"converting {stream.name} on {f'{info.size} ranks' if shares else 'rank 0'}")
        with _shown(session.console, stream, info.size if shares else 1) as report:
            session.agreed(
                lambda: _writing(folder, lambda: convert.write_part(stream, key, partial, report, info.rank, info.size))
            )
        session.from_root(lambda: _writing(folder, lambda: convert.finish(stream, key, stamps, partial, folder)))
        _say_done(session.console, folder)
    return EXIT_DONE


def _alone(data: DataConfig, folder: Path) -> None:
    console = Console()
    stream = _open(data)
    console.tell(stream.notes, stream.warnings)
    key, _ = convert.stream_key(stream)
    if _is_done(folder, key):
        console.say(f"{folder} holds these data already")
        return
    console.say(f"converting {stream.name}")
    with _shown(console, stream, 1) as report:
        _writing(folder, lambda: convert.convert(stream, folder, report))
    _say_done(console, folder)


def _open(data: DataConfig) -> Stream:
    opened = open_source(data)
    return opened if isinstance(opened, Stream) else stream_of(opened)


def _is_done(folder: Path, key: str) -> bool:
    """Whether the folder holds just these data; raises DataError where it holds anything else."""
    if not folder.exists():
        return False
    if is_converted(folder) and described(folder)["key"] == key:
        return True
    raise DataError(f"{folder}: exists and holds something else; expected a folder that is not there yet")


def _writing(folder: Path, task: Callable[[], None]) -> None:
    fix = "expected a place with room: free space, and start again, it goes on where it was"
    with os_error_as(DataError, f"{folder}: cannot be written", fix):
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        task()


@contextmanager
def _shown(console: Console, stream: Stream, parts: int) -> Iterator[convert.Report | None]:
    """Show how many rows are written; with several ranks those of rank 0, which has its share of them."""
    total = (stream.num_samples or 0) // parts
    if total == 0:
        yield None
        return
    with console.progress(total, "converting", "samples") as progress:
        yield progress.update


def _say_done(console: Console, folder: Path) -> None:
    content = described(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    held_out = {"validation": content["num_validation"], "the test": content["num_test"]}
    others = "".join(f" and {count:,} for {name}" for name, count in held_out.items() if count is not None)
    console.say(
        f"{folder}: {content['num_samples']:,} samples{others} of {content['num_features']:,} features, "
        f"{size / 2**20:,.1f} MiB; train with --data {folder}"
    )
