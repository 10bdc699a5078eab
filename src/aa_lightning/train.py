"""python -m aa_lightning.train: align a model."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning.launch.command import command
from aa_lightning.launch.job import run_folder
from aa_lightning.runs.folders import holding, new_folder
from aa_lightning.runs.received import check_own
from aa_lightning.runs.resume import adopt, overrides_of
from aa_lightning.system.atomic import write_text
from aa_lightning.system.processes import rank
from aa_lightning.system.signals import listen

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
    folder = folder or new_folder(Path(cfg.output) / time.strftime("%Y-%m-%d/%H-%M-%S_notebook"))
    if cfg.resume is not None and not cfg.trust:
        check_own(folder)
    with holding(folder):
        return _train(cfg, folder, tell)


def _train(cfg: DictConfig, folder: Path, tell: bool) -> dict[str, Any]:
    from aa_lightning.assembly.build import build_run
    from aa_lightning.system.console import quiet, show_progress
    from aa_lightning.training.summary import save_config

    quiet()
    show_progress(cfg.trainer.enable_progress_bar)
    start = None if cfg.resume is None else _checkpoint(cfg, Path(cfg.resume))
    if start is not None and (ended := _summary_if_ended(cfg, start)):
        return ended
    built = build_run(cfg, folder)
    if rank() == 0:
        save_config(cfg, folder)
        adopt(folder)
    if tell:
        _announce(cfg, built)
    try:
        built.trainer.fit(built.module, built.data, ckpt_path=start, weights_only=not cfg.trust)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, of which Lightning makes an exit in notebooks, or SIGTERM
        if tell:
            _report_so_far(folder)
        raise
    return _finish(cfg, built, tell)


def _checkpoint(cfg: DictConfig, run: Path) -> Path | None:
    """Return the checkpoint where a run goes on; None at its beginning, where it was stopped before its first checkpoint.

    Raises:
        ValueError: it ended and its checkpoints are gone, or it was made with another model or algorithm.
    """
    from omegaconf import OmegaConf

    from aa_lightning.configuration.plain_yaml import read_mapping
    from aa_lightning.models.state_dict import check_resume
    from aa_lightning.runs.checkpoints import check_whole, newest, step_of
    from aa_lightning.runs.resume_check import check_same_run
    from aa_lightning.system.console import say

    if (run / "config.yaml").is_file():
        check_same_run(read_mapping(run / "config.yaml"), OmegaConf.to_container(cfg, resolve=True))
    found = newest(run)
    if found is None and (run / "summary.json").is_file():
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


def _summary_if_ended(cfg: DictConfig, start: Path) -> dict[str, Any] | None:
    """The summary of a run with nothing left to do: neither a step, nor export, summary and report after the last one."""
    from aa_lightning.runs.checkpoints import step_of
    from aa_lightning.system.console import say

    summary, report = (Path(cfg.resume) / name for name in ("summary.json", "report.html"))
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


def _announce(cfg: DictConfig, run: Any) -> None:
    from aa_lightning.configuration.changes import told
    from aa_lightning.system.console import say

    trained = sum(p.numel() for p in run.policy.parameters() if p.requires_grad)
    total = sum(p.numel() for p in run.policy.parameters())
    say(f"{cfg.model.path}: {trained:,} of {total:,} parameters train on {len(run.data.train_examples)} rows")
    for changed in cfg.changed:
        say(told(changed))
    say(f"run folder: {run.folder}")


def _report_so_far(folder: Path) -> None:
    """The report of a run that was stopped."""
    from aa_lightning.report import write_report
    from aa_lightning.system.console import say

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # Lightning would have no other Ctrl-C heard
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if rank() > 0:
        return
    with contextlib.suppress(OSError):  # a full disk is no reason to hide how the run goes on
        say(f"report   {write_report(folder)} (of the part that ran)")


def _finish(cfg: DictConfig, run: Any, tell: bool) -> dict[str, Any]:
    """Export, summary and report; on rank 0, after a collective gathering of sharded weights."""
    from aa_lightning.report import write_report
    from aa_lightning.training import strategies
    from aa_lightning.training.export import export
    from aa_lightning.training.summary import last_screen, summarise

    weights = strategies.whole_state_dict(run.trainer, run.policy)
    summary = summarise(cfg, run)
    if run.trainer.is_global_zero:
        export(run.policy, weights, run.folder / "export")
        write_text(run.folder / "summary.json", json.dumps(summary, indent=1))
        report = write_report(run.folder)
        if tell:
            last_screen(summary, report)
    run.trainer.strategy.barrier()
    return summary


def main() -> None:
    """The console script."""
    listen()
    sys.argv[1:] = overrides_of(sys.argv[1:], "resume", same_folder=True)
    run()


if __name__ == "__main__":
    main()
