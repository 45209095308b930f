"""Evaluation of a split by all ranks: exact counts, summed over ranks, the same on any number of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptrain.console import Console
from ptrain.data.loader import EvaluationLoader, Normalization
from ptrain.data.plan import owned_shards
from ptrain.data.samples import Split
from ptrain.engine.inference import CHUNK_ROWS, ChunkResult, Inference
from ptrain.evaluation.mergeable import EvaluationCounts, count_samples, merge
from ptrain.evaluation.table import evaluation_tables
from ptrain.verbs.session import Session


def owned_chunks(session: Session, split: Split) -> range:
    """Return the chunks of ``split`` that this rank computes."""
    num_chunks = -(-split.size // CHUNK_ROWS)
    return owned_shards(num_chunks, session.comm.info.size, session.comm.info.rank)


def score(
    session: Session, inference: Inference, split: Split, normalization: Normalization, class_names: Sequence[str]
) -> EvaluationCounts:
    """Return the counts over the whole split, on every rank."""
    parts: list[EvaluationCounts] = []

    def count(result: ChunkResult) -> None:
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
    return merge([EvaluationCounts.from_json(part) for rank in everybody for part in rank])


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the tables of an evaluation."""
    for table in evaluation_tables(summary):
        console.say()
        console.table(table.columns, table.rows, table.title)
        for note in table.notes:
            console.say(note)
    console.say()
