"""python -m aa_lightning.train: align a model."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning.jobs import run_folder
from aa_lightning.launch import command
from aa_lightning.reopen import overrides_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("train")
def run(cfg: DictConfig) -> float:
    """
    Align a model with preferences, demonstrations or rewards.

      python -m aa_lightning.train algo=dpo modality=ti2t             works at once, offline, on a laptop
      python -m aa_lightning.train algo=sft modality=t2i              the same for a diffusion model
      python -m aa_lightning.train algo=dpo model=llava_1_5_7b data=align_anything_ti2t strategy=fsdp
      python -m aa_lightning.train -m algo.beta=0.05,0.1,0.5          a sweep, with one table at its end
      python -m aa_lightning.train resume=outputs/<run>               go on where a run was stopped
    """
    return train(cfg, run_folder())["objective"]


def train(cfg: DictConfig, folder: Path | None = None, tell: bool = True) -> dict[str, Any]:
    """Run a training from a composed configuration.

    Args:
        cfg: of `compose`, or what Hydra hands to the command.
        folder: of the run; None: one named by the clock below `cfg.output`.
        tell: whether to print the held-out table and where everything lies.

    Returns:
        What stands in summary.json.
    """
    from aa_lightning.build import build_run
    from aa_lightning.console import quiet
    from aa_lightning.summary import save_config

    folder = folder or Path(cfg.output) / time.strftime("%Y-%m-%d/%H-%M-%S_notebook")
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    built = build_run(cfg, folder)
    save_config(cfg, folder)
    if tell:
        _announce(cfg, built)
    built.trainer.fit(built.module, built.data, ckpt_path=_checkpoint(cfg), weights_only=False)
    return _finish(cfg, built, tell)


def _checkpoint(cfg: DictConfig) -> Path | None:
    from aa_lightning.callbacks.checkpoint import newest

    return None if cfg.resume is None else newest(Path(cfg.resume))


def _announce(cfg: DictConfig, run: Any) -> None:
    from aa_lightning.console import say

    trained = sum(p.numel() for p in run.policy.parameters() if p.requires_grad)
    total = sum(p.numel() for p in run.policy.parameters())
    say(f"{cfg.model.path}: {trained:,} of {total:,} parameters train on {len(run.data.train_examples)} rows")
    say(f"run folder: {run.folder}")


def _finish(cfg: DictConfig, run: Any, tell: bool) -> dict[str, Any]:
    """Export, summary and report; on rank 0, after a collective gathering of sharded weights."""
    from aa_lightning import strategies
    from aa_lightning.export import export
    from aa_lightning.report import write_report
    from aa_lightning.summary import last_screen, summarise

    weights = strategies.whole_state_dict(run.trainer, run.policy)
    summary = summarise(cfg, run)
    if run.trainer.is_global_zero:
        export(run.policy, weights, run.folder / "export")
        (run.folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        report = write_report(run.folder)
        if tell:
            last_screen(summary, report)
    run.trainer.strategy.barrier()
    return summary


def main() -> None:
    """The console script."""
    sys.argv[1:] = overrides_of(sys.argv[1:], "resume", same_folder=True)
    run()


if __name__ == "__main__":
    main()
