"""Preallocated buffers of a block of shards, laid out so that a shard's bits do not depend on where in it it lies."""

import torch

SHARD_ALIGNMENT = 64
"""Every shard starts at a multiple of this many elements: two vector registers of any processor, so that no shard's
elements ever fall to the scalar tail of a vector loop, whose exp and tanh round differently."""


def shard_stride(rows: int, width: int) -> int:
    """Elements from the start of a shard to that of the next."""
    return -(-rows * width // SHARD_ALIGNMENT) * SHARD_ALIGNMENT


class ShardBuffer:
    """A zeroed (shards, rows, width) tensor whose shards start at multiples of SHARD_ALIGNMENT.

    ``view`` is the tensor, ``flat`` all of its storage including the padding, for elementwise operations. ``storage``:
    memory to lie in, shards * shard_stride elements long.
    """

    def __init__(
        self,
        shards: int,
        rows: int,
        width: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        storage: torch.Tensor | None = None,
    ):
        stride = shard_stride(rows, width)
        self.flat = torch.zeros(shards * stride, dtype=dtype, device=device) if storage is None else storage
        self.view = self.flat.as_strided((shards, rows, width), (stride, width, 1), self.flat.storage_offset())
        self.dense = stride == rows * width
        """Whether there is no padding between shards; the same for any number of shards."""

    def part(self, shards: range) -> "ShardBuffer":
        """Cut out some of the shards, in the same memory."""
        _, rows, width = self.view.shape
        stride = shard_stride(rows, width)
        storage = self.flat[shards.start * stride : shards.stop * stride]
        return ShardBuffer(len(shards), rows, width, storage.device, storage.dtype, storage)

    def like(self, width: int | None = None, dtype: torch.dtype | None = None) -> "ShardBuffer":
        """Make another zeroed buffer for the same shards and rows, by default of the same width and type."""
        shards, rows, own = self.view.shape
        return ShardBuffer(shards, rows, width or own, self.flat.device, dtype or self.flat.dtype)


class Product:
    """Matrix products of every shard in a block, with one result for a shard whatever block it is computed in.

    One batched call serves the shards where they lie densely; otherwise, and for bf16, a call a shard, since a batched
    call changes its path with the strides and the number of its matrices.
    """

    def __init__(self, precision: str, batched: bool):
        self.precision = precision
        self.batched = batched and precision == "fp32"
        self._results: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """Fill ``out`` with left @ right. left: (shards, m, k); right: (shards, k, n) or (k, n); out: (shards, m, n).

        With bf16, left and right are bfloat16 and the rounded result is converted to ``out``'s float32.
        """
        shared = right.dim() == 2
        if self.batched:
            torch.bmm(left, right.expand(left.shape[0], *right.shape) if shared else right, out=out)
            return
        for shard in range(left.shape[0]):
            matrix = right if shared else right[shard]
            if self.precision == "fp32":
                torch.mm(left[shard], matrix, out=out[shard])
            else:
                out[shard].copy_(torch.mm(left[shard], matrix, out=self._bf16_result(out[shard])))

    def _bf16_result(self, like: torch.Tensor) -> torch.Tensor:
        shape = tuple(like.shape)
        if shape not in self._results:
            self._results[shape] = torch.empty(shape, dtype=torch.bfloat16, device=like.device)
        return self._results[shape]
