"""The callback that makes run folders before Hydra does. Every command loads it, so it imports little."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import read_write
from omegaconf.errors import OmegaConfBaseException

from aa_lightning.configuration.literal import as_string
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.launch.job import say
from aa_lightning.runs.folders import hold, new_folder


class RunFolders(Callback):
    """Gives each run and each sweep a folder of its own, and refuses one that another process writes."""

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        _claim(config, "run")

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        _claim(config, "sweep")


def _claim(config: Any, section: str) -> None:
    """Make the folder, and hold that of a run. One that was typed is taken as it is.

    Args:
        config: what Hydra composed; it is told the name.
        section: `run` or `sweep`.
    """
    HydraConfig.instance().set_config(config)  # names of folders may hold what was chosen
    own, key = config.hydra[section], f"hydra.{section}.dir"
    with contextlib.suppress(OSError, OmegaConfBaseException):  # Hydra meets it as well, and is heard
        folder = Path(own.dir)
        if folder.absolute() == Path.cwd():  # a command without a folder of its own
            return
        if not any(item.startswith(f"{key}=") for item in config.hydra.overrides.hydra):
            folder = new_folder(folder)
            with read_write(config.hydra):
                own.dir = str(folder)
                config.hydra.overrides.hydra.append(f"{key}={as_string(str(folder))}")  # for the jobs of a sweep
        try:
            if section == "run":
                hold(folder)
        except ConfigError as error:  # Hydra would go on after any other exception than this
            raise SystemExit(say(str(error))) from None
