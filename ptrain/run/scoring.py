"""Evaluation of a split by all ranks: exact counts, summed over ranks, the same on any number of them."""

from collections.abc import Callable, Sequence

from ptrain.data.loader import EvaluationLoader, Normalization
from ptrain.data.plan import owned_shards
from ptrain.data.samples import Split
from ptrain.evaluation.mergeable import EvaluationCounts, count_samples, merge
from ptrain.models.inference import CHUNK_ROWS, ChunkResult, Inference
from ptrain.run.session import Session


def owned_chunks(session: Session, split: Split) -> range:
    """Return the chunks of ``split`` that this rank computes."""
    num_chunks = -(-split.size // CHUNK_ROWS)
    return owned_shards(num_chunks, session.comm.info.size, session.comm.info.rank)


def score(
    session: Session,
    inference: Inference,
    split: Split,
    normalization: Normalization,
    class_names: Sequence[str],
    also: Callable[[ChunkResult], None] | None = None,
) -> EvaluationCounts:
    """Return the counts over the whole split, on every rank; ``also`` sees each result of this rank, from all threads.

    Raises RuntimeError where a sample was counted twice or never, which is a defect.
    """
    parts: list[EvaluationCounts] = []

    def count(result: ChunkResult) -> None:
        if also is not None:
            also(result)
        parts.append(
            count_samples(
                result.labels.numpy(),
                result.predictions.numpy(),
                len(class_names),
                losses=result.losses.numpy(),
                probabilities=result.probabilities.numpy(),
            )
        )

    def loader() -> EvaluationLoader:
        return EvaluationLoader(split, CHUNK_ROWS, normalization, session.device)

    inference.run(owned_chunks(session, split), loader, count)
    everybody = session.comm.all_gather_object([part.to_json() for part in ([merge(parts)] if parts else [])])
    counts = merge([EvaluationCounts.from_json(part) for rank in everybody for part in rank])
    if (counted := int(counts.confusion.sum())) != split.size:
        raise RuntimeError(f"{counted} samples counted in a split of {split.size}: expected each of them once")
    return counts
