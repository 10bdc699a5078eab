"""Sections of a configuration as their typed option classes."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.check import model_schema
from aa_lightning.configuration.schema import SECTIONS
from aa_lightning.system.processes import is_worker


def options_of(cfg: DictConfig, section: str) -> Any:
    """A section of the configuration as its typed option class."""
    plain = OmegaConf.to_container(cfg[section], resolve=True)
    schema = model_schema(plain["likelihood"]) if section == "model" else SECTIONS[section]
    return schema(**plain)


def processes_of(cfg: DictConfig) -> int:
    """Return the number of processes that train together."""
    from aa_lightning.launch.job import processes

    given = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS")
    return int(given) if given and is_worker() else processes(OmegaConf.to_container(cfg.trainer, resolve=True))
