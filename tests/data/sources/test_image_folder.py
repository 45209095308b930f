import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptrain.config import DataConfig
from ptrain.data.sources.load import load
from tests.data.sources.streams import is_array, opened, refused, test, train


def pixels(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(
    folder: Path, *, suffix: str = "png", mode: str = "RGB", count: int = 3, size: tuple[int, int] = (8, 10)
) -> Path:
    """Write images of the classes cat and dog with pixels that follow from class and number."""
    for label, name in enumerate(("cat", "dog")):
        (folder / name / "deeper").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            place = folder / name / ("deeper" if number else "") / f"{number}.{suffix}"
            image = Image.fromarray(pixels(10 * label + number, *size, 3)).convert(mode)
            image.save(place)
    return folder


@pytest.mark.parametrize("suffix", ["png", "PNG", "tif", "bmp", "ppm"])
def test_images_are_samples_and_folders_are_classes(tmp_path: Path, suffix: str) -> None:
    stream = opened(f"images:{write(tmp_path / 'a b é', suffix=suffix)}")
    assert (stream.class_names, stream.image_shape, stream.feature_range) == (("cat", "dog"), (8, 10, 3), (0, 255))
    features, labels = train(stream)
    is_array(labels, [0, 0, 0, 1, 1, 1])
    for row, seed in zip(features, (0, 1, 2, 10, 11, 12), strict=True):
        is_array(row, pixels(seed, 8, 10, 3).reshape(-1))


ORDER = """
import json, sys
from ptrain.data.sources.torchvision_sets import import_datasets
images = import_datasets().ImageFolder(sys.argv[1])
print(json.dumps([images.targets, [list(image.tobytes()) for image, _ in images]]))
"""


def test_the_order_is_that_of_torchvision(tmp_path: Path) -> None:
    # another process: other tests expect that torchvision is not loaded in this one
    command = [sys.executable, "-c", ORDER, str(write(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    targets, images = json.loads(done.stdout)
    features, labels = train(opened(tmp_path))
    is_array(labels, targets)
    is_array(features, images)


def test_a_folder_is_known_by_what_is_in_it_and_splits_by_their_names(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "test", count=1)
    stream = opened(tmp_path)
    is_array(test(stream)[1], [0, 1])
    dataset = load(DataConfig(data=str(tmp_path)), 0)
    assert dataset.test is not None
    assert (dataset.train.size, dataset.test.size, dataset.class_names) == (6, 2, ("cat", "dog"))


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [("L", (8, 10), "u1"), ("1", (8, 10), "u1"), ("P", (8, 10, 3), "u1"), ("RGBA", (8, 10, 4), "u1")],
)
def test_modes(tmp_path: Path, mode: str, shape: tuple[int, ...], dtype: str) -> None:
    stream = opened(write(tmp_path, mode=mode))
    assert stream.image_shape == shape
    assert stream.dtype == np.dtype(dtype)
    assert train(stream)[0].shape == (6, int(np.prod(shape)))


def test_sixteen_bits(tmp_path: Path) -> None:
    values = np.arange(80, dtype=np.uint16).reshape(8, 10) * 800
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "0.tif")
    is_array(train(opened(tmp_path))[0], [values.reshape(-1)] * 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            Image.new("RGB", (11, 8)),
            "11 x 8 pixels, RGB, but 0.png has 10 x 8, RGB: expected all images alike; convert",
        ),
        (Image.new("L", (10, 8)), "10 x 8 pixels, L, but 0.png has 10 x 8, RGB"),
        (Image.new("F", (10, 8)), "is of mode F; expected grey, RGB or RGBA"),
    ],
)
def test_an_image_unlike_the_first_is_named_with_the_fix(tmp_path: Path, image: Any, message: str) -> None:
    write(tmp_path)
    image.save(tmp_path / "dog" / "other.tif")
    found = refused(tmp_path)
    assert str(tmp_path / "dog" / "other.tif") in found
    assert message in found


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds less."""
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected an image"),
        (b"no image", "is damaged or no image; expected one of JPEG, PNG"),
        (bomb(5000, 5000), "5000 x 5000 pixels; expected 1 to 16777216"),
        (bomb(2**31 - 1, 2**31 - 1), "could be decompression bomb"),
        (bomb(10, 8), "damaged"),
    ],
)
def test_damaged_images_and_bombs_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (write(tmp_path) / "cat" / "a.png").write_bytes(content)
    found = refused(tmp_path)
    assert str(tmp_path / "cat" / "a.png") in found
    assert message in found


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp", "ppm", "jpg", "webp"):
        path = write(tmp_path / suffix, suffix=suffix) / "dog" / f"0.{suffix}"
        content = path.read_bytes()
        for length in range(0, len(content) - 20, 23):
            path.write_bytes(content[:length])
            assert f"0.{suffix}" in refused(f"images:{tmp_path / suffix}")


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    assert "no folders in it; expected a folder with a folder of images for each class" in refused(f"images:{tmp_path}")
    (write(tmp_path / "a") / "empty").mkdir()
    assert "empty: no images; expected files that end in .jpg" in refused(tmp_path / "a")
    write(tmp_path / "b" / "train")
    write(tmp_path / "b" / "test")
    (tmp_path / "b" / "test" / "bird").mkdir()
    assert "bird: a class without training images; expected one of cat, dog" in refused(tmp_path / "b")
    (tmp_path / "c").write_bytes(b"x")
    assert "c: is no folder" in refused(f"images:{tmp_path / 'c'}")
