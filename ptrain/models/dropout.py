"""Dropout: masks that are a function of seed, step, shard and layer, drawn on the host."""

from collections.abc import Sequence

import numpy as np
import torch

from ptrain.keys import derive_key
from ptrain.models.base import Operation
from ptrain.models.buffers import ShardBuffer
from ptrain.native.upload import Upload


class Dropout:
    """The masks of a block's hidden layers, and ``outputs``, what is left of the layers' outputs under them."""

    def __init__(self, probability: float, seed: int, shards: range, outputs: Sequence[ShardBuffer]):
        self.outputs = outputs
        self.masks = [buffer.like() for buffer in outputs]
        self.step = 0
        """The step whose masks are drawn next."""
        self._probability, self._seed, self._shards = probability, seed, shards
        self._upload = Upload([mask.flat for mask in self.masks])

    def draw(self) -> None:
        """Draw the masks of all layers and send them to the device without waiting for it."""
        for layer, (mask, host) in enumerate(zip(self.masks, self._upload.fill(), strict=True)):
            values = host.as_strided(mask.view.shape, mask.view.stride())
            for index, shard in enumerate(self._shards):
                values[index].copy_(self.mask(shard, layer, mask.view.shape[1:]))
        self._upload.send()

    def mask(self, shard: int, layer: int, shape: Sequence[int]) -> torch.Tensor:
        """Draw the mask of a shard, (rows, width): 0 with the given probability, else 1 / (1 - probability)."""
        key = derive_key(self._seed, "dropout", self.step, shard, layer)
        uniform = np.random.Generator(np.random.Philox(key=key)).random(shape, dtype=np.float32)
        kept = (uniform >= np.float32(self._probability)).astype(np.float32)
        return torch.from_numpy(kept / np.float32(1.0 - self._probability))

    def drop(self, layer: int, source: ShardBuffer) -> Operation:
        """Apply the mask of a layer to its output."""
        mask, dropped = self.masks[layer], self.outputs[layer]
        return lambda: torch.mul(source.flat, mask.flat, out=dropped.flat)

    def derive(self, layer: int, grad: ShardBuffer) -> list[Operation]:
        """Apply it to the derivative by what was left of the output; the last layer has no mask."""
        if layer >= len(self.masks):
            return []
        mask = self.masks[layer]
        return [lambda: grad.flat.mul_(mask.flat)]
