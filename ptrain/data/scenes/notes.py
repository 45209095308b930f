"""What people should know about the splits of a scene before they believe an accuracy."""

from collections.abc import Iterator

from ptrain.config import DataConfig
from ptrain.data.samples import DataSet


def warnings(dataset: DataSet, config: DataConfig) -> Iterator[str]:
    """Yield a line for a split that flatters the accuracy."""
    schema = dataset.schema
    if schema is None or schema.get("kind") != "scene":
        return
    train = dataset.train.samples
    drawn = [name for name, split in dataset.splits.items() if name != "train" and split.samples is train]
    if drawn and config.split in ("random", "stratified"):
        yield (
            f"--split {config.split} of a scene: neighbouring pixels are much alike, so the accuracy on the "
            f"{' and '.join(drawn)} split is flattered; --split blocks holds out whole squares of the scene"
        )
