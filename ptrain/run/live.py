"""Live views of a training run for other programs: TensorBoard event files and MLflow."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.errors import ConfigError, StopRequested
from ptrain.files import write_file
from ptrain.run.session import Session

TAGS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "samples_per_second": "samples_per_second",
    "seconds": "seconds_per_epoch",
}
"""Fields of a record of metrics.jsonl and their names in the live views, over the step."""
TEST_TAGS = {key: f"test/{key}" for key in ("overall_accuracy", "average_accuracy", "kappa", "loss", "macro_f1")}
"""Those of the evaluation at the end."""


class Log(Protocol):
    """One live view, on rank 0."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Show values by name at a step, at once."""

    def close(self, status: str) -> None:
        """End with the status FINISHED, FAILED or KILLED (to be continued)."""


@contextmanager
def live_log(
    session: Session, config: Config, folder: Path, step: int
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what takes the records of metrics.jsonl and the evaluation at the end; it acts on rank 0 only.

    ``step``: the step at which the run goes on; what an interrupted run showed after it is taken back where the view
    can. A view that fails on the way is given up with a warning: it is no reason to lose a run.

    Raises ConfigError where the package for the view is not installed, on every rank alike.
    """
    log: Log | None = None

    def start() -> None:
        nonlocal log
        name = config.run.log
        if session.is_root and name != "none":
            try:
                log = _OPEN[name](config, folder, step)
            except ImportError as error:
                text = f"the package {name} cannot be loaded ({error}); pip install 'ptrain[{name}]'"
                raise ConfigError(f"--log {name}: {text}") from None

    def guarded(task: Callable[[Log], None]) -> None:
        nonlocal log
        try:
            if log is not None:
                task(log)
        except Exception as error:  # the packages have no common base of their errors
            log = None
            session.console.warn(f"--log {config.run.log}: given up ({type(error).__name__}: {error})")

    def record(values: Mapping[str, Any]) -> None:
        found = {"macro_f1": values.get("macro", {}).get("f1"), **values}
        tags = TAGS if "epoch" in values else TEST_TAGS
        shown = {tag: found[key] for key, tag in tags.items() if found.get(key) is not None}
        guarded(lambda log: log.scalars(values["step"], shown))

    session.agreed(start)
    status = "FAILED"
    try:
        yield record
        status = "FINISHED"
    except StopRequested:
        status = "KILLED"
        raise
    finally:
        guarded(lambda log: log.close(status))


class _TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, config: Config, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(folder / "tensorboard"), purge_step=step + 1 if step else None)
        self._writer.add_text("config", f"```\n{json.dumps(configuration.to_dict(config), indent=1)}\n```", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()


class _MLflow:
    """One run of MLflow; its id is kept in RUN/mlflow.json, so that a continued run goes on in it."""

    def __init__(self, config: Config, folder: Path, step: int) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # The local file store is asked for on purpose: it needs neither a server nor a data base.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        local = (folder.resolve().parent / "mlruns").as_uri()
        uri = os.environ.get("MLFLOW_TRACKING_URI", local)
        self._client: Any = MlflowClient(tracking_uri=uri)
        kept = folder / "mlflow.json"
        if step and kept.exists():
            self._run_id = str(json.loads(kept.read_text(encoding="utf-8"))["run_id"])
            self._client.update_run(self._run_id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name("ptrain")
        number = self._client.create_experiment("ptrain") if experiment is None else experiment.experiment_id
        self._run_id = self._client.create_run(number, run_name=folder.resolve().name).info.run_id
        write_file(kept, json.dumps({"run_id": self._run_id, "tracking_uri": uri}) + "\n")
        for section, content in configuration.to_dict(config).items():
            for key, value in content.items():
                self._client.log_param(self._run_id, f"{section}.{key}", value)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def close(self, status: str) -> None:
        self._client.set_terminated(self._run_id, status=status)


_OPEN: dict[str, Callable[[Config, Path, int], Log]] = {"tensorboard": _TensorBoard, "mlflow": _MLflow}
