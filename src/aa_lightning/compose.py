"""The configuration of a command, for notebooks, tests and stages; the commands themselves compose through Hydra."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose as _compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf

from aa_lightning.config import check_config
from aa_lightning.launch import conf_dir


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """What a command line composes, checked.

    Args:
        overrides: as they are typed: ["algo=dpo", "modality=ti2t", "algo.beta=0.2"].
        config_name: train, evaluate, generate or check.

    Raises:
        ConfigError: a value that cannot work.
    """
    outer = get_gh_backup()  # inside a command Hydra is at work already
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = _compose(config_name, list(overrides))
    finally:
        restore_gh_from_backup(outer)
    OmegaConf.resolve(cfg)
    check_config(cfg)
    return cfg
