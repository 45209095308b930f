"""The multilayer perceptron: where each layer's weight and bias lie, how they start, and what a step computes."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ptrain.config import ModelConfig
from ptrain.keys import derive_key
from ptrain.models.base import Kernels, Layout, Memory, Parameters, Program, Slot, Training
from ptrain.models.block import Block


class MLP:
    """Layers x @ weight + bias, with an activation behind each; see ``ptrain.models.base.Model``.

    ``widths``: features, hidden widths, classes.
    """

    def __init__(self, config: ModelConfig, widths: Sequence[int]):
        self.config = config
        self.widths = tuple(widths)
        self.num_features = self.widths[0]
        self.title = "-".join(map(str, self.widths))
        self.description: dict[str, Any] = {"widths": self.widths}
        # input.l is what layer l's weight multiplies, grad.l the derivative by the sum that it gives.
        self.buffers = {f"input.{layer}": width for layer, width in enumerate(self.widths[:-1])}
        self.buffers |= {f"grad.{layer}": width for layer, width in enumerate(self.widths[1:])}
        slots: list[Slot] = []
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(self.widths)):
            name, grad = f"layers.{layer}", f"grad.{layer}"
            shape = (inputs, outputs)
            slots.append(Slot(name=f"{name}.weight", shape=shape, decays=True, source=f"input.{layer}", grad=grad))
            if config.bias:
                slots.append(Slot(name=f"{name}.bias", shape=(outputs,), decays=False, grad=grad))
        self.layout = Layout.of(slots)

    @classmethod
    def on(cls, config: ModelConfig, num_features: int, num_classes: int) -> "MLP":
        """Make the configured network for data of this width and number of classes."""
        return cls(config, (num_features, *config.hidden, num_classes))

    @classmethod
    def described(cls, config: ModelConfig, description: dict[str, Any]) -> "MLP":
        """Make it again from its ``description``."""
        return cls(config, description["widths"])

    def initial(self, seed: int) -> torch.Tensor:
        """Draw the initial weights, float32 (length,) on the CPU; biases are 0.

        normal: N(0, init_sigma²). glorot: uniform with bound sqrt(6 / (inputs + outputs)), Glorot and Bengio, AISTATS
        2010. he: N(0, 2 / inputs), He et al., ICCV 2015. Every layer draws from its own Philox stream, keyed by the
        seed.
        """
        flat = torch.zeros(self.layout.length)
        views = self.layout.views(flat)
        kind = self.config.init
        if kind == "auto":
            kind = "he" if self.config.activation in ("relu", "leaky_relu", "elu", "gelu", "softplus") else "glorot"
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(self.widths)):
            random = np.random.Generator(np.random.Philox(key=derive_key(seed, "weights", layer)))
            if kind == "glorot":
                bound = math.sqrt(6.0 / (inputs + outputs))
                values = random.uniform(-bound, bound, (inputs, outputs))
            else:
                sigma = self.config.init_sigma if kind == "normal" else math.sqrt(2.0 / inputs)
                values = sigma * random.standard_normal((inputs, outputs))
            views[f"layers.{layer}.weight"].copy_(torch.from_numpy(values))
        return flat

    def program(
        self,
        parameters: Parameters,
        kernels: Kernels,
        shards: range,
        rows: int,
        training: Training | None = None,
        memory: Memory | None = None,
    ) -> Program:
        """Bind a pass over these shards to buffers."""
        return Block(self, parameters, kernels, shards, rows, training, memory)
