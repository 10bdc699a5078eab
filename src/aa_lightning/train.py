"""python -m aa_lightning.train: align a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning.launch.command import command
from aa_lightning.launch.job import run_folder
from aa_lightning.runs.folders import holding, new_folder
from aa_lightning.runs.received import check_own

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("train", resumes="resume")
def main(cfg: DictConfig) -> float:
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
    from aa_lightning.assembly.results import announce, finish, report_so_far, save_config
    from aa_lightning.assembly.resuming import checkpoint_of, summary_if_ended
    from aa_lightning.system.console import quiet, show_progress

    quiet()
    show_progress(cfg.trainer.enable_progress_bar)
    start = checkpoint_of(cfg)
    if ended := summary_if_ended(cfg, start):
        return ended
    run = build_run(cfg, folder)
    save_config(cfg, folder)
    if tell:
        announce(cfg, run)
    try:
        run.trainer.fit(run.module, run.data, ckpt_path=start, weights_only=not cfg.trust)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, of which Lightning makes an exit in notebooks, or SIGTERM
        if tell:
            report_so_far(folder)
        raise
    return finish(cfg, run, tell)


if __name__ == "__main__":
    main()
