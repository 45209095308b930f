"""A configuration as TOML and JSON have it, there and back; its hash, and what differs between two."""

import dataclasses
import json
import time
import tomllib
from pathlib import Path
from typing import Any

from ptrain.config.sections import RENAMED, SECTIONS, Config
from ptrain.config.values import build as build_one
from ptrain.config.values import nearest
from ptrain.errors import ConfigError, os_error_as
from ptrain.files import write_file

FIELDS = {field.name: name for name, section in SECTIONS.items() for field in dataclasses.fields(section)}
"""The section of every field, by field name."""


def build(values: dict[str, Any]) -> Config:
    """Build a Config from flat field names and values as TOML gives them (lists become tuples).

    Raises ConfigError for an unknown name, naming the nearest valid one, and for a value of the wrong type.
    """
    parts: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for given_name, value in values.items():
        name = RENAMED.get(given_name, given_name)
        if name not in FIELDS:
            raise ConfigError(f"unknown configuration key {name}: {nearest(name, list(FIELDS))}")
        parts[FIELDS[name]][name] = value
    return Config(**{name: build_one(SECTIONS[name], part) for name, part in parts.items()})


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Sections and their values; fields that are None are left out, since TOML has no null."""
    return {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in dataclasses.asdict(config).items()
    }


def from_dict(content: dict[str, dict[str, Any]]) -> Config:
    """Build a Config from sections and values, as ``to_dict`` gives them."""
    return build({key: value for section in content.values() for key, value in section.items()})


def read_toml(path: Path) -> dict[str, Any]:
    """Read the flat values of a TOML file with the sections of Config.

    Raises ConfigError where the file is missing or not TOML, and for an unknown section or key.
    """
    document = _document(path)
    values: dict[str, Any] = {}
    for section, content in document.items():
        if section in FIELDS and not isinstance(content, dict):
            raise ConfigError(f"{path}: {section} outside of a section: it belongs in [{FIELDS[section]}]")
        if section not in SECTIONS:
            raise ConfigError(f"{path}: unknown section [{section}]: {nearest(section, list(SECTIONS))}")
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: {section} is not a section: expected [{section}] and its keys below it")
        for given_key, value in content.items():
            key = RENAMED.get(given_key) or given_key
            if FIELDS.get(key) != section:
                keys = [name for name, owner in FIELDS.items() if owner == section]
                hint = f"it belongs in [{FIELDS[key]}]" if key in FIELDS else nearest(key, keys)
                raise ConfigError(f"{path}: unknown key {key} in [{section}]: {hint}")
            values[key] = value
    return values


def _document(path: Path) -> dict[str, Any]:
    try:
        with os_error_as(ConfigError, f"--config {path}: cannot be read", "expected a TOML file"):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not a TOML file ({error})") from None


def write_toml(config: Config, path: Path) -> None:
    """Write the whole configuration, defaults included. Raises OSError."""
    import tomli_w

    write_file(path, tomli_w.dumps(to_dict(config)))


def default_run_dir(data: str) -> str:
    """runs/NAME-TIME for a source of data: where a run without ``--run-dir`` goes."""
    name = Path(data.partition(":")[2] or data).stem if "/" in data else Path(data.partition(":")[0]).stem
    return str(Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")


def differences(old: Config, new: Config) -> list[str]:
    """What changed between two configurations that can change the result, as ``lr: 0.1 -> 0.2``."""
    before, after = (
        {
            name: value
            for section in (one.data, one.model, one.optimizer, one.train)
            for name, value in vars(section).items()
        }
        for one in (old, new)
    )
    return [f"{name}: {value} -> {after[name]}" for name, value in before.items() if value != after[name]]


def sha256(config: Config) -> str:
    """The hash of everything in the configuration that can change the result (all but [run])."""
    return content_sha256(to_dict(config))


def file_sha256(path: Path) -> str:
    """The same of a file that ``write_toml`` wrote, as it stands there: a later version's new fields do not count.

    Raises ConfigError where it cannot be read.
    """
    return content_sha256(_document(path))


def content_sha256(content: dict[str, Any]) -> str:
    """The same of sections and values as they were written."""
    import hashlib  # here, since ptrain --help should not wait for it

    content = {name: section for name, section in content.items() if name != "run"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
