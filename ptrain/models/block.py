"""Forward and backward of an MLP for a block of gradient shards, written out on preallocated buffers.

A block is a list of operations that are bound to their buffers once.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from ptrain.config import ModelConfig
from ptrain.models.activations import activation
from ptrain.models.base import Kernels, Layout, Memory, Operation, Parameters, Training
from ptrain.models.buffers import ShardBuffer
from ptrain.models.dropout import Dropout
from ptrain.models.layers import Layer, LayerBuffers, NativeLayer, TorchLayer
from ptrain.models.losses import LOSSES
from ptrain.native import calls


class Perceptron(Protocol):
    """What a block knows of its network."""

    config: ModelConfig
    widths: tuple[int, ...]
    layout: Layout
    buffers: dict[str, int]


class Block:
    """The program of an MLP; see ``ptrain.models.base.Program``."""

    def __init__(
        self,
        model: Perceptron,
        parameters: Parameters,
        kernels: Kernels,
        shards: range,
        rows: int,
        training: Training | None,
        memory: Memory | None,
    ):
        config, device = model.config, parameters.flat.device
        self._native, self._loss, self._length = kernels == "native", config.loss, model.layout.length

        def buffer(width: int) -> ShardBuffer:
            return ShardBuffer(len(shards), rows, width, device)

        if memory is None:
            own = {name: buffer(width) for name, width in model.buffers.items()}
            memory = Memory(buffers=own, row_losses=torch.zeros(len(shards), rows, device=device))
        self._inputs = [memory.buffers[f"input.{layer}"] for layer in range(len(model.widths) - 1)]
        # With dropout, the next layer's input is not the output but what is left of it.
        outputs = [buffer(width) for width in model.widths[1:-1]] if config.dropout else self._inputs[1:]
        self._layers = self._bound(model, parameters, memory, [*outputs, buffer(model.widths[-1])])
        self.features = self._inputs[0].view
        self.labels = torch.zeros(len(shards), rows, dtype=torch.int64, device=device)
        self.weights = torch.zeros(len(shards), rows, device=device)
        self.row_losses = memory.row_losses
        self.outputs = self._layers[-1].buffers.out.view
        self._dropout = None
        if training is not None and config.dropout and outputs:
            self._dropout = Dropout(config.dropout, training.seed, shards, self._inputs[1:])
        self.draws: Sequence[Operation] = [] if self._dropout is None else [self._dropout.draw]
        self.computes: Sequence[Operation] = self._inference() if training is None else self._training(model, training)
        self._operations = calls.fuse([*self.draws, *self.computes])

    def begin(self, step: int) -> None:
        """Say which step the next pass is of, for the dropout masks."""
        if self._dropout is not None:
            self._dropout.step = step

    def run(self) -> None:
        """Do a pass."""
        for operation in self._operations:
            operation()

    def _bound(
        self, model: Perceptron, parameters: Parameters, memory: Memory, outputs: Sequence[ShardBuffer]
    ) -> list[Layer]:
        """Bind the layers to their parameters and buffers."""
        values, products = model.layout.views(parameters.flat), model.layout.views(parameters.products)
        layers: list[Layer] = []
        for index, out in enumerate(outputs):
            last = index + 1 == len(outputs)
            name = model.config.output_activation if last else model.config.activation
            function = activation(name, model.config.activation_alpha)
            buffers = LayerBuffers(
                weight=products[f"layers.{index}.weight"],
                bias=values.get(f"layers.{index}.bias"),
                # z is kept besides f(z) only where the derivative needs it.
                total=out.like() if function.needs_input else out,
                out=out,
                grad=memory.buffers[f"grad.{index}"],
            )
            if self._native:
                # Not the last: nothing above it would apply its derivative.
                layers.append(NativeLayer(buffers, function, fuses=name == "relu" and not last))
            else:
                layers.append(TorchLayer(buffers, function, parameters.precision))
        return layers

    def _inference(self) -> list[Operation]:
        """Make the operations that fill ``outputs`` and ``row_losses``, without dropout."""
        sources = [self._inputs[0], *(layer.buffers.out for layer in self._layers)]
        operations = [op for layer, source in zip(self._layers, sources, strict=False) for op in layer.forward(source)]
        shape, device = self.labels.shape, self.labels.device
        unread = torch.zeros(shape, dtype=torch.float64, device=device), torch.zeros_like(self.labels)
        return [*operations, self._losses(None, *unread)]

    def _training(self, model: Perceptron, training: Training) -> list[Operation]:
        """Make the operations that fill gradients, and add up the epoch's losses and hits."""
        operations: list[Operation] = []
        for index, layer in enumerate(self._layers):
            if index > 0 and self._dropout is not None:
                operations.append(self._dropout.drop(index - 1, self._layers[index - 1].buffers.out))
            operations += layer.forward(self._inputs[index])
        operations.append(self._losses(training.class_weights, training.epoch_losses, training.epoch_hits))
        flat, merges = training.gradients, training.merges
        gradients = {} if flat is None else model.layout.views(flat[:, : self._length])
        for index, layer in reversed(list(enumerate(self._layers))):
            if self._dropout is not None:
                operations += self._dropout.derive(index, layer.buffers.grad)
            operations += layer.derive()
            if gradients:
                of_weight, of_bias = gradients[f"layers.{index}.weight"], gradients.get(f"layers.{index}.bias")
                operations += layer.gradients(self._inputs[index], of_weight, of_bias, merges)
            if index > 0:
                operations.append(layer.below(self._layers[index - 1]))
        return operations if flat is None else [*operations, *self._loss_sums(flat, merges)]

    def _losses(
        self, class_weights: torch.Tensor | None, epoch_losses: torch.Tensor, epoch_hits: torch.Tensor
    ) -> Operation:
        """Make the operation that fills row losses and the derivative by the outputs, and adds to the epoch's sums."""
        grad = self._layers[-1].buffers.grad
        if self._native and self._loss == "cross_entropy":
            inputs = (self.outputs, self.labels, self.weights, class_weights)
            return calls.cross_entropy(*inputs, self.row_losses, grad.view, (epoch_losses, epoch_hits))
        loss = LOSSES[self._loss]

        def compute() -> None:
            weights = self.weights if class_weights is None else self.weights * class_weights[self.labels]
            loss(self.outputs, self.labels, weights, self.row_losses, grad)
            epoch_losses.add_(self.row_losses)
            epoch_hits.add_((self.outputs.argmax(-1) == self.labels) & (self.weights > 0))

        return compute

    def _loss_sums(self, gradients: torch.Tensor, merges: Sequence[int] | None) -> list[Operation]:
        """Make the operations that fill the column behind the gradients with the shards' losses."""
        column = gradients[:, self._length : self._length + 1]
        if merges is not None:
            return [calls.column_sums(self.row_losses.unsqueeze(-1), merges, column)]
        behind = gradients[:, self._length + 1 :]
        return [lambda: torch.sum(self.row_losses, dim=1, out=column[:, 0]), behind.zero_]
