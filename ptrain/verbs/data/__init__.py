"""``ptrain data``: look at data, convert them, fetch them, make some up."""

from collections.abc import Sequence
from typing import Any

from ptrain.config import Config


def run(action: str, words: Sequence[str], config: Config, *, as_json: bool, scene: dict[str, Any]) -> int:
    """Do what ``action`` says with the words behind it and return the exit code.

    Raises:
        InputError: the data, the place to write to, or a flag is at fault; on every rank alike.
    """
    if action == "info":
        from ptrain.verbs.data import info as data_info

        return data_info.run(config, as_json=as_json)
    if action == "convert":
        from ptrain.verbs.data import convert as data_convert

        return data_convert.run(config, words[1])
    if action == "scene":
        from ptrain.verbs.data import scene as data_scene

        return data_scene.run(words[0], **scene)
    from ptrain.verbs.data import fetch as data_fetch

    return data_fetch.run(words[0])
