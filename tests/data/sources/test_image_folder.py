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
from ptrain.data.sources.load import load, open_source, read, read_unlabelled
from ptrain.data.store.converted import stream_of
from ptrain.data.store.stream import Stream
from ptrain.errors import DataError
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
        (Image.new("RGB", (11, 8)), "11 x 8 pixels, but 0.png has 10 x 8: expected all images alike; resize them"),
        (Image.new("RGB", (8, 10)), "8 x 10 pixels, but 0.png has 10 x 8"),
        (Image.new("I;16", (10, 8)), "16 bits a pixel, but other images have 8: expected all alike"),
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
    assert "no images in it; expected a folder with a folder of images for each class" in refused(f"images:{tmp_path}")
    (tmp_path / "c").write_bytes(b"x")
    assert "c: is no folder" in refused(f"images:{tmp_path / 'c'}")
    with pytest.raises(DataError, match="c: is no folder; expected"):
        opened(f"images:{tmp_path / 'c'}", labelled=False)
    with pytest.raises(DataError, match=r"no images; expected files that end in \.jpg"):
        opened(f"images:{tmp_path}", labelled=False)


def test_an_empty_folder_is_no_class(tmp_path: Path) -> None:
    (write(tmp_path) / "bird").mkdir()
    stream = opened(tmp_path)
    assert stream.class_names == ("cat", "dog")
    assert stream.notes == (f"{tmp_path}: left out: the folder bird, in which there are no images",)


@pytest.mark.parametrize(
    ("held_out", "splits"),
    [
        ({"VAL": 1}, {"train": 6, "test": 2}),
        ({"dev": 1, "Test": 2}, {"train": 6, "validation": 2, "test": 4}),
    ],
)
def test_splits_are_read_from_their_folders(tmp_path: Path, held_out: dict[str, int], splits: dict[str, int]) -> None:
    for name, count in {"Train": 3, **held_out}.items():
        write(tmp_path / name, count=count)
    dataset = load(DataConfig(data=str(tmp_path)), 0)
    assert {name: split.size for name, split in dataset.splits.items()} == splits
    assert dataset.class_names == ("cat", "dog")
    for split in dataset.splits.values():
        rows = [pixels(10 * label + number, 8, 10, 3) for label in range(2) for number in range(split.size // 2)]
        is_array(split.samples.features, np.array(rows).reshape(split.size, -1))
        is_array(split.samples.labels, np.arange(split.size) // (split.size // 2))
    converted = stream_of(read(DataConfig(data=str(tmp_path))))
    assert list(converted.held_out) == ["validation", "test"][: len(held_out)]


def test_classes_of_other_folders_are_matched_by_name(tmp_path: Path) -> None:
    four, two = tmp_path / "four", tmp_path / "two"
    write(four)
    write(two)
    for folder, old, new in ((four, "cat", "0"), (four, "dog", "180"), (two, "cat", "180"), (two, "dog", "90")):
        (folder / old).rename(folder / new)
    write(four / "more")
    for name, other in (("cat", "270"), ("dog", "90")):
        (four / "more" / name).rename(four / other)
    (four / "more").rmdir()
    names = ("0", "180", "270", "90")
    alone = load(DataConfig(data=str(two), test_fraction=0.0), 0, class_names=names)
    is_array(alone.train.samples.labels, [1, 1, 1, 3, 3, 3])
    both = load(DataConfig(data=str(four), test_data=str(two)), 0)
    assert both.class_names == names
    assert both.test is not None
    is_array(both.test.samples.labels, [1, 1, 1, 3, 3, 3])
    assert any("matched by name; it has no samples of 0, 270" in note for note in both.notes)
    with pytest.raises(DataError, match=r"four: class '0' is none of the classes .* expected 180, 90:"):
        load(DataConfig(data=str(two), test_data=str(four)), 0)


def test_other_images_get_the_size_and_mode_of_the_training_images(tmp_path: Path) -> None:
    schema = opened(write(tmp_path / "colour")).schema
    assert schema == {"kind": "images", "width": 10, "height": 8, "mode": "RGB"}
    grey = opened(write(tmp_path / "grey", mode="L"))
    assert grey.schema == {**schema, "mode": "L"}

    def others(folder: str, like: Any) -> Stream:
        config = DataConfig(data=str(tmp_path / folder))
        found = open_source(config, schema=like, class_names=("cat", "dog"))
        assert isinstance(found, Stream)
        return found

    found = others("grey", schema)
    assert found.notes == (f"{tmp_path / 'grey'}: 6 of 6 images are grey and become RGB",)
    is_array(train(found)[0], np.repeat(train(grey)[0], 3, axis=1))
    found = others("colour", grey.schema)
    assert found.warnings == (
        f"{tmp_path / 'colour'}: 6 of 6 images have colours and become grey, as the training images are",
    )
    is_array(train(found)[0], train(grey)[0])
    with pytest.raises(DataError, match="10 x 8 pixels, but the training images have 8 x 10"):
        others("grey", {**schema, "width": 8, "height": 10})


def test_images_to_predict_need_no_classes_and_keep_their_names(tmp_path: Path) -> None:
    folder = write(tmp_path / "flat")
    for number in (10, 2):
        Image.fromarray(pixels(number, 8, 10, 3)).save(folder / f"IMG_{number}.png")
    samples = read_unlabelled(str(folder))
    assert samples.named is not None
    assert samples.named.heading == "file"
    names = ["IMG_10.png", "IMG_2.png", "cat/0.png", "cat/deeper/1.png", "cat/deeper/2.png", "dog/0.png"]
    assert list(samples.named.names)[:6] == names
    is_array(samples.features[:3], [pixels(seed, 8, 10, 3).reshape(-1) for seed in (10, 2, 0)])
    one = read_unlabelled(str(folder / "IMG_2.png"))
    is_array(one.features, [pixels(2, 8, 10, 3).reshape(-1)])
    assert one.named is not None
    assert list(one.named.names) == ["IMG_2.png"]
