"""The job of a command line, made ready by Hydra: one run, a sweep of them, or a question about the configuration."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, read_write

from aa_lightning.configuration.composed import with_search_path
from aa_lightning.configuration.literal import as_string
from aa_lightning.configuration.schema import COMMANDS, Train
from aa_lightning.configuration.typed import Line, parsed
from aa_lightning.runs.folders import hold, new_folder, rank_folder
from aa_lightning.system.processes import rank

Job = tuple[Callable[[], Any], Callable[..., None]]


@contextlib.contextmanager
def prepared(line: Line, task: Callable[[DictConfig], Any]) -> Iterator[Job]:
    """Compose the configuration and take a folder. Inside, the job can be called, and what it returned be told.

    Args:
        task: of each job.

    Raises:
        HydraException, ConfigError: nothing can run so.
    """
    parser = get_args_parser()
    flags, name = parser.parse_args([*line.flags, *line.overrides]), line.config_name
    overrides = with_search_path(line.overrides, line.folders)
    with contextlib.ExitStack() as stack:
        if rank() > 0:
            overrides += [f"hydra.run.dir={stack.enter_context(rank_folder())}", "hydra.output_subdir=null"]
        GlobalHydra.instance().clear()
        stack.enter_context(initialize_config_dir(str(line.folders[0]), job_name=name, version_base="1.3"))
        hydra, name = GlobalHydra.instance().hydra, flags.config_name or name
        if flags.hydra_help:
            yield partial(hydra.hydra_help, name, parser, flags), _nobody
        elif flags.cfg:
            yield partial(hydra.show_cfg, name, overrides, flags.cfg, flags.package, flags.resolve), _nobody
        elif flags.info:
            yield partial(hydra.show_info, flags.info, name, overrides), _nobody
        elif flags.shell_completion:
            yield partial(hydra.shell_completion, name, overrides), _nobody
        elif line.sweeps:
            yield _sweep(hydra, name, overrides, task)
        else:
            yield _run(hydra, name, overrides, task)


def train_command(changes: Sequence[str]) -> str:
    """Write the command that trains with what was typed for the one that runs, but for these changes of it."""
    known = HydraConfig.initialized()
    folders = (
        [source.path for source in HydraConfig.get().runtime.config_sources if source.provider == "command-line"]
        if known
        else []
    )
    typed = HydraConfig.get().overrides.task if known else []
    other = {field.name for fields_of in COMMANDS.values() for field in fields(fields_of)} - {
        field.name for field in fields(Train)
    }
    left_out = other | {change.partition("=")[0] for change in changes}
    kept = [one for one in typed if one.partition("=")[0].lstrip("+") not in left_out]
    named = [word for folder in folders for word in ("--config-dir", folder)]
    return shlex.join(["python", "-m", "aa_lightning.train", *named, *kept, *changes])


def _run(hydra: Any, name: str, overrides: list[str], task: Callable[[DictConfig], Any]) -> Job:
    cfg = compose(name, overrides, return_hydra_config=True)
    if cfg.hydra.mode == RunMode.MULTIRUN:
        return _sweep(hydra, name, overrides, task)
    cfg.hydra.mode = RunMode.RUN
    _claim(cfg, "run")
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=name)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
    job = partial(
        run_job,
        task_function=task,
        config=cfg,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        hydra_context=context,
    )
    return job, partial(callbacks.on_run_end, config=cfg, config_name=name)


def _sweep(hydra: Any, name: str, overrides: list[str], task: Callable[[DictConfig], Any]) -> Job:
    overrides = [*(one for one in overrides if one != "hydra.mode=MULTIRUN"), "hydra.mode=MULTIRUN"]
    overrides += _short_names(overrides)
    cfg = hydra.compose_config(name, overrides, RunMode.MULTIRUN)
    overrides.append(f"hydra.sweep.dir={as_string(str(_claim(cfg, 'sweep')))}")
    return partial(hydra.multirun, name, task, overrides), _nobody


def _claim(cfg: DictConfig, section: str) -> Path:
    """Make the folder of a sweep, or of a run, and hold that. One that was typed is taken as it is.

    Args:
        cfg: what Hydra composed; it is told the name.
        section: `run` or `sweep`.

    Raises:
        ConfigError: another process writes there.
    """
    HydraConfig.instance().set_config(cfg)  # names of folders may hold what was chosen
    folder = Path(cfg.hydra[section].dir)
    if folder.absolute() == Path.cwd():  # a command without a folder of its own
        return folder
    if not any(item.startswith(f"hydra.{section}.dir=") for item in cfg.hydra.overrides.hydra):
        folder = new_folder(folder)
    if section == "run":
        hold(folder)
    with read_write(cfg.hydra):
        cfg.hydra[section].dir = str(folder)
    return folder


def _short_names(overrides: Sequence[str]) -> list[str]:
    """Keep constant settings out of the names of a sweep's folders, which would be too long with all of them."""
    key = "hydra.job.config.override_dirname.exclude_keys"
    constant = {one.get_key_element().lstrip("+~") for one in parsed(overrides) if not one.is_sweep_override()}
    ours = sorted(name for name in constant if not name.startswith("hydra"))
    return [] if key in constant else [f"{key}=[output,{','.join(ours)}]"] if ours else []


def _nobody(**kwargs: Any) -> None:
    """Nobody is told of the end."""
