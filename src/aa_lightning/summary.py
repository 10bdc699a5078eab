"""summary.json and the last screen of a run: numbers before and after, where everything lies, what to type next."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.callbacks.heldout import HeldOut
from aa_lightning.callbacks.metrics import MetricsCsv
from aa_lightning.callbacks.throughput import Throughput, peak_memory_gib
from aa_lightning.console import say, show_table

_LIBRARIES = ("torch", "lightning", "transformers", "diffusers")
_OBJECTIVES = (
    "preference_accuracy",
    "reward_accuracy",
    "verdict_accuracy",
    "answer_accuracy",
    "likelihood_accuracy",
    "logp_per_term",
)


def summarise(cfg: DictConfig, run: Any) -> dict[str, Any]:
    """What a script or a sweep reads."""
    results = next(c for c in run.trainer.callbacks if isinstance(c, HeldOut)).results
    speed = next(c for c in run.trainer.callbacks if isinstance(c, Throughput)).summary()
    after = results["after"]
    train = {key: value.item() for key, value in run.trainer.logged_metrics.items() if key.startswith("train/")}
    for logger in run.trainer.loggers:
        if not train and isinstance(logger, MetricsCsv):  # resumed at the very end
            train = logger.latest("train/")
    return {
        "command": " ".join(sys.argv),
        "algo": type(run.algorithm).__name__,
        "modality": cfg.modality_name,
        "model": cfg.model.path,
        "init": cfg.init,
        "changed": OmegaConf.to_container(cfg.changed),
        "before": results.get("before", {}),
        "after": after,
        "train": train,
        "steps": run.trainer.global_step,
        "throughput": speed,
        "memory": {"peak_gib": peak_memory_gib()},
        "dropped": [asdict(row) for row in run.data.train_examples.examples.dropped],
        "paths": {name: str(run.folder / name) for name in ("export", "checkpoints", "report.html")},
        "versions": {name: version(name) for name in _LIBRARIES},
        "objective": objective(after),
    }


def objective(measures: dict[str, float]) -> float:
    """The one number that a sweep compares."""
    return next(measures[f"heldout/{name}"] for name in _OBJECTIVES if f"heldout/{name}" in measures)


def last_screen(summary: dict[str, Any], report: Path) -> None:
    """The last screen."""
    before, after = summary["before"], summary["after"]
    rows = [[name.removeprefix("heldout/"), _number(before.get(name)), _number(after[name])] for name in sorted(after)]
    show_table("held out", ["measure", "before", "after"], rows)
    say(f"report   {report}")
    say(f"export   {summary['paths']['export']}")
    say(f"next     python -m aa_lightning.generate run={report.parent}")


def save_config(cfg: DictConfig, folder: Path) -> None:
    """config.yaml, resolved."""
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
