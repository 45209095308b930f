"""The page of one run: what is on it for whole, unfinished, strange and large runs."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from ptrain.report.page import all_plots, page_of, write_report
from ptrain.report.records import read_run
from ptrain.report.words import duration, number
from tests.report.directories import make_run

PLOTS = ["accuracy", "confusion", "confusion_normalised", "learning_rate", "loss", "reliability", "seconds"]
PLOTS += ["throughput"]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Checker(HTMLParser):
    """Collects elements; fails where one is not closed in order or an id is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(path: Path, **what: object) -> tuple[str, list[tuple[str, dict[str, str | None]]]]:
    """Return the text and the elements of the report of a run made as said."""
    run = read_run(make_run(path, **what))  # type: ignore[arg-type]
    text = page_of(run, all_plots(run))
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    ids = [attrs["id"] for _, attrs in checker.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in checker.elements:
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), f"{tag} asks for {attrs[name]}"
        if tag == "img":
            assert attrs.get("alt")
        if attrs.get("role") == "img":
            assert attrs.get("aria-label")
    return text, checker.elements


def test_a_whole_run(tmp_path: Path) -> None:
    text, elements = page(tmp_path / "first", settings={"lr": 0.25})
    write_report(read_run(tmp_path / "first"), tmp_path / "first" / "report.html")
    assert (tmp_path / "first" / "report.html").read_text(encoding="utf-8") == text  # the same every time
    for part in (
        "<h1>first</h1>",
        "0" * 64,
        "node1 (2)",
        "<b>0.25</b>",
        "ptrain train --run-dir",
        "2026-01-31 12:00:00",
    ):
        assert part in text
    labels = [attrs["aria-label"] or "" for _, attrs in elements if attrs.get("role") == "img"]
    assert any(label.startswith("Loss: training from 2 to 0.4 in 5 epochs; validation from 2.2") for label in labels)
    assert sum(label.startswith("Confusion matrix") for label in labels) == 2
    assert [path.stem for path in sorted((tmp_path / "first" / "plots").iterdir())] == PLOTS
    for plot in PLOTS:
        with Image.open(tmp_path / "first" / "plots" / f"{plot}.png") as image:
            image.verify()
            assert min(image.size) > 250


@pytest.mark.parametrize("num_classes", [1, 100, 200])
def test_any_number_of_classes(tmp_path: Path, num_classes: int) -> None:
    text, elements = page(tmp_path / "run", num_classes=num_classes, num_samples=1000)
    squares = sum(1 for _, attrs in elements if attrs.get("class") == "heat")
    pictures = sum(1 for tag, attrs in elements if tag == "img" and "Confusion matrix" in (attrs["alt"] or ""))
    assert (squares, pictures) == ((2, 0) if num_classes <= 150 else (0, 2))
    assert len(text) < 3_000_000


def test_unfinished_runs_say_what_is_missing(tmp_path: Path) -> None:
    text, _ = page(tmp_path / "a", epochs=0, evaluated=False)
    assert "No epoch is finished yet" in text
    assert "No evaluation yet" in text
    text, _ = page(tmp_path / "b", epochs=1, validation=False, image_shape=None)
    assert "No evaluation yet" not in text
    assert re.search(r"samples \d+ \(75 %\)", text)  # without images the places of the samples


def test_names_are_text_and_never_code(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "$x_1^2$", '"quoted" & more', "雲"]
    text, elements = page(tmp_path / "<b>run", class_names=names)
    assert sum(1 for tag, _ in elements if tag == "script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<h1>&lt;b&gt;run</h1>" in text


def test_a_report_can_be_written_elsewhere(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", epochs=1, evaluated=False)
    (tmp_path / "out").mkdir()
    write_report(read_run(folder), tmp_path / "out" / "x.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plots", "x.html"]
    assert not (folder / "plots").exists()


def test_values_for_people() -> None:
    assert [number(value) for value in (None, 12345, 12345.6, 0.00012346, 0.1)] == [
        "–",  # noqa: RUF001
        "12,345",
        "12,346",
        "0.0001235",
        "0.1",
    ]
    assert [duration(value) for value in (0.1234, 59.94, 200, 7500)] == ["0.123 s", "59.9 s", "3 min 20 s", "2 h 5 min"]


def test_the_report_loads_neither_torch_nor_pyplot(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_classes=2)
    program = (
        "import sys; from ptrain.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'mpi4py', 'horovod', 'sklearn', 'scipy', 'matplotlib.pyplot'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "report", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"written to {folder}/report.html\n"
