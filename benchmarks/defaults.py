"""How good ptrain's defaults are beside scikit-learn's and Keras': ``python -m benchmarks.defaults --help``.

Small data: scikit-learn's iris, wine, breast cancer and digits, 5 stratified splits each, 80 % to train on. Large data:
fashion-mnist, or a folder of IDX files such as MNIST's, with their own test split. ptrain runs in this process on one
thread. Prints a line of JSON a result, with the mean accuracy and log loss over the splits.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Features and labels to train on, and to test on."""
Score = dict[str, float]

SMALL = ("iris", "wine", "breast_cancer", "digits")
SPLITS = 5


def small(name: str) -> Iterator[Arrays]:
    """Yield the stratified splits of a data set of scikit-learn."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedShuffleSplit

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    for train, test in StratifiedShuffleSplit(n_splits=SPLITS, test_size=0.2, random_state=0).split(x, y):
        yield x[train], y[train], x[test], y[test]


def large(spec: str) -> Iterator[Arrays]:
    """Yield the one split of a source with a test split of its own."""
    from ptrain.config import DataConfig
    from ptrain.data.sources.load import read

    source = read(DataConfig(data=spec))
    assert source.test is not None
    yield source.train.features, source.train.labels, source.test.features, source.test.labels


def with_ptrain(values: dict[str, Any]) -> Callable[[Arrays, int], Score]:
    """Train with ptrain, with these flags over its defaults."""
    from ptrain.config import build
    from ptrain.run.train import train

    def score(arrays: Arrays, seed: int) -> Score:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part, array in zip(("x", "y", "tx", "ty"), arrays, strict=True):
                np.save(folder / f"{part}.npy", array)
            paths = {"data": "x", "labels": "y", "test_data": "tx", "test_labels": "ty"}
            config = {flag: str(folder / f"{part}.npy") for flag, part in paths.items()}
            config |= {"run_dir": str(folder / "run"), "report": False, "threads": 1, "seed": seed, **values}
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                train(build(config))
            found = json.loads((folder / "run" / "evaluation.json").read_text())
        return {"accuracy": found["overall_accuracy"], "log_loss": found["loss"]}

    return score


def scikit_learn(*, scaled: bool = False, divided: bool = False) -> Callable[[Arrays, int], Score]:
    """MLPClassifier() as it is, on features as they are, behind a StandardScaler(), or divided by 255."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def score(arrays: Arrays, seed: int) -> Score:
        x, y, test_x, test_y = (np.asarray(array) for array in arrays)
        if divided:
            x, test_x = x / np.float32(255), test_x / np.float32(255)
        model = MLPClassifier(random_state=seed)
        if scaled:
            model = make_pipeline(StandardScaler(), model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 200 epochs were not enough
            model.fit(x, y)
        shares = model.predict_proba(test_x)
        return {"accuracy": float(np.mean(shares.argmax(1) == test_y)), "log_loss": float(log_loss(test_y, shares))}

    return score


KERAS = {"optimizer": "adam", "lr": 0.001, "epsilon": 1e-7, "batch_size": 32, "init": "glorot"}
"""Keras' defaults: Adam, fit()'s batch size, Dense's initial weights; how long to train it leaves to the user."""
PEERS = {
    "MLPClassifier()": scikit_learn,
    "x / 255, MLPClassifier()": lambda: scikit_learn(divided=True),
    "StandardScaler(), MLPClassifier()": lambda: scikit_learn(scaled=True),
    "as Keras, 20 epochs": lambda: with_ptrain(KERAS | {"epochs": 20, "normalize": "none"}),
    "as Keras, scaled, 20 epochs": lambda: with_ptrain(KERAS | {"epochs": 20}),
    "ptrain --optimizer sgd": lambda: with_ptrain({"optimizer": "sgd", "batch_size": 128, "epochs": 20}),
    "ptrain": lambda: with_ptrain({}),
}


def main() -> None:
    """Measure the chosen methods, or ptrain with flags of one's own, on the chosen data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(SMALL), help="of scikit-learn, or a source of ptrain")
    parser.add_argument("--methods", nargs="*", default=list(PEERS), help="; ".join(PEERS))
    parser.add_argument("--flags", action="append", default=[], help='of ptrain, as JSON: {"lr": 0.01}')
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    methods = {name: PEERS[name]() for name in given.methods}
    methods |= {text: with_ptrain(json.loads(text)) for text in given.flags}
    for data in given.data:
        splits = list(small(data) if data in SMALL else large(data))
        for name, method in methods.items():
            start = time.perf_counter()
            scores = [method(arrays, seed) for arrays in splits for seed in range(given.seeds)]
            means = {key: round(float(np.mean([one[key] for one in scores])), 4) for key in scores[0]}
            seconds = round((time.perf_counter() - start) / len(scores), 2)
            print(json.dumps({"data": data, "method": name} | means | {"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
