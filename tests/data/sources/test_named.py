import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptrain.config import DataConfig
from ptrain.data import checks
from ptrain.data.samples import DataSet
from ptrain.data.sources import fashion_mnist, idx, torchvision_sets
from ptrain.data.sources.load import load
from ptrain.errors import DataError


def get(spec: str, **fields: float) -> DataSet:
    dataset = load(DataConfig(data=spec, **fields), 0)  # type: ignore[arg-type]
    checks.check(dataset)
    return dataset


def sha256(dataset: DataSet) -> str:
    return checks.combine_fingerprints([checks.fingerprint_blocks(dataset)])


def test_digits_are_those_of_scikit_learn_with_every_fifth_for_the_test() -> None:
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    test = np.arange(len(data)) % 5 == 4
    dataset = get("digits")
    assert dataset.test is not None
    np.testing.assert_array_equal(dataset.train.samples.features, data[~test])
    np.testing.assert_array_equal(dataset.train.samples.labels, target[~test])
    np.testing.assert_array_equal(dataset.test.samples.features, data[test])
    np.testing.assert_array_equal(dataset.test.samples.labels, target[test])
    assert (dataset.train.size, dataset.test.size, dataset.num_classes) == (1438, 359, 10)
    assert (dataset.image_shape, dataset.feature_range) == ((8, 8), (0, 16))
    assert dataset.train.samples.features.dtype == np.uint8


def test_loading_digits_imports_neither_scikit_learn_nor_torch() -> None:
    program = (
        "import sys; from ptrain.config import DataConfig; from ptrain.data.sources.load import load\n"
        "load(DataConfig(), 0)\n"
        "print([name for name in ('sklearn', 'torch', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


def test_fashion_mnist_is_the_real_one() -> None:
    dataset = get("fashion-mnist", validation=0.1)
    assert {name: split.size for name, split in dataset.splits.items()} == {
        "train": 54_000,
        "validation": 6_000,
        "test": 10_000,
    }
    assert (dataset.num_features, dataset.num_classes, dataset.image_shape) == (784, 10, (28, 28))
    assert dataset.class_names[9] == "Ankle boot"
    # 0.2860 is the mean that this data set is commonly normalised with
    assert dataset.train.samples.labels[:3].tolist() == [9, 0, 0]
    assert dataset.train.samples.features.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert dataset.test is not None
    assert checks.class_counts(dataset.test, 10).tolist() == [1000] * 10


def small_fashion(folder: Path) -> Path:
    """Write the four files with 20 and 10 samples of the real data set."""
    real = fashion_mnist.find(fashion_mnist.folders({})) or Path()
    folder.mkdir(parents=True)
    for path in idx.find_files(real).values():
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            images = "idx3" in path.name
            head, count = stream.read(16 if images else 8), 20 if "train" in path.name else 10
            content = head[:4] + count.to_bytes(4, "big") + head[8:] + stream.read(count * (784 if images else 1))
        (folder / f"{path.name.removesuffix('.gz')}.gz").write_bytes(gzip.compress(content))
    return folder


def test_fashion_mnist_is_found_in_each_place_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "_SYSTEM", tmp_path / "system")
    monkeypatch.chdir(tmp_path)
    environ = {"PTRAIN_DATA": str(tmp_path / "given"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    original = small_fashion(tmp_path / "original")
    cached = tmp_path / "cache/ptrain/data"
    for place in (
        tmp_path / "data/FashionMNIST/raw",
        cached / "FashionMNIST/raw",
        tmp_path / "given/FashionMNIST/raw",
        tmp_path / "system",
        cached / "fashion-mnist",
        tmp_path / "given/fashion-mnist",
    ):
        shutil.copytree(original, place)
        source = fashion_mnist.open_fashion_mnist(environ=environ)
        assert source.test is not None
        assert Path(source.train.origin).parent.resolve() == place
        assert (len(source.train), len(source.test)) == (20, 10)


def test_an_incomplete_folder_is_passed_over(tmp_path: Path) -> None:
    folder = small_fashion(tmp_path / "fashion-mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert fashion_mnist.find([folder, tmp_path / "none"]) is None


def test_where_nothing_has_fashion_mnist_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "_SYSTEM", tmp_path / "system")
    monkeypatch.chdir(tmp_path)
    # None makes an import fail as where the package is not installed
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DataError) as caught:
        fashion_mnist.open_fashion_mnist(
            environ={"PTRAIN_DATA": str(tmp_path / "given"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        )
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "given/fashion-mnist") in message
    assert "torchvision, which could download it, is not installed" in message
    assert message.endswith("run scripts/fetch-fashion-mnist, or install Debian's package dataset-fashion-mnist")


PACKAGE = """
import torch
torch.library.register_fake("torchvision::nms")(lambda boxes: boxes)
torch.library.register_fake("torchvision::roi_align")(lambda boxes: boxes)
"""
DATASETS = """
class Given:
    def __init__(self, root, train, download):
        print("a bar of the download")
        with open(f"{root}/{'train' if train else 'test'}", "a") as file:
            file.write("x")

class Broken:
    def __init__(self, root, train, download):
        raise RuntimeError("Error downloading\\n<no network>")
"""


def test_a_torchvision_whose_operators_do_not_load_still_downloads(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    (package / "datasets.py").write_text(DATASETS)
    program = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); from pathlib import Path\n"
        "from ptrain.data.sources.torchvision_sets import download\n"
        "print([download(name, Path(sys.argv[1])) for name in ('Given', 'Broken')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "root")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout == "[None, 'torchvision could not download it (Error downloading <no network>)']\n"
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == [".download.lock", "test", "train"]


def test_a_missing_torchvision_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    reason = torchvision_sets.download("FashionMNIST", tmp_path)
    assert reason == "torchvision, which could download it, is not installed"


@pytest.mark.parametrize(("name", "expected"), [("or", [0, 1, 1, 1]), ("xor", [0, 1, 1, 0])])
def test_the_four_points_are_training_and_test_split(name: str, expected: list[int]) -> None:
    dataset = get(name)
    assert dataset.test is not None
    assert dataset.test.samples is dataset.train.samples
    assert (dataset.train.size, dataset.test.size) == (4, 4)
    assert dataset.train.samples.features.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert dataset.train.samples.labels.tolist() == expected
    assert dataset.class_names == ("false", "true")


def test_clouds_of_xor_lie_around_the_points() -> None:
    dataset = get("xor:samples=1000,noise=0.1", test_fraction=0.25)
    samples = dataset.train.samples
    assert dataset.test is not None
    assert (dataset.train.size, dataset.test.size) == (750, 250)
    corner = np.rint(np.asarray(samples.features, np.float64)).astype(int)
    assert np.mean((corner[:, 0] ^ corner[:, 1]) == samples.labels) > 0.999
    assert np.std(samples.features - corner) == pytest.approx(0.1, rel=0.05)


def test_spirals_and_blobs_have_the_classes_and_sizes_asked_for() -> None:
    spirals = get("spirals:samples=2000,classes=3,noise=0")
    assert len(spirals.train.samples) == 2000
    assert np.bincount(spirals.train.samples.labels).tolist() == [667, 667, 666]
    assert np.linalg.norm(spirals.train.samples.features, axis=1).max() <= 1 + 1e-4
    blobs = get("blobs:samples=400,classes=4,features=7,noise=0")
    assert blobs.num_features == 7
    assert len(np.unique(blobs.train.samples.features, axis=0)) == 4


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("xor:samples=100,noise=0.2", "48942a862117a8ad"),
        ("spirals", "bb780b6c0c1df459"),
        ("blobs", "06933ef746ffdfa8"),
    ],
)
def test_synthetic_sets_never_change(spec: str, expected: str) -> None:
    assert sha256(get(spec))[:16] == expected


def test_the_seed_of_a_synthetic_set_is_its_own() -> None:
    assert sha256(load(DataConfig(data="blobs"), 0)) == sha256(load(DataConfig(data="blobs"), 1))
    assert sha256(get("blobs:seed=1")) != sha256(get("blobs:seed=0"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "no such source, folder or file; did you mean digits? expected digits, fashion-mnist, or, xor"),
        ("fashion_mnist", "did you mean fashion-mnist?"),
        ("/none/such", "--data /none/such: no such source, folder or file; expected digits"),
        ("", "no such source"),
        ("digits:samples=5", "digits has no parameters"),
        ("idx:", "no path; expected such as idx:PATH"),
        ("npz", "no path; expected such as npz:PATH"),
        ("spirals:sample=3", "unknown parameter sample; did you mean samples? expected samples, classes, noise, seed"),
        ("blobs:seed=x", "expected seed to be a whole number of at least 0"),
        ("blobs:samples=1", "expected samples to be a whole number of at least 2"),
        ("blobs:classes=1", "expected classes to be a whole number of at least 2"),
        ("blobs:noise=nan", "expected noise to be a number of at least 0"),
        ("blobs:noise=-1", "expected noise to be a number of at least 0"),
        ("blobs:samples", "expected samples to be a whole number"),
        ("xor:noise=0.1", "noise is for clouds of samples; add samples=1000"),
    ],
)
def test_specifications_that_name_nothing_say_what_is_understood(spec: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(DataConfig(data=spec), 0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.xyz").write_text("1 2 3")
    with pytest.raises(DataError, match="a file of no format that is known here"):
        load(DataConfig(data=str(tmp_path / "data.xyz")), 0)
    with pytest.raises(DataError, match=r"--labels y.npy with --data digits: expected only with a \.npy file"):
        load(DataConfig(data="digits", labels="y.npy"), 0)
