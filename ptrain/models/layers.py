"""The operations of one layer, x @ weight + bias and an activation, in two sets of kernels with one interface."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ptrain.models.activations import Function
from ptrain.models.base import Operation
from ptrain.models.buffers import Product, ShardBuffer
from ptrain.native import calls


@dataclass(frozen=True, kw_only=True)
class LayerBuffers:
    """What a layer reads and writes besides its input."""

    weight: torch.Tensor
    """(inputs, outputs), in the type that products read."""
    bias: torch.Tensor | None
    total: ShardBuffer
    """z = x @ weight + bias; ``out`` itself where the derivative does not need it."""
    out: ShardBuffer
    """f(z)."""
    grad: ShardBuffer
    """Receives the derivative by f(z), which becomes the one by z."""


class NativeLayer:
    """With ptrain's kernels, whose products apply relu, and its derivative to the gradient that they hand down."""

    def __init__(self, buffers: LayerBuffers, function: Function, fuses: bool):
        self.buffers, self._function = buffers, function
        self.fuses = fuses
        """Whether its product applies the activation, which is relu; the layer above then applies the derivative."""

    def forward(self, source: ShardBuffer) -> list[Operation]:
        """Fill ``out`` from the layer's input."""
        b, function = self.buffers, self._function
        call = calls.linear(source.view, b.weight, b.total.view, bias=b.bias, relu=self.fuses)
        plain = self.fuses or function.is_identity
        return [call] if plain else [call, lambda: function.forward_(b.total.flat, b.out.flat)]

    def derive(self) -> list[Operation]:
        """Turn ``grad`` into the derivative by z, where the layer above has not done so."""
        return [] if self.fuses else _derive(self.buffers, self._function)

    def gradients(
        self, source: ShardBuffer, of_weight: torch.Tensor, of_bias: torch.Tensor | None, merges: Sequence[int] | None
    ) -> list[Operation]:
        """Fill the gradients of weight and bias, added up over subtrees."""
        assert merges is not None
        grad = self.buffers.grad.view
        operations: list[Operation] = [calls.weight_gradient(source.view, grad, merges, of_weight)]
        return operations if of_bias is None else [*operations, calls.column_sums(grad, merges, of_bias)]

    def below(self, lower: "Layer") -> Operation:
        """Fill the ``grad`` of the layer below."""
        gate = lower.buffers.out.view if lower.fuses else None
        b = self.buffers
        return calls.linear(b.grad.view, b.weight, lower.buffers.grad.view, transposed=True, gate=gate)


class TorchLayer:
    """With torch's kernels, shard by shard where their bits would depend on the number of shards."""

    def __init__(self, buffers: LayerBuffers, function: Function, precision: str):
        self.buffers, self.fuses, self._function, self._precision = buffers, False, function, precision
        half, inputs = precision == "bf16", buffers.weight.shape[0]
        self._half_input = buffers.grad.like(inputs, torch.bfloat16) if half else None
        self._half_grad = buffers.grad.like(dtype=torch.bfloat16) if half else None

    def forward(self, source: ShardBuffer) -> list[Operation]:
        """Fill ``out`` from the layer's input."""
        b, function, half = self.buffers, self._function, self._half_input
        product = Product(self._precision, b.out.dense)
        operations: list[Operation] = [] if half is None else [lambda: half.flat.copy_(source.flat)]
        operations.append(lambda: product((half or source).view, b.weight, b.total.view))
        if b.bias is not None:
            bias = b.bias
            operations.append(lambda: b.total.view.add_(bias))
        return [*operations, lambda: function.forward_(b.total.flat, b.out.flat)]

    def derive(self) -> list[Operation]:
        """Turn ``grad`` into the derivative by z."""
        half, grad = self._half_grad, self.buffers.grad
        operations = _derive(self.buffers, self._function)
        return operations if half is None else [*operations, lambda: half.flat.copy_(grad.flat)]

    def gradients(
        self, source: ShardBuffer, of_weight: torch.Tensor, of_bias: torch.Tensor | None, merges: Sequence[int] | None
    ) -> list[Operation]:
        """Fill the gradients of weight and bias, a shard each."""
        assert merges is None
        grad = self.buffers.grad
        # The bfloat16 input is still there from the forward pass.
        left, right = (self._half_input or source).view.transpose(1, 2), (self._half_grad or grad).view
        product = Product(self._precision, False)
        operations: list[Operation] = [lambda: product(left, right, of_weight)]
        return operations if of_bias is None else [*operations, lambda: torch.sum(grad.view, dim=1, out=of_bias)]

    def below(self, lower: "Layer") -> Operation:
        """Fill the ``grad`` of the layer below."""
        grad, target = (self._half_grad or self.buffers.grad).view, lower.buffers.grad
        down, weight = Product(self._precision, target.dense), self.buffers.weight.t()
        return lambda: down(grad, weight, target.view)


def _derive(buffers: LayerBuffers, function: Function) -> list[Operation]:
    if function.is_identity:
        return []
    return [lambda: function.backward_(buffers.grad.flat, buffers.total.flat, buffers.out.flat)]


Layer = NativeLayer | TorchLayer
