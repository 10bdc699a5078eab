"""Resuming: the checkpoint at which a run that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.plain_yaml import read_mapping
from aa_lightning.runs.checkpoints import check_whole, newest, step_of
from aa_lightning.runs.layout import RunFolder
from aa_lightning.runs.resume_check import check_same_run
from aa_lightning.system.console import say
from aa_lightning.system.processes import rank


def checkpoint_of(cfg: DictConfig) -> Path | None:
    """The checkpoint at which `resume` goes on; None at the beginning: of a new run, or of one stopped before its first.

    Raises:
        ValueError: it ended and its checkpoints are gone, or it was made with another model or algorithm.
    """
    from aa_lightning.models.state_dict import check_resume

    if cfg.resume is None:
        return None
    run, place = Path(cfg.resume), RunFolder(cfg.resume)
    if place.config.is_file():
        check_same_run(read_mapping(place.config), OmegaConf.to_container(cfg, resolve=True))
    found = newest(run)
    if found is None and place.summary.is_file():
        raise ValueError(
            f"resume={run} cannot go on: the run has ended and its checkpoints are gone. Type init={run} to start a new "
            "run from its export"
        )
    if found is not None and rank() == 0:
        check_whole(found, f"resume={run}")
    if found is not None and not cfg.trust:
        check_resume(found, f"resume={run}")
    at = "at its beginning, as there is no checkpoint yet" if found is None else f"after step {step_of(found)}"
    say(f"resume={run}: going on {at}")
    return found


def summary_if_ended(cfg: DictConfig, start: Path | None) -> dict[str, Any] | None:
    """The summary of a run with nothing left to do: neither a step, nor export, summary and report after the last one."""
    if start is None:
        return None
    summary, report = RunFolder(cfg.resume).summary, RunFolder(cfg.resume).report
    if step_of(start) < cfg.trainer.max_steps or not summary.is_file() or not report.is_file():
        return None
    try:
        ended = json.loads(summary.read_text(encoding="utf-8"))
        older = ended["steps"] < step_of(start)  # the run was extended since
    except (ValueError, TypeError, KeyError, RecursionError):
        say(f"{summary} is damaged, and is written again")
        return None
    if older:
        return None
    say(f"the run has ended: add trainer.max_steps=<more than {step_of(start)}> to train on")
    return ended
