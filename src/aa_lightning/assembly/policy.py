"""Algorithms, policies, reward models and their encoders of a configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from aa_lightning.algos.plain import completed
from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.stages import export_of, is_stage, starting_point, weights_at
from aa_lightning.types import Algorithm


def build_algorithm(cfg: DictConfig) -> Algorithm:
    """The algorithm: one of ours, or a plain class of the user's."""
    return completed(instantiate(cfg.algo, _convert_="all"))


def check_model(cfg: DictConfig) -> Any:
    """Refuse a model or a start that training would refuse, without loading weights.

    Returns:
        The encoder.

    Raises:
        ValueError: which one, why, and what to type.
    """
    from aa_lightning.models import load
    from aa_lightning.models.state_dict import check_start

    start = None if is_stage(cfg.init) else starting_point(cfg)
    _, checkpoint = _started(cfg, start)
    if checkpoint is not None:
        check_start(checkpoint)
    load.check_training(options_of(cfg, "model"))
    return build_encoder(cfg, start)


def build_policy(cfg: DictConfig, algorithm: Algorithm, start: str | None, weightless: bool = False) -> Any:
    """The policy or reward model that the algorithm trains.

    Args:
        start: weights to start from, a folder or a checkpoint; None: those of `model.path`.
        weightless: whether its weights are on the meta device, to count and to plan; token models alone.
    """
    from aa_lightning.models import load

    model, checkpoint = _started(cfg, start)
    if algorithm.trains == "reward_model":
        return load.load_scorer(model, _limits(cfg), checkpoint, algorithm.heads, algorithm.speaks, weightless)
    if algorithm.critics and cfg.model.critic_init is not None:
        model = replace(model, critic_init=weights_at(cfg.model.critic_init, "model.critic_init"))
    critics, process = algorithm.critics, algorithm.process_reward
    reference, noise = algorithm.uses_reference, algorithm.noise
    return load.load_policy(model, _limits(cfg), reference, checkpoint, noise, weightless, critics, process)


def keeps_reference(cfg: DictConfig, algorithm: Algorithm) -> bool:
    """Tell whether a run compares with a reference that is read once and kept."""
    return cfg.model.reference == "kept" and algorithm.uses_reference


def build_encoder(cfg: DictConfig, start: str | None = None) -> Any:
    """The encoder of a model, without its weights.

    Args:
        start: what `starting_point` found; a folder brings its own processor.
    """
    from aa_lightning.models import load

    model, _ = _started(cfg, start)
    return load.load_encoder(model, _limits(cfg))


def build_chat_policy(cfg: DictConfig) -> Any:
    """The policy that generates: of a run, with its trained weights, or the model's own.

    Raises:
        ValueError: the run has no export, or trained a reward model.
    """
    from aa_lightning.models import load

    model = options_of(cfg, "model")
    if cfg.run is not None:
        if build_algorithm(cfg).trains == "reward_model":
            raise ValueError(
                f"run={cfg.run} trained a reward model, which scores answers and writes none: type "
                f"python -m aa_lightning.evaluate run={cfg.run}, or run=<a run that trained a policy>"
            )
        merged = replace(model.lora, rank=0)
        model = replace(model, path=str(export_of(cfg.run)), lora=merged)
    return load.load_policy(model, _limits(cfg), False).eval()


def _started(cfg: DictConfig, start: str | None) -> tuple[Any, Path | None]:
    """The options of the model, at the folder that it starts from; or the checkpoint that it starts from."""
    model = options_of(cfg, "model")
    if start is None:
        return model, None
    return (model, Path(start)) if start.endswith(".ckpt") else (replace(model, path=start), None)


def _limits(cfg: DictConfig) -> Any:
    from aa_lightning.models.token.encoder import Limits

    loader = cfg.loader
    return Limits(prompt=loader.max_prompt_tokens, response=loader.max_response_tokens, overlong=loader.overlong)
