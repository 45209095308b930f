"""The network on many rows, without training: chunks of one constant shape, each computed whole by one thread."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ptrain.config import Config
from ptrain.models.block import Block, parameters_for
from ptrain.models.losses import probabilities
from ptrain.models.mlp import Layout
from ptrain.native.choice import resolve
from ptrain.native.threads import Workers

CHUNK_ROWS = 256
"""Rows of a chunk. Constant, so that a row's result depends neither on the ranks nor on the threads."""


class ChunkLoader(Protocol):
    """What fills in the rows of a chunk."""

    def fill(self, chunk: int, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Fill (rows, inputs), (rows,) and (rows,); padding rows get weight 0."""


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """What the network says about a chunk; padding rows are left out. Valid until the next chunk is computed."""

    chunk: int
    probabilities: torch.Tensor
    """float64 (valid rows, classes) on the CPU."""
    predictions: torch.Tensor
    """int64 (valid rows,): the class with the largest output, the first of equal ones."""
    labels: torch.Tensor
    """int64 (valid rows,)."""
    losses: torch.Tensor
    """float32 (valid rows,): the configured loss of each row, without class weights."""


class Inference:
    """Runs a trained network over chunks of rows with ``threads`` threads."""

    def __init__(self, *, config: Config, layout: Layout, parameters: torch.Tensor, threads: int):
        self.config = config
        self.workers = Workers(threads)
        # A network that was trained elsewhere is used with what there is here.
        kernels = resolve(
            "auto" if config.train.kernels == "native" else config.train.kernels,
            config.train.precision,
            parameters.device,
        )
        self._parameters = parameters_for(parameters, config.train.precision)
        self._blocks = [
            Block(
                layout=layout,
                model=config.model,
                precision=config.train.precision,
                kernels=kernels,
                parameters=self._parameters,
                shards=1,
                rows=CHUNK_ROWS,
                device=parameters.device,
            )
            for _ in range(threads)
        ]

    def run(
        self, chunks: range, make_loader: Callable[[], ChunkLoader], consume: Callable[[ChunkResult], None]
    ) -> None:
        """Compute ``chunks`` and hand each result to ``consume``, in order within a thread, called from all threads."""
        self._parameters.refresh()

        def work(index: int) -> None:
            part = self.workers.part(chunks, index)
            loader = make_loader() if len(part) else None
            for chunk in part:
                if loader is not None:
                    consume(self._chunk(self._blocks[index], loader, chunk))

        self.workers.run(work)

    def _chunk(self, block: Block, loader: ChunkLoader, chunk: int) -> ChunkResult:
        loader.fill(chunk, block.features[0], block.labels[0], block.weights[0])
        block.forward()
        block.losses()
        valid = block.weights[0] > 0
        outputs = block.outputs[0]
        return ChunkResult(
            chunk=chunk,
            probabilities=probabilities(outputs, self.config.model.loss)[valid].cpu(),
            predictions=outputs.argmax(-1)[valid].cpu(),
            labels=block.labels[0][valid].cpu(),
            losses=block.row_losses[0][valid].cpu(),
        )

    def close(self) -> None:
        """End the worker threads."""
        self.workers.close()
