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
        from ptrain.verbs import data_info

        return data_info.run(config, as_json=as_json)
    if action == "convert":
        from ptrain.verbs import data_convert

        return data_convert.run(config, words[1])
    if action == "scene":
        from ptrain.verbs import data_scene

        return data_scene.run(words[0], **scene)
    from ptrain.verbs import data_fetch

    return data_fetch.run(words[0])
