"""Small valid scenes for the fuzzer, of every layout that is read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint

from tests.data.fuzz_formats import Seed, files_of
from tests.data.scenes.files import UTM, write


def scene_seeds(folder: Path) -> list[Seed]:
    cube = (np.arange(16 * 16 * 3) % 251).astype(np.uint16).reshape(16, 16, 3)
    reference = (np.arange(256) // 40 % 4).astype(np.uint8).reshape(16, 16)
    options: list[dict[str, Any]] = [
        {}, {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}, {"compress": "lzw"},
        {"driver": "ENVI"}, {"driver": "ENVI", "interleave": "bip"},
        {"mask": reference > 0, "names": ("B2", "B3", "B4"), "scales": (0.1, 0.2, 0.3), "nodata": 7},
        {"gcps": [(0, 0, 11, 48), (0, 16, 11.1, 48), (16, 0, 11, 47.9)], "crs": "EPSG:4326"},
    ]  # fmt: skip
    seeds = []
    for number, keywords in enumerate(options):
        place = folder / str(number)
        place.mkdir()
        envi = "driver" in keywords
        place_scene, place_reference = place / ("a.img" if envi else "a.tif"), place / "r.tif"
        points = [GroundControlPoint(*point) for point in keywords.pop("gcps", ())]
        write(place_scene, cube, **({"gcps": points} if points else UTM), **keywords)
        write(place_reference, reference, colors={1: (255, 0, 0), 2: (0, 255, 0)}, **({} if points else UTM))
        spec = "a.hdr" if envi else "a.tif"
        seeds.append(Seed(spec=spec, labels="r.tif", files=files_of(place)))
    return [*seeds, *_scenes_with_more(folder, cube, reference)]


def _scenes_with_more(folder: Path, cube: NDArray[Any], reference: NDArray[Any]) -> list[Seed]:
    """Return scenes with a mask beside them, an alpha band, a sidecar, and ENVI files as people write them."""
    place = folder / "more"
    place.mkdir()
    mask = np.where(reference > 2, 0, 255).astype(np.uint8)
    write(place / "a.tif", cube, **UTM)
    write(place / "a.tif.msk", mask, compress="deflate")
    write(place / "r.tif", reference, **UTM)
    fields = "".join(
        f"<FieldDefn><Name>{name}</Name><Usage>{use}</Usage></FieldDefn>" for name, use in (("v", 5), ("n", 2))
    )
    sidecar = (
        "<PAMDataset><SRS>EPSG:32632</SRS><GeoTransform>5e5, 10, 0, 5.4e6, 0, -10</GeoTransform>"
        '<PAMRasterBand band="1">'
        "<Description>B2</Description><NoDataValue>7</NoDataValue><Scale>0.5</Scale><Offset>1</Offset>"
        f"<GDALRasterAttributeTable>{fields}<Row><F>1</F><F>oak</F></Row></GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"
    ).encode()
    beside = {"a.tif.aux.xml": sidecar, "r.tif.aux.xml": sidecar}
    seeds = [Seed(spec="a.tif", labels="r.tif", files=files_of(place) | beside)]
    four = np.concatenate([(cube % 251).astype(np.uint8), mask[:, :, None]], axis=2)
    write(place / "b.tif", four, photometric="RGB", alpha="yes", **UTM)
    names = ("b.tif", "r.tif")
    seeds.append(Seed(spec="b.tif", labels="r.tif", files={name: (place / name).read_bytes() for name in names}))
    size = "ENVI\nsamples = 16\nlines = 16\nheader offset = 0\ninterleave = bsq\nbyte order = 1\n"
    scene = (
        f"{size}bands = 3\ndata type = 12\nwavelength units = Nanometers\nwavelength = {{450, 550,\n 650}}\n"
        "bbl = {1, 1, 0}\n"
        "band names = {\nblue, green,\nred}\ndata ignore value = 7\nreflectance scale factor = 10000\n"
    )
    classes = f'{size}bands = 1\ndata type = 1\nclasses = 4\nclass names = {{Unclassified, "oak, old", beech, water}}\n'
    files = {
        "S.IMG": np.moveaxis(cube, 2, 0).astype(">u2").tobytes(), "S.HDR": scene.encode(),
        "r.dat": reference.tobytes(), "r.dat.hdr": classes.replace("\n", "\r\n").encode(),
    }  # fmt: skip
    return [*seeds, Seed(spec="S.HDR", labels="r.dat.hdr", files=files)]
