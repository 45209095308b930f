"""The multilayer perceptron as one flat vector: where each layer's weight and bias lie, and how they start."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ptrain.config import ModelConfig
from ptrain.keys import derive_key

ALIGNMENT = 16
"""Every parameter starts at a multiple of this many floats (64 bytes), where matrix libraries expect it."""


def aligned(count: int) -> int:
    """Return ``count`` rounded up to a multiple of ALIGNMENT."""
    return -(-count // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Place of one parameter in the flat vector."""

    name: str
    offset: int
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def view(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the parameter as a view. flat: (..., length); result: (..., *shape)."""
        return flat[..., self.offset : self.offset + self.count].view(*flat.shape[:-1], *self.shape)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layers of an MLP and the place of their parameters in one flat vector."""

    widths: tuple[int, ...]
    """Features, hidden widths, classes."""
    bias: bool

    @property
    def num_layers(self) -> int:
        """Number of weight matrices."""
        return len(self.widths) - 1

    @cached_property
    def slots(self) -> list[Slot]:
        """All parameters in order. A weight is (inputs, outputs): a layer computes x @ weight + bias."""
        slots: list[Slot] = []
        offset = 0
        for layer, (inputs, outputs) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            shapes = {"weight": (inputs, outputs)} | ({"bias": (outputs,)} if self.bias else {})
            for kind, shape in shapes.items():
                slots.append(Slot(name=f"layers.{layer}.{kind}", offset=offset, shape=shape))
                offset += aligned(slots[-1].count)
        return slots

    @cached_property
    def length(self) -> int:
        """Length of the flat vector, padding included, in elements."""
        last = self.slots[-1]
        return last.offset + aligned(last.count)

    @property
    def num_parameters(self) -> int:
        """Number of parameters, padding not counted."""
        return sum(slot.count for slot in self.slots)

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return every parameter as a view of ``flat``, by name. flat: (..., length)."""
        return {slot.name: slot.view(flat) for slot in self.slots}

    def weight_mask(self, device: torch.device) -> torch.Tensor:
        """Return a (length,) vector that is 1 where a weight lies and 0 at biases and padding."""
        mask = torch.zeros(self.length, device=device)
        for slot in self.slots:
            if slot.name.endswith("weight"):
                slot.view(mask).fill_(1.0)
        return mask


def layout_of(model: ModelConfig, num_features: int, num_classes: int) -> Layout:
    """Return the layout of a configured model on data of this width and number of classes."""
    return Layout(widths=(num_features, *model.hidden, num_classes), bias=model.bias)


def initialise(layout: Layout, model: ModelConfig, seed: int) -> torch.Tensor:
    """Return the initial parameters, a float32 (length,) vector on the CPU; biases are 0.

    normal: N(0, init_sigma²). glorot: uniform with bound sqrt(6 / (inputs + outputs)), Glorot and Bengio, AISTATS 2010.
    he: N(0, 2 / inputs), He et al., ICCV 2015. Every layer draws from its own Philox stream, keyed by the seed.
    """
    flat = torch.zeros(layout.length)
    kind = model.init
    if kind == "auto":
        kind = "he" if model.activation in ("relu", "leaky_relu", "elu", "gelu", "softplus") else "glorot"
    for layer in range(layout.num_layers):
        inputs, outputs = layout.widths[layer : layer + 2]
        random = np.random.Generator(np.random.Philox(key=derive_key(seed, "weights", layer)))
        if kind == "glorot":
            bound = math.sqrt(6.0 / (inputs + outputs))
            values = random.uniform(-bound, bound, (inputs, outputs))
        else:
            sigma = model.init_sigma if kind == "normal" else math.sqrt(2.0 / inputs)
            values = sigma * random.standard_normal((inputs, outputs))
        layout.views(flat)[f"layers.{layer}.weight"].copy_(torch.from_numpy(values))
    return flat


def parameters_sha256(layout: Layout, flat: torch.Tensor) -> str:
    """Return the SHA-256 of all parameters in order, as float32 little-endian bytes without padding."""
    digest = hashlib.sha256()
    host = flat.detach().to("cpu")
    for slot in layout.slots:
        digest.update(slot.view(host).contiguous().numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
