"""The network on many rows, without training: chunks of one constant shape, each computed whole by one thread."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ptrain.config import Config
from ptrain.models.base import Loader, Model, Operation, Parameters, Program
from ptrain.models.losses import probabilities
from ptrain.native.choice import resolve
from ptrain.native.threads import Workers

CHUNK_ROWS = 256
"""Rows of a chunk. Constant, so that a row's result depends neither on the ranks nor on the threads."""


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """What the network says about a chunk; padding rows are left out. Valid until the next chunk is computed."""

    chunk: int
    probabilities: torch.Tensor
    """float64 (valid rows, classes) on the CPU."""
    scores: torch.Tensor
    """Like the probabilities: what ranks the classes. Of mse the outputs, since many probabilities are 0 there."""
    predictions: torch.Tensor
    """int64 (valid rows,): the class with the largest output, the first of equal ones."""
    labels: torch.Tensor
    """int64 (valid rows,)."""
    losses: torch.Tensor
    """float32 (valid rows,): the configured loss of each row, without class weights."""


class Inference:
    """Runs a trained network over chunks of rows with ``threads`` threads."""

    def __init__(self, *, config: Config, model: Model, parameters: torch.Tensor, threads: int):
        self.config = config
        self.workers = Workers(threads)
        # A network that was trained elsewhere is used with what there is here.
        wanted = "torch" if config.train.kernels == "torch" else "auto"
        kernels = resolve(wanted, config.train.precision, parameters.device)
        self._parameters = Parameters(parameters, config.train.precision)
        self._programs = [model.program(self._parameters, kernels, range(1), CHUNK_ROWS) for _ in range(threads)]

    def run(self, chunks: range, make_loader: Callable[[], Loader], consume: Callable[[ChunkResult], None]) -> None:
        """Compute ``chunks`` and hand each result to ``consume``, in order within a thread, called from all threads."""
        self._parameters.refresh()

        def work(index: int) -> None:
            part = self.workers.part(chunks, index)
            if not part:
                return
            program, loader = self._programs[index], make_loader()
            fill = loader.bind(range(1), program.features, program.labels, program.weights)
            for chunk in part:
                loader.select(0, chunk)
                consume(self._chunk(program, fill, chunk))

        self.workers.run(work)

    def _chunk(self, program: Program, fill: Operation, chunk: int) -> ChunkResult:
        fill()
        program.run()
        valid = program.weights[0] > 0
        outputs, loss = program.outputs[0], self.config.model.loss
        shares = probabilities(outputs, loss)[valid].cpu()
        return ChunkResult(
            chunk=chunk,
            probabilities=shares,
            scores=outputs.double()[valid].cpu() if loss == "mse" else shares,
            predictions=outputs.argmax(-1)[valid].cpu(),
            labels=program.labels[0][valid].cpu(),
            losses=program.row_losses[0][valid].cpu(),
        )

    def close(self) -> None:
        """End the worker threads."""
        self.workers.close()
