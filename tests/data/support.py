"""What the tests of the data layer share: the shipped configuration, rows in memory, examples said in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image
from pydantic import TypeAdapter

import aa_lightning  # noqa: F401
from aa_lightning.data.options import DataOptions, TemplateOptions
from aa_lightning.data.template import Template

CONF = Path(__file__).parents[2] / "conf" / "data"


@dataclass
class Memory:
    """A source of rows in memory."""

    rows: Sequence[dict[str, Any]]

    @property
    def columns(self) -> list[str]:
        return list(self.rows[0])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def data_options(name: str, *overrides: str) -> DataOptions:
    """A file of conf/data with its defaults and `key=value` changes."""
    merged = OmegaConf.merge(OmegaConf.load(CONF / "default.yaml"), OmegaConf.load(CONF / f"{name}.yaml"))
    OmegaConf.set_readonly(merged, False)
    merged.pop("defaults", None)
    cfg = OmegaConf.merge({"data": merged}, OmegaConf.from_dotlist([f"data.{override}" for override in overrides]))
    return TypeAdapter(DataOptions).validate_python(OmegaConf.to_container(cfg, resolve=True)["data"])


def template(**options: Any) -> Template:
    """A template out of what its YAML says."""
    return Template(TypeAdapter(TemplateOptions).validate_python(options))


def said(parts: list[dict[str, Any]]) -> str:
    """Parts in one line; a decoded picture is its colour in brackets."""
    return "".join(part["text"] if part["type"] == "text" else f"[{colour(part['image'])}]" for part in parts)


def asked(example: Any) -> str:
    """The turns of a prompt in one line."""
    return "|".join(said(message["content"]) for message in example.messages)


def colour(image: Image.Image) -> str:
    names = {(255, 0, 0): "red", (0, 0, 255): "blue", (0, 128, 0): "green", (128, 128, 128): "grey"}
    return names[image.getpixel((0, 0))]
