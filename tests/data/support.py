"""What the tests of the data layer share: the shipped configuration, rows in memory, examples said in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image
from pydantic import TypeAdapter

from aa_lightning.configuration.catalogue import loaded
from aa_lightning.data.options import DataOptions
from aa_lightning.data.sources.files import filled
from aa_lightning.data.template.schema import TemplateOptions
from aa_lightning.data.template.template import Template

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "data"


@dataclass
class Memory:
    """A source of rows in memory."""

    rows: Sequence[dict[str, Any]]

    @property
    def columns(self) -> list[str]:
        return list(self.rows[0])

    def filled(self) -> Counter[str]:
        return filled(self)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def missing(name: str) -> set[str]:
    """The keys of a file of conf/data that a user must give."""
    keys = OmegaConf.missing_keys(OmegaConf.create({"data": loaded(name, [CONF.parent])}))
    return {key.removeprefix("data.") for key in keys if not key.startswith("data.val.")}


def options_named(name: str, *overrides: str) -> DataOptions:
    """A file of conf/data with its defaults and `key=value` changes."""
    cfg = OmegaConf.merge(
        {"data": loaded(name, [CONF.parent])}, OmegaConf.from_dotlist([f"data.{override}" for override in overrides])
    )
    return TypeAdapter(DataOptions).validate_python(OmegaConf.to_container(cfg, resolve=True)["data"])


def template(**options: Any) -> Template:
    """A template out of what its YAML says."""
    return Template(TypeAdapter(TemplateOptions).validate_python(options))


def said(parts: list[dict[str, Any]]) -> str:
    """Parts in one line; decoded media stand in brackets."""
    return "".join(part["text"] if part["type"] == "text" else f"[{seen(part)}]" for part in parts)


def seen(part: dict[str, Any]) -> str:
    """What a test knows a medium by: the colour of a picture or a clip, the rate of a sound."""
    if part["type"] == "audio":
        return f"{part['audio'].rate} Hz"
    if part["type"] == "video":
        return f"{colour(Image.fromarray(part['video'].frames[0]))} clip"
    return colour(part["image"])


def asked(example: Any) -> str:
    """The turns of a prompt in one line."""
    return "|".join(said(message["content"]) for message in example.messages)


_COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 128, 0), "grey": (128, 128, 128)}


def colour(image: Image.Image) -> str:
    """The name of the nearest colour, since clips are compressed."""
    pixel = image.getpixel((0, 0))
    return min(_COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(pixel, _COLOURS[name], strict=True)))
