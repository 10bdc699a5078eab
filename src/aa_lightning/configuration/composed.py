"""Configurations that Hydra composes of overrides, inside a command and outside of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf, open_dict

from aa_lightning.configuration.literal import as_string
from aa_lightning.configuration.typed import parsed


def composed(
    config_name: str | None, overrides: Sequence[str], folders: Sequence[Path], with_choices: bool = False
) -> DictConfig:
    """Compose a configuration by Hydra.

    Args:
        config_name: of the command; None: of the overrides alone.
        overrides: as they are typed.
        folders: of configuration groups, ours first.
        with_choices: keep the section `hydra`, which says what was chosen from which group.
    """
    outer = get_gh_backup()  # inside a command Hydra is at work already
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folders[0]), version_base="1.3"):
            whole = hydra_compose(config_name, with_search_path(overrides, folders), return_hydra_config=True)
    finally:
        restore_gh_from_backup(outer)
    with_algorithm(whole, whole.hydra.runtime.choices)
    if not with_choices:
        with open_dict(whole):
            whole.pop("hydra")
    return whole


def with_algorithm(cfg: DictConfig, choices: Mapping[str, str]) -> DictConfig:
    """Write down which algorithm was chosen and, in place of the scale's table `for_algo`, what it says of that one.

    Args:
        cfg: what Hydra composed; that of a command without algorithms is returned as it is.
        choices: group → option.
    """
    if "for_algo" in cfg:
        cfg.algo_name = choices["algo"]
        for key in _referring(OmegaConf.to_container(cfg), ""):
            OmegaConf.update(cfg, key, OmegaConf.select(cfg, key))
        with open_dict(cfg):
            cfg.pop("for_algo")
    return cfg


def _referring(plain: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The dotted keys of values that the scale's table decides."""
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _referring(value, f"{prefix}{key}.")
        elif isinstance(value, str) and value.startswith("${oc.select:for_algo."):
            yield f"{prefix}{key}"


def with_search_path(overrides: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The overrides with a `hydra.searchpath` that holds all folders of configuration groups but ours, the first one."""
    if len(folders) < 2:
        return [*overrides]
    typed = [one for one in overrides if one.startswith("hydra.searchpath=")]
    places = [*(f"file://{folder}" for folder in folders[1:]), *(path for one in parsed(typed) for path in one.value())]
    searched = ",".join(as_string(place) for place in dict.fromkeys(places))
    return [*(one for one in overrides if one not in typed), f"hydra.searchpath=[{searched}]"]
