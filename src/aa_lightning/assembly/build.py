"""A training run, built of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import build_data, data_options
from aa_lightning.assembly.evaluation import build_suite
from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.policy import build_algorithm, build_encoder, build_policy, keeps_reference
from aa_lightning.assembly.stages import is_stage, starting_point
from aa_lightning.assembly.trainer import callbacks, loggers, validation
from aa_lightning.types import Algorithm


@dataclass
class Run:
    """Everything that a command needs of one configuration."""

    algorithm: Algorithm
    policy: Any
    module: Any
    data: Any
    trainer: Any
    suite: Any
    folder: Path


def build_run(cfg: DictConfig, folder: Path) -> Run:
    """Build a training run.

    Args:
        cfg: the composed and checked configuration.
        folder: of the run.

    Raises:
        ValueError: parts that cannot work together, with what to type instead.
    """
    import lightning as L
    import torch

    from aa_lightning.training.module import AlignmentModule

    L.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.num_threads is not None:
        torch.set_num_threads(cfg.num_threads)
    algorithm = build_algorithm(cfg)
    data = data_options(cfg)
    check_compatible(cfg, algorithm, data.serving(algorithm))
    staged = is_stage(cfg.init)
    start = None if staged else starting_point(cfg)
    encoder = build_encoder(cfg, start)
    if keeps_reference(cfg, algorithm):
        encoder = encoder.with_keys()
    datamodule = build_data(cfg, algorithm, encoder, data)  # rows are read before weights are
    policy = build_policy(cfg, algorithm, starting_point(cfg) if staged else start)
    plain = OmegaConf.to_container(cfg, resolve=True)
    module = AlignmentModule(policy, algorithm, options_of(cfg, "optimizer"), plain)
    trainer_settings = instantiate(cfg.trainer, _convert_="all", _partial_=True)
    suite = build_suite(cfg, algorithm, datamodule.encoder, data, datamodule.held_out)
    trainer = trainer_settings(
        logger=loggers(cfg, folder),
        callbacks=callbacks(cfg, suite, folder, algorithm, datamodule.accumulate),
        accumulate_grad_batches=datamodule.accumulate,
        default_root_dir=folder,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **validation(cfg, algorithm),
    )
    return Run(algorithm, policy, module, datamodule, trainer, suite, folder)
