"""Values of an algorithm that are not those of its own file, and what set them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from aa_lightning.configuration.comments import LOADER
from aa_lightning.configuration.composed import section
from aa_lightning.configuration.folders import option_file
from aa_lightning.configuration.nested import leaves
from aa_lightning.configuration.wording import show

TYPED = "the command line"


def with_changes(cfg: DictConfig, hydra: DictConfig, folders: Sequence[Path]) -> DictConfig:
    """The configuration with a list `changed`, an entry for each value of `algo` that differs from the algorithm's file.

    Args:
        cfg: what was composed.
        hydra: what Hydra says of it: choices and overrides.
        folders: of configuration groups, ours first.

    Returns:
        With `changed: [{key, value, default, from}]`; `from` is a file of a configuration group, or the command line.
    """
    if "algo" not in cfg:
        return cfg
    alone = section("algo", hydra.runtime.choices.algo, folders)
    rooted = cfg.copy()  # where its references point
    with open_dict(rooted):
        rooted.algo = alone.algo
    default = dict(leaves(OmegaConf.to_container(rooted.algo, resolve=True), "algo"))
    value = dict(leaves(OmegaConf.to_container(cfg.algo, resolve=True), "algo"))
    follows = {key: text[2:-1] for key, text in leaves(OmegaConf.to_container(alone.algo), "algo") if _refers(text)}
    differing = [key for key in {**default, **value} if value.get(key) != default.get(key)]
    with open_dict(cfg):
        cfg.changed = [
            {
                "key": key,
                "value": value.get(key),
                "default": default.get(key),
                "from": _origin([key, *filter(None, [follows.get(key)])], hydra, folders),
            }
            for key in differing
        ]
    return cfg


def told(changed: Mapping[str, Any]) -> str:
    """A line for people."""
    value, default = show(changed["value"]), show(changed["default"])
    return f"{changed['key']}={value} set by {changed['from']} (the algorithm's own file: {default})"


def _refers(value: Any) -> bool:
    """Tell whether a value is that of another key, `${algo.beta}`."""
    return isinstance(value, str) and value.startswith("${algo.") and value.endswith("}")


def _origin(keys: Sequence[str], hydra: DictConfig, folders: Sequence[Path]) -> str:
    """Find what sets the first of these keys that anything sets: the command line, or the last of the chosen files that
    does."""
    typed = [item.partition("=")[0].lstrip("+~") for item in hydra.overrides.task]
    for key in keys:
        if any(_concerns(name, key) for name in typed if name != "algo"):
            return TYPED
        for group, choice in reversed(hydra.runtime.choices.items()):
            name = group.partition("@")[0]
            if choice is None or name == "algo" or name.startswith("hydra/"):
                continue
            if found := _setting(key, name, choice, folders, group.endswith("@_global_")):
                return found
    return f"{hydra.job.config_name}.yaml"


def _concerns(name: str, key: str) -> bool:
    return name == key or key.startswith(f"{name}.") or name.startswith(f"{key}.")


def _setting(key: str, group: str, choice: str, folders: Sequence[Path], rooted: bool) -> str | None:
    """The file of an option, or of one that it builds on, that sets a key; None: neither does."""
    path = option_file(group, choice, folders)
    if path is None:
        return None
    text = path.read_text(encoding="utf-8")
    rooted = rooted or "@package _global_" in text
    loaded = yaml.load(text, LOADER) or {}
    content = loaded if rooted else {group: loaded}
    if any(_concerns(name, key) for name, _ in leaves(content.get("algo", {}), "algo") if name != "algo"):
        return f"{group}/{choice}.yaml"
    bases = [base for base in loaded.get("defaults", []) if isinstance(base, str) and base != "_self_"]
    return next(filter(None, (_setting(key, group, base, folders, rooted) for base in bases)), None)
