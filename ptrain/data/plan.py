"""Which positions of an epoch's order belong to which step, shard and rank. Pure arithmetic."""

from dataclasses import dataclass


def owned_shards(shards: int, size: int, rank: int) -> range:
    """The contiguous block of ``shards`` that ``rank`` of ``size`` ranks owns; together they own each once."""
    return range(rank * shards // size, (rank + 1) * shards // size)


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The cut of an epoch into global batches and of a global batch into gradient shards.

    Raises ValueError for numbers below 1 and for a batch larger than the number of samples.
    """

    num_samples: int
    batch_size: int
    """Samples of a global batch, over all ranks together; at most ``num_samples``."""
    shards: int

    def __post_init__(self) -> None:
        for name in ("num_samples", "batch_size", "shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more")
        if self.batch_size > self.num_samples:
            raise ValueError(f"batch_size {self.batch_size} is above the {self.num_samples} samples: cut it to them")

    @property
    def rows(self) -> int:
        """Rows of every shard, padding included: ceil(batch_size / shards)."""
        return -(-self.batch_size // self.shards)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; the last may have fewer valid rows."""
        return -(-self.num_samples // self.batch_size)

    def valid_rows(self, step: int) -> int:
        """The number of samples in the global batch of ``step``, counted from the start of the epoch."""
        return min(self.batch_size, self.num_samples - step * self.batch_size)

    def block(self, step: int, shards: range) -> range:
        """The positions of the epoch's order that neighbouring ``shards`` hold at ``step``; they may be none.

        Only the end of the block is padded.
        """
        start = step * self.batch_size
        end = start + self.valid_rows(step)
        return range(min(start + shards.start * self.rows, end), min(start + shards.stop * self.rows, end))
