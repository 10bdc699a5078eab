"""Limits on what a row may name and hold: files below a folder, addresses, texts up to a length."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aa_lightning import media
from aa_lightning.data.template.parts import medium_of
from aa_lightning.data.template.schema import Select
from aa_lightning.media.options import FetchOptions


@dataclass(frozen=True)
class Allowed:
    """Limits on what rows of a source may name and hold.

    Attributes:
        root: the folder that relative media paths start from.
        confined: whether media must lie below it.
        below_root: whether media must lie below the folders that a mapping names.
        fetch: whether media may be fetched from addresses that rows name.
        fetching: limits of that.
        characters: of a text.
    """

    root: str | None = None
    confined: bool = False
    below_root: bool = True
    fetch: bool = False
    fetching: FetchOptions = field(default_factory=FetchOptions)
    characters: int = 1_000_000

    def medium(self, value: Any, told: Select) -> Any:
        """A medium as a row names it, found: a path below its folder, an address that may be fetched, anything else as it is.

        Raises:
            ValueError: it may not be read; the message is the reason.
        """
        value = medium_of(value, encoded=told.as_ == "base64")
        if isinstance(value, str):
            value = media.meant(value)
        if isinstance(value, Mapping) and isinstance(value.get("path"), str) and not value.get("bytes"):
            return {**value, "path": self.medium(value["path"], told)}
        if not isinstance(value, str):
            return value
        if told.as_ == "url" or (self.fetch and media.is_address(value)):
            return media.Url(value, self.fetching)
        if not value.strip() or media.is_address(value):
            return value
        if told.root is not None:
            return str(_found(_folder(told.root), value, self.below_root))
        return value if self.root is None else str(_found(_folder(self.root), value, self.confined))


ANYTHING = Allowed()


def below(folder: Path, name: str) -> Path:
    """The path of a file in a folder, by its name there. Links count as what they lead to, and a folder as all of its files.

    Raises:
        ValueError: it lies elsewhere.
    """
    path = folder / name
    try:
        strays = any(not one.is_relative_to(folder.resolve()) for one in _meant_by(path))
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a circle of links, a null byte
        raise ValueError(f"{name[:200]!r} cannot be the name of a file ({error}).") from error
    if strays:
        raise ValueError(
            f"{name[:200]!r} leads out of {str(folder)!r}, the folder that media must lie in: write a path in there, "
            "or, where the rows can be trusted, type data.train.below_root=false."
        )
    return path


def _meant_by(path: Path) -> Iterator[Path]:
    """Resolve a file, or a folder and the files in it."""
    yield path.resolve()
    if path.is_dir():
        yield from (inside.resolve() for inside in path.iterdir())


def _found(folder: Path, name: str, confined: bool) -> Path:
    return below(folder, name) if confined else folder / name


def _folder(root: str) -> Path:
    folder = os.path.expandvars(root)
    if "$" in folder:
        raise ValueError(f"The folder {root!r} names an environment variable that is not set.")
    return _path(folder)


@functools.lru_cache(maxsize=1024)
def _path(folder: str) -> Path:
    return Path(folder).expanduser()
