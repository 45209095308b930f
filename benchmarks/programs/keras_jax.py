"""Keras on JAX: model.fit on arrays in memory, one process with all cores."""

import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
import keras

from benchmarks.programs.common import CLASSES, LEARNING_RATE, arguments, arrays, report


class Clock(keras.callbacks.Callback):
    """Keeps the seconds of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.start)


def main() -> None:
    """Train and report."""
    wanted = arguments()
    x, y, test_x, test_y = arrays()
    layers = [keras.layers.Dense(width, activation="relu") for width in wanted.hidden]
    model = keras.Sequential([keras.Input((x.shape[1],)), *layers, keras.layers.Dense(CLASSES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss)
    clock = Clock()
    model.fit(x, y, batch_size=wanted.batch_size, epochs=wanted.epochs, shuffle=True, verbose=0, callbacks=[clock])
    accuracy = float((model.predict(test_x, verbose=0).argmax(1) == test_y).mean())
    report(clock.seconds, len(x), accuracy)


if __name__ == "__main__":
    main()
