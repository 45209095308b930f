import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptrain.config import DataConfig
from ptrain.data.sources import torchvision_sets
from ptrain.data.sources.load import load
from ptrain.errors import DataError
from tests.data.sources.torchvision_files import images, labels

NAMES = ["CIFAR10", "CIFAR100", "MNIST", "QMNIST", "EMNIST:letters", "SVHN", "STL10", "USPS", "SEMEION", "EuroSAT"]


def environment(data: Path) -> dict[str, str]:
    cache = {"XDG_CACHE_HOME": str(data / "cache"), "PTRAIN_DATA": str(data)}
    return os.environ | cache | {"OMP_NUM_THREADS": "1", "no_proxy": "*"}


def run(data: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environment(data), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of set, downloaded from a server on this machine through torchvision's own classes."""
    server, data = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("data")
    done = run(data, "-W", "error", "-m", "tests.data.sources.torchvision_files", str(server), str(data), *NAMES)
    assert (done.returncode, done.stderr) == (0, "")
    assert "use it with ptrain train --data torchvision:CIFAR10\n" in done.stdout
    for folder in server.iterdir():  # what is read from now on is the converted form
        folder.unlink()
    return data


def read(data: Path, name: str, split: str) -> np.ndarray:
    source = torchvision_sets.open_torchvision(name, None, {"PTRAIN_DATA": str(data)})
    samples = source.train if split == "train" else source.test
    assert samples is not None
    expected = labels(split) + 1 if name == "EMNIST:letters" else labels(split)
    np.testing.assert_array_equal(samples.labels, expected)
    assert source.image_shape is not None
    return samples.features.reshape(-1, *source.image_shape)


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_torchvision_gives_is_what_is_read_later(fetched: Path, split: str) -> None:
    for name in ("CIFAR10", "CIFAR100"):  # planes of red, green and blue become pixels
        expected = images(split, 3072).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(read(fetched, name, split), expected)
    for name in ("MNIST", "QMNIST", "EMNIST:letters"):
        np.testing.assert_array_equal(read(fetched, name, split), images(split, 28, 28))
    np.testing.assert_array_equal(read(fetched, "SVHN", split), images(split, 32, 32, 3))
    np.testing.assert_array_equal(read(fetched, "STL10", split), images(split, 3, 96, 96).transpose(0, 3, 2, 1))
    assert np.abs(read(fetched, "USPS", split).astype(int) - images(split, 256).reshape(-1, 16, 16)).max() <= 1


def test_sets_without_a_test_split(fetched: Path) -> None:
    source = torchvision_sets.open_torchvision("EuroSAT", None, {"PTRAIN_DATA": str(fetched)})
    assert source.test is None  # and its images are in folders, by class
    np.testing.assert_array_equal(source.train.labels, np.sort(labels("train")))
    np.testing.assert_array_equal(source.train.features[0], images("train", 64, 64, 3)[0].reshape(-1))
    assert read(fetched, "SEMEION", "train").shape == (20, 16, 16)


def test_names_of_classes_and_range(fetched: Path) -> None:
    source = torchvision_sets.open_torchvision("cifar10", None, {"PTRAIN_DATA": str(fetched)})
    assert source.class_names == tuple(f"class {number}" for number in range(10))
    assert (source.name, source.feature_range) == ("torchvision:CIFAR10", (0, 255))
    assert torchvision_sets.open_torchvision("SVHN", None, {"PTRAIN_DATA": str(fetched)}).class_names == tuple(
        "0123456789"
    )


def test_training_needs_neither_torchvision_nor_network(fetched: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None; from ptrain.cli import main; "
        "sys.exit(main(['train', '--data', 'torchvision:CIFAR10', '--hidden', '16', '--epochs', '1', '--no-report', "
        f"'--run-dir', {str(tmp_path / 'run')!r}]))"
    )
    done = run(fetched, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_fetching_again_does_nothing(fetched: Path) -> None:
    done = run(fetched, "-c", "import sys; from ptrain.cli import main; sys.exit(main(['data', 'fetch', 'CIFAR10']))")
    assert (done.returncode, done.stderr) == (0, "")
    assert "fetching" not in done.stdout


TROUBLE = """
import sys, urllib.error, urllib.request
from pathlib import Path
from ptrain.cli import main
import tests.data.sources.torchvision_files as files

server, data = Path(sys.argv[1]), Path(sys.argv[2])
urlopen, put = urllib.request.urlopen, files.Site.put

def closed(*_, **__):
    raise urllib.error.URLError("Network is unreachable")

def half(site, name, content):
    (site.folder / name).write_bytes(content[:len(content) // 2])
    return files.md5(content)

urllib.request.urlopen = closed
print(main(["data", "fetch", "MNIST"]))
urllib.request.urlopen, files.Site.put = urlopen, half
print(files.serve(server, data, ["CIFAR10", "USPS"]))
files.Site.put = put
print(files.serve(server, data, ["CIFAR10", "USPS", "MNIST"]))
"""


def test_a_download_that_fails_or_was_cut_off_is_one_line_and_starts_again(tmp_path: Path) -> None:
    server, data = tmp_path / "server", tmp_path / "data"
    server.mkdir()
    done = run(data, "-c", TROUBLE, str(server), str(data))
    assert done.returncode == 0
    offline, cifar, usps = done.stderr.splitlines()
    assert "Network is unreachable" in offline
    assert "run ptrain data fetch MNIST again on a machine with a network, such as the login node" in offline
    assert "torchvision:CIFAR10: torchvision could not fetch it (RuntimeError: File not found or corrupted.)" in cifar
    assert "torchvision:USPS: torchvision could not fetch it (RuntimeError: File not found or corrupted.)" in usps
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["2", "4", "0"]
    assert len(torchvision_sets.open_torchvision("USPS", None, {"PTRAIN_DATA": str(data)}).train) == 20


def test_a_missing_set_names_the_command_that_fetches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="run ptrain data fetch CIFAR10 on a machine with a network, such as the login"):
        load(DataConfig(data="torchvision:cifar10"), 0)
    with pytest.raises(DataError, match="run ptrain data fetch EMNIST:balanced on"):
        load(DataConfig(data="torchvision:EMNIST"), 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CIFAR11", "no such data set; did you mean CIFAR10? expected one of CIFAR10, CIFAR100"),
        ("", "no such data set; expected one of CIFAR10"),
        ("EMNIST:latin", "no variant latin of EMNIST; expected one of balanced, byclass"),
        ("MNIST:letters", "no variant letters of MNIST; expected just torchvision:MNIST"),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        torchvision_sets.parse(name)
    assert message in str(caught.value)
