"""scikit-learn's MLPClassifier, one process with all cores."""

from sklearn.neural_network import MLPClassifier

from benchmarks.programs.common import CLASSES, LEARNING_RATE, arguments, arrays, report, timed


def main() -> None:
    """Train and report."""
    wanted = arguments()
    x, y, test_x, test_y = arrays()
    model = MLPClassifier(
        wanted.hidden,
        solver="sgd",
        alpha=0.0,
        momentum=0.0,
        batch_size=wanted.batch_size,
        learning_rate_init=LEARNING_RATE,
        shuffle=True,
        random_state=0,
    )
    # partial_fit on the whole split is one epoch.
    seconds = timed(wanted.epochs, lambda epoch: model.partial_fit(x, y, classes=range(CLASSES)))
    report(seconds, len(x), float(model.score(test_x, test_y)))


if __name__ == "__main__":
    main()
