"""The held-out measures of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.data import data_options, read_held_out, wanted_of
from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.policy import build_algorithm, build_policy
from aa_lightning.assembly.stages import export_of, starting_point
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.data.options import DataOptions
from aa_lightning.types import Algorithm

if TYPE_CHECKING:
    from aa_lightning.assembly.data import Data
    from aa_lightning.evaluation.suite import HeldOutSets, Suite
    from aa_lightning.training.datamodule import HeldOutRows


def build_suite(cfg: DictConfig, algorithm: Algorithm, encoder: Any, data: Data, held_out: HeldOutRows) -> Suite:
    """The held-out measures of a run.

    Args:
        encoder: reads the rows.
        data: of `data_options`.
        held_out: the rows.
    """
    from aa_lightning.evaluation.measures import check_verifiers
    from aa_lightning.evaluation.suite import Suite
    from aa_lightning.system.console import say

    wanted, rows = options_of(cfg, "evaluation"), held_out.examples
    if wanted.num_examples and wanted.num_generations and algorithm.trains == "policy":
        check_verifiers(data.checks)
    if wanted.num_examples and not len(rows):
        say("nothing is measured, as no row is held out that could be: data.val_share=0.2 holds a fifth of them out")
    controls = {}
    if wanted.blank_media_control and data.corruption is None and len(rows) and rows.media:
        controls["blank"] = replace(held_out, examples=rows.corrupted(CorruptionOptions(name="blank")))
    return Suite(
        sets=_sets(cfg, algorithm, encoder, held_out),
        controls={name: _sets(cfg, algorithm, encoder, spoiled) for name, spoiled in controls.items()},
        reference=None if not algorithm.uses_reference else "stays" if algorithm.ref_sync is None else "moves",
        scores=algorithm.trains == "reward_model",
        max_new_tokens=wanted.max_new_tokens,
        groups=[] if isinstance(data, DataOptions) else list(data.parts),
    )


def load_trained(cfg: DictConfig) -> tuple[Any, Any, Any]:
    """Load what `evaluate` measures: the policy with the weights of its run, the suite, and the device."""
    import torch

    if cfg.model.reference == "kept":  # for a training run; here the reference is read as often as the model
        cfg = OmegaConf.merge(cfg, {"model": {"reference": "auto"}})
    algorithm = build_algorithm(cfg)
    policy = build_policy(cfg, algorithm, None if cfg.run is None else starting_point(cfg))
    if cfg.run is not None:
        policy.restore(export_of(cfg.run))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy.to(device)
    for frozen in policy.reference_modules():
        frozen.to(device)
    data = data_options(cfg)
    _, held_out = read_held_out(cfg, algorithm, policy.encoder, data)
    return policy, build_suite(cfg, algorithm, policy.encoder, data, held_out), device


def _sets(cfg: DictConfig, algorithm: Algorithm, encoder: Any, held_out: HeldOutRows) -> HeldOutSets:
    from aa_lightning.evaluation.suite import HeldOutSets
    from aa_lightning.training.datamodule import EncodedExamples, PromptsOnly, eval_loader

    wanted, loader, rows = options_of(cfg, "evaluation"), options_of(cfg, "loader"), held_out.examples
    sets = HeldOutSets(rows)
    if not len(rows):
        return sets
    told = wanted_of(algorithm) if held_out.kind == "rating" else None
    whole = eval_loader(EncodedExamples(rows, encoder, loader.kept_bytes, told), loader)
    if held_out.kind == "preference":
        sets.pairs = whole
    elif held_out.kind == "rating":
        sets.ratings = whole
    elif held_out.kind == "demonstration":
        sets.demonstrations = whole
    if algorithm.trains == "policy" and wanted.num_generations:
        asked = PromptsOnly(rows[: wanted.num_generations], encoder, loader.kept_bytes)
        sets.prompts = eval_loader(asked, loader)
    return sets
