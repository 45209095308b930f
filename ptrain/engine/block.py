"""Forward and backward of the network for a block of gradient shards, written out on preallocated buffers."""

from dataclasses import dataclass

import numpy as np
import torch

from ptrain.config import ModelConfig
from ptrain.engine.activations import ACTIVATIONS
from ptrain.engine.buffers import Product, ShardBuffer
from ptrain.engine.losses import LOSSES
from ptrain.engine.mlp import Layout
from ptrain.keys import derive_key


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


class Block:
    """Workspace and passes for ``shards`` gradient shards of ``rows`` rows each.

    Inputs are filled in from outside: ``features`` (shards, rows, inputs) float32, ``labels`` (shards, rows) int64,
    ``weights`` (shards, rows) float32, 0 for padding rows.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        model: ModelConfig,
        precision: str,
        parameters: Parameters,
        shards: int,
        rows: int,
        device: torch.device,
    ):
        self.model = model
        self.precision = precision
        self.shards = shards
        self.rows = rows
        widths = layout.widths
        self.num_layers = layout.num_layers
        values = layout.views(parameters.flat)
        products = layout.views(parameters.product_flat)
        self._weights = [products[f"layers.{layer}.weight"] for layer in range(self.num_layers)]
        self._biases = [values.get(f"layers.{layer}.bias") for layer in range(self.num_layers)]

        def buffer(width: int, dtype: torch.dtype = torch.float32) -> ShardBuffer:
            return ShardBuffer(shards, rows, width, device, dtype)

        names = [model.activation] * (self.num_layers - 1) + [model.output_activation]
        self._functions = [ACTIVATIONS[name] for name in names]
        self._inputs = buffer(widths[0])
        self._outputs = [buffer(width) for width in widths[1:]]
        # z is kept besides f(z) only where the derivative needs it.
        self._sums = [
            buffer(width) if function.needs_input else out
            for width, function, out in zip(widths[1:], self._functions, self._outputs, strict=True)
        ]
        self._grads = [buffer(width) for width in widths[1:]]
        self._masks = [buffer(width) if model.dropout else None for width in widths[1:-1]]
        self._dropped = [buffer(width) if model.dropout else None for width in widths[1:-1]]
        half = precision == "bf16"
        self._product_inputs = [buffer(w, torch.bfloat16) if half else None for w in widths[:-1]]
        self._product_grads = [buffer(w, torch.bfloat16) if half else None for w in widths[1:]]
        self._forward = [Product(precision, out.dense) for out in self._outputs]
        self._backward = [Product(precision, out.dense) for out in [self._inputs, *self._outputs][:-1]]
        self._gradient = Product(precision, False)
        self._loss = LOSSES[model.loss]

        self.features = self._inputs.view
        self.labels = torch.zeros(shards, rows, dtype=torch.int64, device=device)
        self.weights = torch.zeros(shards, rows, device=device)
        self.row_losses = torch.zeros(shards, rows, device=device)
        self.outputs = self._outputs[-1].view
        """(shards, rows, classes): what the network says, after forward()."""

    def forward(self) -> None:
        """Compute ``outputs`` without dropout."""
        source = self._inputs
        for layer in range(self.num_layers):
            self._forward_layer(layer, source)
            source = self._outputs[layer]

    def losses(self, loss_weights: torch.Tensor) -> None:
        """Fill ``row_losses`` and the output's gradient. loss_weights: (shards, rows)."""
        self._loss(self.outputs, self.labels, loss_weights, self.row_losses, self._grads[-1])

    def train(self, loss_weights: torch.Tensor, gradients: dict[str, torch.Tensor], masks: "DropoutKey") -> None:
        """Fill the shards' gradients, the derivative of each shard's sum of row losses.

        loss_weights: (shards, rows); gradients: by parameter name (shards, *shape), views of the flat workspace.
        """
        sources = [self._inputs]
        for layer in range(self.num_layers):
            self._forward_layer(layer, sources[layer])
            dropped = self._drop(layer, masks) if layer < self.num_layers - 1 else None
            sources.append(dropped or self._outputs[layer])
        self.losses(loss_weights)
        for layer in reversed(range(self.num_layers)):
            self._backward_layer(layer, sources[layer], gradients)

    def _forward_layer(self, layer: int, source: ShardBuffer) -> None:
        total, out = self._sums[layer], self._outputs[layer]
        half = self._product_inputs[layer]
        if half is not None:
            half.flat.copy_(source.flat)
        self._forward[layer]((half or source).view, self._weights[layer], total.view)
        bias = self._biases[layer]
        if bias is not None:
            total.view.add_(bias)
        self._functions[layer].forward_(total.flat, out.flat)

    def _drop(self, layer: int, masks: "DropoutKey") -> ShardBuffer | None:
        mask, dropped = self._masks[layer], self._dropped[layer]
        if mask is None or dropped is None:
            return None
        masks.fill(mask.view, layer, self.model.dropout)
        torch.mul(self._outputs[layer].flat, mask.flat, out=dropped.flat)
        return dropped

    def _backward_layer(self, layer: int, source: ShardBuffer, gradients: dict[str, torch.Tensor]) -> None:
        grad = self._grads[layer]
        mask = self._masks[layer] if layer < self.num_layers - 1 else None
        if mask is not None:
            grad.flat.mul_(mask.flat)
        self._functions[layer].backward_(grad.flat, self._sums[layer].flat, self._outputs[layer].flat)
        half_grad = self._product_grads[layer]
        if half_grad is not None:
            half_grad.flat.copy_(grad.flat)
        # The bfloat16 input of this layer is still there from the forward pass.
        left = (self._product_inputs[layer] or source).view.transpose(1, 2)
        right = (half_grad or grad).view
        self._gradient(left, right, gradients[f"layers.{layer}.weight"])
        if self._biases[layer] is not None:
            torch.sum(grad.view, dim=1, out=gradients[f"layers.{layer}.bias"])
        if layer > 0:
            self._backward[layer](right, self._weights[layer].t(), self._grads[layer - 1].view)


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
