"""The flags of ``ptrain data``; those of the configuration are added by ptrain.config.flags."""

import argparse

ACTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "info": (("SPEC",), "what is in the data: shape, types, classes, ranges, missing values, hash, duplicates"),
    "convert": (
        ("SPEC", "OUT"),
        "write the data as memory-mapped arrays into the folder OUT, to train on with --data OUT",
    ),
    "fetch": (("NAME",), "download one of torchvision's data sets, for nodes without network"),
    "scene": (("OUT",), "make up a scene with its reference, to try things out with"),
}
"""Every action, the words behind it, and what it does."""

SCENE: dict[str, tuple[int | float, str]] = {
    "height": (600, "rows of pixels"),
    "width": (800, "columns of pixels"),
    "bands": (12, "bands from 450 to 2300 nm"),
    "classes": (6, "classes"),
    "noise": (0.25, "deviation of a parcel from the spectrum of its class, relative to it; that of a pixel is half"),
}
"""Numbers of a made-up scene, with their defaults."""


def add_data(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the arguments of ``ptrain data`` and return the group for the fields of the configuration."""
    text = "; ".join(f"{name} {' '.join(words)}: {what}" for name, (words, what) in ACTIONS.items())
    parser.add_argument("action", metavar="ACTION", help=text)
    parser.add_argument("words", metavar="SPEC", nargs="*", help="the source, as in --data; see the action")
    parser.add_argument("--json", dest="as_json", action="store_true", help="info: print JSON")
    group = parser.add_argument_group("made-up scene (scene)")
    for name, (default, what) in SCENE.items():
        kind = type(default)
        metavar = "X" if kind is float else "N"
        text = f"{what} (default: {default})"
        group.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=text)
    return parser.add_argument_group("how the data are read (info and convert)")
