"""Loggers, callbacks and validation of a Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.policy import keeps_reference
from aa_lightning.runs.layout import RunFolder
from aa_lightning.types import Algorithm


def loggers(cfg: DictConfig, folder: Path) -> list[Any]:
    from lightning.pytorch.loggers import TensorBoardLogger

    from aa_lightning.training.callbacks.csv_logger import MetricsCsv

    wanted = options_of(cfg, "logger")
    loggers: list[Any] = [MetricsCsv(RunFolder(folder).metrics)] if wanted.csv else []
    if wanted.tensorboard:
        loggers.append(TensorBoardLogger(folder, name=RunFolder(folder).events.name, version=""))
    return [*loggers, *(instantiate(settings, save_dir=str(folder)) for settings in wanted.others)]


def callbacks(cfg: DictConfig, suite: Any, folder: Path, algorithm: Algorithm, accumulate: int) -> list[Any]:
    from aa_lightning.training.callbacks.checkpoint import SteadyCheckpoint
    from aa_lightning.training.callbacks.heldout import HeldOut
    from aa_lightning.training.callbacks.keep_reference import KeepReference
    from aa_lightning.training.callbacks.progress import Progress
    from aa_lightning.training.callbacks.random_state import RandomStates
    from aa_lightning.training.callbacks.reference_update import SyncReference
    from aa_lightning.training.callbacks.sigterm import Stopping
    from aa_lightning.training.callbacks.throughput import Throughput
    from aa_lightning.training.callbacks.warnings import Alarms

    kept, wanted, place = options_of(cfg, "checkpoint"), options_of(cfg, "evaluation"), RunFolder(folder)
    shown = [suite.sets.examples[i] for i in range(min(wanted.samples, len(suite.sets.examples)))]
    drawing = [] if not algorithm.draws_responses else _of_rollouts(cfg, suite, place)
    syncing = [] if algorithm.ref_sync is None else [SyncReference(algorithm.ref_sync)]
    keeping = [KeepReference(suite, algorithm.of_reference)] if keeps_reference(cfg, algorithm) else []
    return [
        *drawing,  # before those that tell of their numbers
        Progress(place.log),  # first, so that its bar closes before measuring
        *syncing,
        *keeping,
        Stopping(),
        RandomStates(),
        Throughput(),
        Alarms(accumulate, algorithm.draws_responses and cfg.rollout.stop_on_alarm),
        HeldOut(suite, wanted.before, shown, place.samples),
        SteadyCheckpoint(place.checkpoints, kept.every_n_steps, kept.keep),
    ]


def _of_rollouts(cfg: DictConfig, suite: Any, place: RunFolder) -> list[Any]:
    from aa_lightning.training.callbacks.rollouts import HeldOutAnswers, RolloutLog

    every = options_of(cfg, "checkpoint").every_n_steps
    return [RolloutLog(place.samples, every), HeldOutAnswers(suite, cfg.trainer.val_check_interval)]


def validation(cfg: DictConfig, algorithm: Algorithm) -> dict[str, Any]:
    """When the validation loss is measured: never during training, or every so many steps. What is drawn has none: held-out
    prompts are answered instead."""
    if cfg.trainer.val_check_interval is None or algorithm.draws_responses:
        return {"limit_val_batches": 0, "val_check_interval": None}
    return {"check_val_every_n_epoch": None}
