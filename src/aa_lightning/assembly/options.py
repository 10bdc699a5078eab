"""Sections of a configuration as their typed option classes."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.check import model_schema
from aa_lightning.configuration.schema import SECTIONS


def options_of(cfg: DictConfig, section: str) -> Any:
    """A section of the configuration as its typed option class."""
    plain = OmegaConf.to_container(cfg[section], resolve=True)
    schema = model_schema(plain["likelihood"]) if section == "model" else SECTIONS[section]
    return schema(**plain)
