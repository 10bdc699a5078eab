"""The first and the last words of a run, and what it leaves: configuration, export, summary and report."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.changes import told
from aa_lightning.report import write_report
from aa_lightning.runs.layout import RunFolder
from aa_lightning.runs.resume import commit_overrides
from aa_lightning.system.atomic import write_text
from aa_lightning.system.console import say
from aa_lightning.system.processes import rank
from aa_lightning.training import strategies
from aa_lightning.training.export import export
from aa_lightning.training.summary import last_screen, summarise


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write config.yaml, resolved, and make what was typed to resume a run its own; on rank 0."""
    if rank() == 0:
        write_text(RunFolder(folder).config, OmegaConf.to_yaml(cfg, resolve=True))
        commit_overrides(folder)


def announce(cfg: DictConfig, run: Any) -> None:
    """Say what trains, what differs from the algorithm's own file, and where the run writes."""
    trained = sum(p.numel() for p in run.policy.parameters() if p.requires_grad)
    total = sum(p.numel() for p in run.policy.parameters())
    say(f"{cfg.model.path}: {trained:,} of {total:,} parameters train on {len(run.data.train_examples)} rows")
    for changed in cfg.changed:
        say(told(changed))
    say(f"run folder: {run.folder}")


def report_so_far(folder: Path) -> None:
    """Write the report of a run that was stopped; on rank 0."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # Lightning would have no other Ctrl-C heard
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if rank() > 0:
        return
    with contextlib.suppress(OSError):  # a full disk is no reason to hide how the run goes on
        say(f"report   {write_report(folder)} (of the part that ran)")


def finish(cfg: DictConfig, run: Any, tell: bool) -> dict[str, Any]:
    """Write export, summary and report; on rank 0, after a collective gathering of sharded weights."""
    weights = strategies.whole_state_dict(run.trainer, run.policy)
    summary, place = summarise(cfg, run), RunFolder(run.folder)
    if run.trainer.is_global_zero:
        export(run.policy, weights, place.export)
        write_text(place.summary, json.dumps(summary, indent=1))
        report = write_report(run.folder)
        if tell:
            last_screen(summary, report)
    run.trainer.strategy.barrier()
    return summary
