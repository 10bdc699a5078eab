"""The configuration of a command, for notebooks, tests and stages; the commands themselves compose through Hydra."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose as _compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

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
    outer = HydraConfig.instance().cfg
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = _compose(config_name, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        del cfg["hydra"]
    HydraConfig.instance().cfg = outer
    OmegaConf.resolve(cfg)
    check_config(cfg)
    return cfg
