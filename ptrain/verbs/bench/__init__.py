"""``ptrain bench``: measure steps, the exchange between ranks, and how many ranks pay."""

from collections.abc import Sequence

from ptrain.config import Config


def run(
    action: str,
    config: Config,
    *,
    num_ranks: Sequence[int],
    steps: int,
    seconds: float,
    repetitions: int,
    parameters: int | None,
    time_limit: float,
    out: str,
    as_json: bool,
) -> int:
    """Measure what ``action`` says and return the exit code.

    Raises:
        InputError: the data, a flag or the launcher is at fault; on every rank alike.
    """
    if action == "train":
        from ptrain.verbs.bench import train as bench_train

        return bench_train.run(config, steps=steps, seconds=seconds, as_json=as_json)
    if action == "comm":
        from ptrain.verbs.bench import comm as bench_comm

        return bench_comm.run(
            config, parameters=parameters, steps=steps, seconds=seconds, time_limit=time_limit, as_json=as_json
        )
    from ptrain.verbs.bench import scaling as bench_scaling

    return bench_scaling.run(
        config,
        num_ranks=num_ranks,
        steps=steps,
        seconds=seconds,
        repetitions=repetitions,
        time_limit=time_limit,
        out=out,
        as_json=as_json,
    )
