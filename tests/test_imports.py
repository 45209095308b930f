"""The import table: which part of ptrain may import which, and what the command line must not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptrain
from ptrain.verbs import NAMES

ROOT = Path(ptrain.__file__).parent
SOURCES = {
    ".".join(("ptrain", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
COMPILED = ("ptrain.native._kernels",)

FOR_VERBS = (
    *("errors", "keys", "files", "config", "console", "launch", "native", "comm", "sums", "models", "steps", "data"),
    *("evaluation", "report", "slurm", "run"),
)
BASE = ("errors", "keys", "files", "config")
ALLOWED: dict[str, tuple[str, ...]] = {
    "": (),
    "errors": (),
    "console": (),
    "keys": (),
    "files": (),
    "config": ("errors", "comm.table", "config"),
    "config.toml": ("errors", "files", "config"),
    "config.training": ("errors", "config", "data.sources.table"),
    "native": ("errors", "native"),
    "native.structs": ("native._kernels",),
    "native.calls": ("native.structs",),
    "launch.env": ("errors",),
    "launch": ("errors", "launch"),
    "comm": ("launch.env", "errors", "comm.base"),
    "comm.table": (),
    "comm.select": ("launch.env", "errors", "comm"),
    "sums": ("comm.base", "sums"),
    "optimizers": ("config", "native", "optimizers"),
    "optimizers.schedules": ("config",),
    "models": ("config", "keys", "native", "models"),
    "models.base": ("models.buffers",),
    "models.losses": ("models.buffers",),
    "models.inference": ("config", "native", "models.base", "models.losses"),
    "steps": ("errors", "config", "native", "comm.base", "sums", "optimizers", "models.base", "steps"),
    "steps.graph": ("models.base",),
    "steps.shared": ("native", "comm.base", "models.base", "sums", "steps"),
    "steps.memory": ("native", "comm.base", "comm.window", "models.base", "models.buffers", "steps.base"),
    "steps.state": ("models.base", "optimizers.rules"),
    "data": (),
    "data.labels": ("errors",),
    "data.permutation": (),
    "data.plan": (),
    "data.samples": ("errors", "data.labels", "data.permutation"),
    "data.fingerprint": ("data.plan", "data.samples"),
    "data.checks": ("errors", "data.plan", "data.samples"),
    "data.summary": ("data.samples",),
    "data.seen": ("data.plan", "data.samples"),
    "data.normalization": ("data.plan", "data.samples", "data.seen"),
    "data.scale_warnings": ("data.normalization", "data.seen"),
    "data.gather": ("native", "data.normalization", "data.samples"),
    "data.loader": (
        *("keys", "native", "data.gather", "data.normalization", "data.permutation", "data.plan", "data.samples"),
    ),
    "data.store": ("errors", "files", "config", "data.labels", "data.plan", "data.samples", "data.store"),
    "data.held_out": ("errors", "files", "keys", "data.permutation", "data.samples", "data.store.cache"),
    "data.matching": ("errors", "data.samples"),
    "data.missing": ("errors", "files", "sums.exact", "data.samples", "data.store.cache"),
    "data.splits": ("errors", "keys", "data.held_out", "data.matching", "data.permutation", "data.samples"),
    "data.sources": ("errors", "config", "data.labels", "data.samples", "data.store", "data.sources"),
    "data.sources.table": ("errors",),
    "data.sources.synthetic": ("errors", "keys", "data.samples", "data.store.stream", "data.sources.table"),
    "data.sources.load": (
        *("errors", "config", "data.matching", "data.missing", "data.samples", "data.splits", "data.store"),
        "data.sources.table",
    ),
    "data.scenes": ("errors", "files", "config", "data.samples", "data.store", "data.sources", "data.scenes"),
    "evaluation": ("errors", "sums.exact", "evaluation"),
    "evaluation.table": ("errors", "console", "files", "evaluation"),
    "report": ("errors", "files", "config", "evaluation", "report"),
    "slurm": ("errors", "config.flags", "config.values", "launch.child", "slurm"),
    "run": (
        *(*BASE, "console", "launch", "native", "comm", "sums", "optimizers", "models", "steps", "data"),
        *("evaluation", "run"),
    ),
    "run.images": (),
    "run.listing": ("errors", "files"),
    "run.signals": (),
    "run.checkpoint": ("errors", "files"),
    "run.watchdog": ("errors", "files"),
    "verbs": ("verbs.base",),
    "verbs.base": ("errors", "config", "launch"),
    **{f"verbs.{name}": (*FOR_VERBS, "verbs.base", f"verbs.{name}") for name in NAMES},
    "failures": ("errors", "launch.env"),
    "cli": ("errors", "config.flags", "failures", "launch", "verbs"),
    "__main__": ("cli", "launch.orphans"),
}
"""Module or package and what of ptrain it may import; the longest name that fits a module counts."""

HEAVY = ("torch", "mpi4py", "horovod", "sklearn", "scipy", "rich", "numpy")


def is_within(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def imports_of(path: Path) -> Iterator[str]:
    """Yield every module of ptrain that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_within(alias.name, "ptrain"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if is_within(module, "ptrain"):
                for alias in node.names:
                    full = f"{module}.{alias.name}"
                    yield full if full in SOURCES or full in COMPILED else module


def run_by(imported: str, module: str) -> Iterator[str]:
    """Yield the files that an import in ``module`` runs: that one, and its packages if ``module`` is not in them."""
    parts = imported.split(".")
    for length in range(2, len(parts) + 1):
        name = ".".join(parts[:length])
        if name in SOURCES and (name == imported or not is_within(module, name)):
            yield name


def rule_of(module: str) -> str:
    parts = module.split(".")[1:]
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in ALLOWED), "" if module == "ptrain" else f"no rule for {module}")


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_one_way(module: str) -> None:
    allowed = ALLOWED[rule_of(module)]
    for imported in imports_of(SOURCES[module]):
        inside = imported.removeprefix("ptrain").removeprefix(".")
        fits = inside == "" or any(is_within(inside, part) for part in allowed)
        assert fits, f"{module} imports {imported}; the import table allows {', '.join(allowed) or 'nothing of ptrain'}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """All imports count: in functions and under TYPE_CHECKING, and of a submodule those of its packages."""
    needs = {
        module: {one for name in imports_of(path) for one in run_by(name, module)} for module, path in SOURCES.items()
    }
    while needs:
        free = {module for module, wanted in needs.items() if not wanted & (needs.keys() - {module})}
        assert free, "a circle among " + ", ".join(sorted(needs))
        needs = {module: wanted for module, wanted in needs.items() if module not in free}


def test_the_imports_are_found_inside_functions_as_well() -> None:
    found = set(imports_of(ROOT / "cli.py"))
    assert {"ptrain.launch.local", "ptrain.launch.env", "ptrain.config.flags", "ptrain.errors"} <= found


@pytest.mark.parametrize("argv", [["sites"], ["render", "--site", "generic-cpu", "--", "--epochs", "3"]])
def test_slurm_needs_nothing_heavy(argv: list[str]) -> None:
    heavy = [name for name in HEAVY if name != "rich"]
    code = (
        "import sys; from ptrain.cli import main; code = main(['slurm', *sys.argv[1:]]); "
        f"heavy = [name for name in {heavy} if name in sys.modules]; sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_flags_load_nothing_heavy() -> None:
    code = (
        "import sys; from ptrain.cli import main; code = main(['train', '--ranks', '2', '--lr', 'x']); "
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "ptrain: error: --lr x: expected a number\n")


NOT_FOR_A_STEP = (
    *("matplotlib", "sklearn", "scipy", "pandas", "pyarrow", "h5py", "zarr", "rasterio", "torchvision", "PIL"),
    *("jinja2", "rich", "tensorboard", "mlflow", "horovod", "sympy", "networkx", "IPython"),
)
ONE_STEP = """
import sys
from ptrain.steps.slices import SlicesStep
do = SlicesStep.run
def run(*arguments):
    print("modules", len(sys.modules), *(name for name in sys.argv[2:] if name in sys.modules))
    return do(*arguments)
SlicesStep.run = run
from ptrain.cli import main
sys.exit(main(["train", "--max-steps", "1", "--no-report", "--hidden", "8", "--run-dir", sys.argv[1]]))
"""


def test_the_first_step_waits_for_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ONE_STEP, str(tmp_path / "run"), *NOT_FOR_A_STEP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 75, done.stderr
    words = next(line.split() for line in done.stdout.splitlines() if line.startswith("modules "))
    assert words[2:] == []
    # 1,255 with torch 2.13 and Python 3.11, nearly all of them torch's.
    assert int(words[1]) < 1500
