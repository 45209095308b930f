"""Forward and backward of the network for a block of gradient shards, written out on preallocated buffers.

A block is a list of operations that are bound to their buffers once. They come from one of two sets of kernels:
those of ptrain.native, or torch's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ptrain import native
from ptrain.config import ModelConfig
from ptrain.keys import derive_key
from ptrain.models.activations import ACTIVATIONS
from ptrain.models.buffers import Product, ShardBuffer
from ptrain.models.losses import LOSSES
from ptrain.models.mlp import Layout
from ptrain.native.upload import Upload

Operation = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameter vector as the products read it: float32, or a bfloat16 copy of it."""

    flat: torch.Tensor
    product_flat: torch.Tensor
    """``flat`` itself for fp32, the bfloat16 copy for bf16."""

    def refresh(self) -> None:
        """Bring the bfloat16 copy up to date."""
        if self.product_flat is not self.flat:
            self.product_flat.copy_(self.flat)


def parameters_for(flat: torch.Tensor, precision: str) -> Parameters:
    """Return ``flat`` with the copy that products in ``precision`` read."""
    copy = flat if precision == "fp32" else flat.to(torch.bfloat16)
    return Parameters(flat=flat, product_flat=copy)


class Loader(Protocol):
    """What fills a block's inputs with the rows of its shards."""

    def fill(self, epoch: int, step: int, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Fill (shards, rows, inputs), (shards, rows) and (shards, rows) for one step of an epoch."""

    def send(self, epoch: int, step: int) -> None:
        """Do what the host has to do for a step, without waiting for the device."""

    def collect(self) -> None:
        """Do what the device has to do next, for all shards: the same operations on the same buffers at every step."""

    def take(self, shards: range, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Fill tensors, as ``fill`` does, with what was collected for some of the shards, as ``collect`` does."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where a block that trains leaves its results."""

    gradients: torch.Tensor | None
    """(sums, length + 1 or more): a shard's gradient and, behind it, its loss; with ``merges`` sums over subtrees.
    None: the derivatives by the layers' sums are all that is wanted (see ``Memory``)."""
    merges: Sequence[int] | None
    """After each shard, how many sums are added to the one before; None where every shard has a row of its own."""
    class_weights: torch.Tensor | None
    epoch_losses: torch.Tensor
    """float64 (shards, rows): row losses are added to it."""
    epoch_hits: torch.Tensor
    """int64 (shards, rows): right predictions are added to it."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the gradients of the weights are made of, in memory that is not the block's own."""

    buffers: Mapping[str, ShardBuffer]
    """By the names of ``buffer_widths``."""
    row_losses: torch.Tensor
    """(shards, rows) float32."""


def buffer_widths(widths: Sequence[int]) -> dict[str, int]:
    """Return names and widths of the buffers of ``Memory``.

    input.l is what layer l's weight multiplies, grad.l the derivative by the sum that it gives.
    """
    inputs = {f"input.{layer}": width for layer, width in enumerate(widths[:-1])}
    return inputs | {f"grad.{layer}": width for layer, width in enumerate(widths[1:])}


class Block:
    """Workspace and passes for ``shards`` gradient shards of ``rows`` rows each.

    Inputs are filled in from outside: ``features`` (shards, rows, inputs) float32, ``labels`` (shards, rows) int64,
    ``weights`` (shards, rows) float32, 0 for padding rows. ``kernels`` is native or torch. ``memory``: see Memory.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        model: ModelConfig,
        precision: str,
        kernels: str,
        parameters: Parameters,
        shards: int,
        rows: int,
        device: torch.device,
        training: Training | None = None,
        memory: Memory | None = None,
    ):
        self._model = model
        self._native = kernels == "native"
        self._precision = precision
        self._layout = layout
        self._values = layout.views(parameters.flat)
        self._products = layout.views(parameters.product_flat)
        widths = layout.widths

        def buffer(width: int, dtype: torch.dtype = torch.float32) -> ShardBuffer:
            return ShardBuffer(shards, rows, width, device, dtype)

        names = [model.activation] * (layout.num_layers - 1) + [model.output_activation]
        self._functions = [ACTIVATIONS[name] for name in names]
        # The native product applies relu itself, and its derivative to the gradient that it hands down.
        self._fused = [self._native and name == "relu" for name in names[:-1]] + [False]
        if memory is None:
            own = {name: buffer(width) for name, width in buffer_widths(widths).items()}
            memory = Memory(buffers=own, row_losses=torch.zeros(shards, rows, device=device))
        layers = range(layout.num_layers)
        inputs = [memory.buffers[f"input.{layer}"] for layer in layers]
        self._inputs = inputs[0]
        # With dropout, the next layer's input is not the output but what is left of it.
        hidden = [buffer(width) for width in widths[1:-1]] if model.dropout else inputs[1:]
        self._outputs = [*hidden, buffer(widths[-1])]
        # z is kept besides f(z) only where the derivative needs it.
        self._sums = [
            buffer(width) if function.needs_input else out
            for width, function, out in zip(widths[1:], self._functions, self._outputs, strict=True)
        ]
        self._grads = [memory.buffers[f"grad.{layer}"] for layer in layers]
        half = precision == "bf16"
        self._product_inputs = [buffer(w, torch.bfloat16) if half else None for w in widths[:-1]]
        self._product_grads = [buffer(w, torch.bfloat16) if half else None for w in widths[1:]]
        self._dropout = _Dropout(model.dropout, inputs[1:]) if model.dropout and inputs[1:] else None

        self.features = self._inputs.view
        self.labels = torch.zeros(shards, rows, dtype=torch.int64, device=device)
        self.weights = torch.zeros(shards, rows, device=device)
        self.row_losses = memory.row_losses
        self.outputs = self._outputs[-1].view
        """(shards, rows, classes): what the network says, after forward()."""

        sources = [self._inputs, *self._outputs[:-1]]
        self._forward: list[Operation] = []
        for layer, source in enumerate(sources):
            self._forward += self._forward_layer(layer, source)
        self._forward = native.fuse(self._forward)
        unread = Training(
            gradients=None,
            merges=None,
            class_weights=None,
            epoch_losses=torch.zeros(shards, rows, dtype=torch.float64, device=device),
            epoch_hits=torch.zeros(shards, rows, dtype=torch.int64, device=device),
        )
        self._losses = self._loss(unread)
        self.recordable = [] if training is None else self._training(training)
        """What ``train`` does after ``draw``. torch's kernels: operations of the device alone, on fixed buffers."""
        self.operations = [*([] if self._dropout is None else [self.draw]), *self.recordable]
        """What ``train`` does, after ``set_key`` where there is dropout."""
        self._train = native.fuse(self.operations)

    def forward(self) -> None:
        """Compute ``outputs`` without dropout."""
        for operation in self._forward:
            operation()

    def losses(self) -> None:
        """Fill ``row_losses``, after forward()."""
        for operation in self._losses:
            operation()

    def train(self, masks: "DropoutKey") -> None:
        """Fill the shards' gradients, the derivative of each shard's sum of row losses, and add up the epoch's sums."""
        self.set_key(masks)
        for operation in self._train:
            operation()

    def set_key(self, masks: "DropoutKey") -> None:
        """Say what the dropout masks of the next step are a function of."""
        if self._dropout is not None:
            self._dropout.key = masks

    def draw(self) -> None:
        """Draw the dropout masks, after ``set_key``, and send them to the device without waiting for it."""
        if self._dropout is not None:
            self._dropout.draw()

    def _training(self, training: Training) -> list[Operation]:
        sources = [self._inputs, *self._outputs[:-1]]
        operations: list[Operation] = []
        for layer in range(len(sources)):
            if layer > 0 and self._dropout is not None:
                operations.append(self._dropout.drop(layer - 1, self._outputs[layer - 1]))
                sources[layer] = self._dropout.outputs[layer - 1]
            operations += self._forward_layer(layer, sources[layer])
        operations += self._loss(training)
        flat = training.gradients
        gradients = None if flat is None else self._layout.views(flat[:, : self._layout.length])
        for layer in reversed(range(len(sources))):
            operations += self._backward_layer(layer, sources[layer], gradients, training.merges)
        return operations if flat is None else [*operations, *self._loss_sums(flat, training.merges)]

    def _forward_layer(self, layer: int, source: ShardBuffer) -> list[Operation]:
        total, out = self._sums[layer], self._outputs[layer]
        weight, bias = self._products[f"layers.{layer}.weight"], self._values.get(f"layers.{layer}.bias")
        function = self._functions[layer]
        if self._native:
            fused = self._fused[layer]
            call = native.linear(source.view, weight, total.view, bias=bias, relu=fused)
            return [call] if fused or function.is_identity else [call, lambda: function.forward_(total.flat, out.flat)]
        operations: list[Operation] = []
        half = self._product_inputs[layer]
        if half is not None:
            operations.append(lambda: half.flat.copy_(source.flat))
        product = Product(self._precision, out.dense)
        operations.append(lambda: product((half or source).view, weight, total.view))
        if bias is not None:
            operations.append(lambda: total.view.add_(bias))
        return [*operations, lambda: function.forward_(total.flat, out.flat)]

    def _loss(self, training: Training) -> list[Operation]:
        class_weights, grad = training.class_weights, self._grads[-1]
        losses, hits = training.epoch_losses, training.epoch_hits
        if self._native and self._model.loss == "cross_entropy":
            inputs = (self.outputs, self.labels, self.weights, class_weights)
            return [native.cross_entropy(*inputs, self.row_losses, grad.view, (losses, hits))]
        loss = LOSSES[self._model.loss]

        def compute() -> None:
            weights = self.weights if class_weights is None else self.weights * class_weights[self.labels]
            loss(self.outputs, self.labels, weights, self.row_losses, grad)
            losses.add_(self.row_losses)
            hits.add_((self.outputs.argmax(-1) == self.labels) & (self.weights > 0))

        return [compute]

    def _backward_layer(
        self,
        layer: int,
        source: ShardBuffer,
        gradients: dict[str, torch.Tensor] | None,
        merges: Sequence[int] | None,
    ) -> list[Operation]:
        grad, function = self._grads[layer], self._functions[layer]
        total, out = self._sums[layer], self._outputs[layer]
        operations: list[Operation] = []
        if self._dropout is not None and layer < len(self._dropout.masks):
            mask = self._dropout.masks[layer]
            operations.append(lambda: grad.flat.mul_(mask.flat))
        if not (self._fused[layer] or function.is_identity):
            operations.append(lambda: function.backward_(grad.flat, total.flat, out.flat))
        half_grad = self._product_grads[layer]
        if half_grad is not None:
            operations.append(lambda: half_grad.flat.copy_(grad.flat))
        if gradients is not None:
            operations += self._gradients_of_layer(layer, source, gradients, merges)
        if layer > 0:
            operations.append(self._gradient_below(layer))
        return operations

    def _gradients_of_layer(
        self, layer: int, source: ShardBuffer, gradients: dict[str, torch.Tensor], merges: Sequence[int] | None
    ) -> list[Operation]:
        """Return what fills the gradients of a layer's weight and bias."""
        grad = self._grads[layer].view
        of_weight, of_bias = gradients[f"layers.{layer}.weight"], gradients.get(f"layers.{layer}.bias")
        if merges is not None:
            operations: list[Operation] = [native.weight_gradient(source.view, grad, merges, of_weight)]
            return operations if of_bias is None else [*operations, native.column_sums(grad, merges, of_bias)]
        # The bfloat16 input of this layer is still there from the forward pass.
        left = (self._product_inputs[layer] or source).view.transpose(1, 2)
        right = (self._product_grads[layer] or self._grads[layer]).view
        product = Product(self._precision, False)
        operations = [lambda: product(left, right, of_weight)]
        return operations if of_bias is None else [*operations, lambda: torch.sum(grad, dim=1, out=of_bias)]

    def _gradient_below(self, layer: int) -> Operation:
        """Return what fills the derivative by the layer's input."""
        weight, below = self._products[f"layers.{layer}.weight"], self._grads[layer - 1].view
        if self._native:
            gate = self._outputs[layer - 1].view if self._fused[layer - 1] else None
            return native.linear(self._grads[layer].view, weight, below, transposed=True, gate=gate)
        grad = (self._product_grads[layer] or self._grads[layer]).view
        down = Product(self._precision, [self._inputs, *self._outputs][layer].dense)
        return lambda: down(grad, weight.t(), below)

    def _loss_sums(self, gradients: torch.Tensor, merges: Sequence[int] | None) -> list[Operation]:
        column = gradients[:, self._layout.length : self._layout.length + 1]
        if merges is not None:
            return [native.column_sums(self.row_losses.unsqueeze(-1), merges, column)]
        behind = gradients[:, self._layout.length + 1 :]
        return [lambda: torch.sum(self.row_losses, dim=1, out=column[:, 0]), behind.zero_]


class _Dropout:
    """The masks of the hidden layers, and their outputs under them."""

    def __init__(self, probability: float, buffers: list[ShardBuffer]):
        self.probability = probability
        self.outputs = buffers
        self.masks = [buffer.like() for buffer in buffers]
        self.key: DropoutKey
        self._upload = Upload([mask.flat for mask in self.masks])

    def draw(self) -> None:
        """Draw the masks of all layers."""
        for layer, (mask, host) in enumerate(zip(self.masks, self._upload.fill(), strict=True)):
            self.key.fill(host.as_strided(mask.view.shape, mask.view.stride()), layer, self.probability)
        self._upload.send()

    def drop(self, layer: int, source: ShardBuffer) -> Operation:
        """Return the operation that applies the mask of a layer."""
        mask, dropped = self.masks[layer], self.outputs[layer]
        return lambda: torch.mul(source.flat, mask.flat, out=dropped.flat)


@dataclass(frozen=True, kw_only=True)
class DropoutKey:
    """What the dropout masks of one step are a function of: seed, step and the shards of the block."""

    seed: int
    step: int
    shards: range

    def fill(self, mask: torch.Tensor, layer: int, probability: float) -> None:
        """Fill ``mask`` (shards, rows, width): 0 with the given probability, else 1 / (1 - probability)."""
        for index, shard in enumerate(self.shards):
            key = derive_key(self.seed, "dropout", self.step, shard, layer)
            uniform = np.random.Generator(np.random.Philox(key=key)).random(mask.shape[1:], dtype=np.float32)
            kept = (uniform >= np.float32(probability)).astype(np.float32) / np.float32(1.0 - probability)
            mask[index].copy_(torch.from_numpy(kept))
