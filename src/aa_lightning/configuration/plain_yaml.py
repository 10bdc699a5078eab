"""YAML that others may have written, read as plain data: mappings, lists, texts and numbers. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from aa_lightning.configuration.wording import ConfigError

_LARGEST = 4 * 2**20  # bytes; what runs write has some thousands


class _Plain(yaml.loader.SafeLoader):  # the one in Python: the parser in C composes nodes by itself
    """Refuses references within a file, by which a short one can stand for more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it refers to other parts of itself")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; interpolations stay texts, and nothing in it names a class.

    Raises:
        ConfigError: it cannot be read as data.
    """
    if path.stat().st_size > _LARGEST:
        raise ConfigError(f"{path} cannot be read: it has {path.stat().st_size} bytes, and no run writes so many")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Plain)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"{path} cannot be read as data ({reason})") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Raises:
        ConfigError: it cannot be read as data, or holds something else.
    """
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path} holds a {type(found).__name__} where settings belong, and was damaged since it was written"
        )
    return found
