"""The report of one run: one HTML file that needs nothing else, and the PNG files beside it."""

import base64
import io
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.image import imsave

from ptrain import __version__
from ptrain import config as configuration
from ptrain.config.values import shown
from ptrain.evaluation.table import evaluation_tables, score, total_scores
from ptrain.files import write_file
from ptrain.report.heatmap import MAX_SVG_CLASSES, heat_maps
from ptrain.report.plots import Plot, confusion_plots, heat_colour, reliability_plot, run_plots, to_png, to_svg
from ptrain.report.records import RunRecord
from ptrain.report.words import duration, number, percent

MAX_CONFUSIONS = 8
"""Confusions in the list of the most frequent ones."""


def render(template: str, **values: Any) -> str:
    """A page made from a template of this package; values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptrain.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "score": score, "percent": percent}
    environment.filters["svg"] = lambda plot: Markup(to_svg(plot))  # noqa: S704, matplotlib has escaped its texts
    environment.globals["heat_colour"] = heat_colour
    folder = resources.files("ptrain.report") / "templates"
    # The files of this package, not the values of a run: they go into the page as they are.
    style, script = (Markup((folder / file).read_text(encoding="utf-8")) for file in ("style.css", "sort.js"))  # noqa: S704
    return environment.get_template(template).render(style=style, script=script, **values, version=__version__)


def write_report(run: RunRecord, path: Path) -> None:
    """Write the page of a run to ``path`` and its PNG files into plots/ beside it. Raises OSError."""
    plots = all_plots(run)
    content = page_of(run, plots)  # first: where it cannot be made no folder is left
    folder = path.parent / "plots"
    folder.mkdir(exist_ok=True)
    for plot in plots:
        write_file(folder / f"{plot.name}.png", to_png(plot))
    write_file(path, content)


def all_plots(run: RunRecord) -> list[Plot]:
    """Every plot for which the run has the values."""
    plots = run_plots(run.metrics)
    if run.evaluation is not None:
        probabilities = run.evaluation.get("probabilities")
        if probabilities:
            plots.append(reliability_plot(probabilities["calibration"], probabilities["expected_calibration_error"]))
        plots += confusion_plots(run.evaluation["confusion"], run.evaluation["class_names"])
    return plots


def page_of(run: RunRecord, plots: Sequence[Plot]) -> str:
    """The HTML of a run; ``plots`` are those of ``all_plots``."""
    evaluation = run.evaluation
    matrices = [plot for plot in plots if plot.name.startswith("confusion")]
    reliability = [plot for plot in plots if plot.name == "reliability"]
    many = evaluation is not None and len(evaluation["class_names"]) > MAX_SVG_CLASSES
    hashes = {name: run.environment.get(f"{name}_sha256") for name in ("parameters", "data", "config")}
    return render(
        "report.html.j2",
        run=run,
        facts=_facts(run),
        settings=settings_of(run),
        environment=_environment(run.environment),
        hashes={name: value for name, value in hashes.items() if value},
        curves=[plot for plot in plots if plot not in matrices + reliability],
        reliability=reliability,
        evaluation=evaluation,
        totals=[] if evaluation is None else total_scores(evaluation),
        areas=evaluation_tables(evaluation)[2:] if evaluation is not None else [],
        maps=heat_maps(evaluation["confusion"], evaluation["class_names"]) if evaluation and not many else [],
        pictures=[data_uri(to_png(plot)) for plot in matrices] if many else [],
        confusions=[] if evaluation is None else _confusions(run),
    )


def _facts(run: RunRecord) -> list[tuple[str, str, str]]:
    """Name, value and remark of what one wants to know first."""
    facts, evaluation = [], run.evaluation
    if evaluation is not None:
        low, high = evaluation["intervals"]["overall_accuracy"]
        remark = f"95 %: {100 * low:.2f} to {100 * high:.2f}; {evaluation['num_samples']:,} samples"
        facts += [
            ("overall accuracy", percent(evaluation["overall_accuracy"]), remark),
            ("average accuracy", percent(evaluation["average_accuracy"]), "mean over the classes"),
            ("macro F1", score(evaluation["macro"]["f1"]), "mean of the F1s of the classes"),
            ("kappa", score(evaluation["kappa"]), "agreement beyond chance"),
        ]
    if run.metrics:
        facts.append(("training", duration(run.seconds), f"{len(run.metrics)} epochs"))
        facts.append(("throughput", number(run.samples_per_second), "samples a second, median"))
    return facts


def settings_of(run: RunRecord) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """The sections of the configuration: key, value, and whether it is not the default."""
    defaults = configuration.to_dict(configuration.Config())
    sections = []
    for section, content in run.config.items():
        usual = defaults.get(section, {})
        rows = [(key, shown(value), shown(value) != shown(usual.get(key))) for key, value in content.items()]
        sections.append((section, rows))
    return sections


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in environment.items():
        if value is None or key.endswith("_sha256"):
            continue
        if key == "command":
            text = shlex.join(map(str, value))
        elif key == "processes":
            hosts = Counter(process["host"] for process in value)
            text = ", ".join(f"{host} ({count})" if count > 1 else host for host, count in hosts.items())
        else:
            text = str(value)
        rows.append((key.replace("_", " "), text))
    return rows


def data_uri(png: bytes) -> str:
    """A PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _confusions(run: RunRecord) -> list[dict[str, Any]]:
    """The most frequent confusions, each with its misclassified samples as far as they were kept."""
    evaluation = run.evaluation or {}
    names, matrix = evaluation["class_names"], evaluation["confusion"]
    pairs = [(-count, i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) if i != j and count]
    kept, first = {}, 0
    for group in run.misclassified:
        samples = group["samples"]
        pixels = None if run.pixels is None else run.pixels[first : first + len(samples)]
        first += len(samples)
        kept[group["reference"], group["predicted"]] = [
            {
                "position": sample["position"],
                "confidence": f"{100 * sample['confidence']:.0f} %",
                "image": None if pixels is None or index >= len(pixels) else _image(pixels[index]),
            }
            for index, sample in enumerate(samples)
        ]
    return [
        {
            "reference": names[i],
            "predicted": names[j],
            "count": -negative,
            "share": -negative / sum(matrix[i]),
            "samples": kept.get((names[i], names[j]), []),
        }
        for negative, i, j in sorted(pairs)[:MAX_CONFUSIONS]  # the most frequent first, then as in the matrix
    ]


def _image(pixels: Any) -> str:
    """One sample as the address of a PNG: (height, width) grey or (height, width, 3)."""
    file = io.BytesIO()
    imsave(file, pixels, cmap="gray", vmin=0, vmax=255, format="png")
    return data_uri(file.getvalue())
