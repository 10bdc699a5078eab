"""Configurations that Hydra composes of overrides, inside a command and outside of one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf, open_dict

from aa_lightning.configuration.literal import as_string
from aa_lightning.configuration.nested import leaves
from aa_lightning.configuration.typed import parsed


def composed(
    config_name: str, overrides: Sequence[str], folders: Sequence[Path], with_choices: bool = False
) -> DictConfig:
    """Compose the configuration of a command by Hydra.

    Args:
        config_name: of the command.
        overrides: as they are typed.
        folders: of configuration groups, ours first.
        with_choices: keep the section `hydra`, which says what was chosen from which group.
    """
    with _hydra(folders):
        whole = hydra_compose(config_name, with_search_path(overrides, folders), return_hydra_config=True)
    with_whole_parts(with_algorithm(whole, whole.hydra.runtime.choices), whole.hydra, folders)
    if not with_choices:
        with open_dict(whole):
            whole.pop("hydra")
    return whole


def section(group: str, option: str, folders: Sequence[Path]) -> DictConfig:
    """Compose an option of a group alone, by Hydra, without the section in which Hydra itself is configured: that takes
    most of the time.

    Args:
        group: `data`; the option's content stands below this key.
        option: `rlaif_v`.
        folders: of configuration groups, ours first.

    Raises:
        MissingConfigException: there is no such option.
    """
    with _hydra(folders) as loader:
        overrides, files = loader._parse_overrides_and_create_caching_repo(
            None, with_search_path([f"+{group}={option}"], folders)
        )
        chosen = create_defaults_list(files, None, overrides, prepend_hydra=False, skip_missing=False)
        whole = loader._compose_config_from_defaults_list(chosen.defaults, files)
    OmegaConf.set_struct(whole, True)
    return whole


@contextlib.contextmanager
def _hydra(folders: Sequence[Path]) -> Iterator[ConfigLoader]:
    """Hydra's reader of our folder, and Hydra at work there; inside a command it is at work already."""
    outer = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folders[0]), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        restore_gh_from_backup(outer)


def with_algorithm(cfg: DictConfig, choices: Mapping[str, str]) -> DictConfig:
    """Write down which algorithm was chosen and, in place of the scale's table `for_algo`, what it says of that one.

    Args:
        cfg: what Hydra composed; that of a command without algorithms is returned as it is.
        choices: group → option.
    """
    if "for_algo" in cfg:
        cfg.algo_name = choices["algo"]
        for key, value in leaves(OmegaConf.to_container(cfg)):
            if isinstance(value, str) and value.startswith("${oc.select:for_algo."):
                OmegaConf.update(cfg, key, OmegaConf.select(cfg, key))
        with open_dict(cfg):
            cfg.pop("for_algo")
    return cfg


def with_whole_parts(cfg: DictConfig, hydra: DictConfig, folders: Sequence[Path]) -> DictConfig:
    """Put each part of an algorithm that is typed whole, by another name than its file's, in place of that one: Hydra merges
    mappings, so that options of the part before would stand beside its own.

    Args:
        cfg: what Hydra composed.
        hydra: what Hydra says of it: choices and overrides.
        folders: of configuration groups, ours first.
    """
    typed = [one for one in hydra.overrides.task if one.lstrip("+").startswith("algo.") and "={" in one]
    parts = {one.key_or_group: one.value() for one in parsed(typed)}
    parts = {key: part for key, part in parts.items() if isinstance(part, Mapping) and "name" in part}
    if parts:
        alone = section("algo", hydra.runtime.choices.algo, folders)
        for key, part in parts.items():
            before = OmegaConf.select(alone, key)
            if isinstance(before, DictConfig) and before.get("name") not in (None, part["name"]):
                OmegaConf.update(cfg, key, part, merge=False)
    return cfg


def with_search_path(overrides: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The overrides with a `hydra.searchpath` that holds all folders of configuration groups but ours, the first one."""
    if len(folders) < 2:
        return [*overrides]
    typed = [one for one in overrides if one.startswith("hydra.searchpath=")]
    places = [*(f"file://{folder}" for folder in folders[1:]), *(path for one in parsed(typed) for path in one.value())]
    searched = ",".join(as_string(place) for place in dict.fromkeys(places))
    return [*(one for one in overrides if one not in typed), f"hydra.searchpath=[{searched}]"]
