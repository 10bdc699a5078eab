"""summary.json and the last screen of a run: numbers before and after, where everything lies, what to type next."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.evaluation.catalogue import NOTHING_MEASURED, objective
from aa_lightning.evaluation.next_step import next_command
from aa_lightning.runs.layout import RunFolder
from aa_lightning.runs.reader import HELDOUT
from aa_lightning.system.console import say, show_table
from aa_lightning.training.callbacks.csv_logger import MetricsCsv
from aa_lightning.training.callbacks.heldout import HeldOut
from aa_lightning.training.callbacks.keep_reference import KeepReference
from aa_lightning.training.callbacks.throughput import Throughput, peak_memory_gib

_LIBRARIES = ("torch", "lightning", "transformers", "diffusers")


def summarise(cfg: DictConfig, run: Any) -> dict[str, Any]:
    """Summarise a run for scripts and sweeps."""
    place, held_out = RunFolder(run.folder), next(c for c in run.trainer.callbacks if isinstance(c, HeldOut))
    kept = next((c for c in run.trainer.callbacks if isinstance(c, KeepReference)), None)
    speed = next(c for c in run.trainer.callbacks if isinstance(c, Throughput)).summary()
    before, after = held_out.results.get("before", {}), held_out.results["after"]
    train = {key: value.item() for key, value in run.trainer.logged_metrics.items() if key.startswith("train/")}
    for logger in run.trainer.loggers:
        if not train and isinstance(logger, MetricsCsv):  # resumed at the very end
            train = logger.latest("train/")
    return {
        "command": " ".join(sys.argv),
        "algo": cfg.algo_name,
        "algo_class": type(run.algorithm).__name__,
        "trains": run.algorithm.trains,
        "modality": cfg.modality_name,
        "model": cfg.model.path,
        "init": cfg.init,
        "changed": OmegaConf.to_container(cfg.changed),
        "before": before,
        "after": after,
        "examples": held_out.examples,
        "train": train,
        "steps": run.trainer.global_step,
        "throughput": speed,
        "memory": {"peak_gib": peak_memory_gib()},
        "reference": kept.told if kept else None,
        "dropped": [asdict(row) for row in run.data.train_examples.examples.dropped],
        "paths": {path.name: str(path) for path in (place.export, place.checkpoints, place.report)},
        "versions": {name: version(name) for name in _LIBRARIES},
        "objective": objective(after),
    }


def last_screen(summary: dict[str, Any], report: Path) -> None:
    """The last screen."""
    before, after, examples = summary["before"], summary["after"], summary["examples"]
    rows = [
        [name.removeprefix(HELDOUT), _number(before.get(name)), _number(after[name]), str(examples[name])]
        for name in sorted(after)
    ]
    if rows:
        show_table("held out", ["measure", "before", "after", "examples"], rows)
    else:
        say(NOTHING_MEASURED)
    say(f"report   {report}")
    say(f"export   {summary['paths']['export']}")
    say(f"next     {next_command(report.parent, summary['trains'])}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
