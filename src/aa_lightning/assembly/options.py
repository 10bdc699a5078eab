"""Sections of a configuration as their typed option classes."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter

from aa_lightning.configuration.check import SECTIONS, model_schema


def options(cfg: DictConfig, section: str) -> Any:
    """A section of the configuration as its typed option class."""
    plain = OmegaConf.to_container(cfg[section], resolve=True)
    plain.pop("_target_", None)
    schema = model_schema(plain["likelihood"]) if section == "model" else SECTIONS[section]
    return TypeAdapter(schema).validate_python(plain)
