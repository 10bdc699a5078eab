"""What Hydra makes of overrides, inside a command and outside of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig


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
    own = ",".join(f"file://{folder}" for folder in folders[1:])
    search = [f"hydra.searchpath=[{own}]"] if own else []
    outer = get_gh_backup()  # inside a command Hydra is at work already
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folders[0]), version_base="1.3"):
            return hydra_compose(config_name, [*overrides, *search], return_hydra_config=with_choices)
    finally:
        restore_gh_from_backup(outer)
