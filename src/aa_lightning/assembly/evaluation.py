"""The held-out measures of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from aa_lightning.assembly.data import examples, fitting, wanted_of
from aa_lightning.assembly.options import options
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.data.kinds import can_serve
from aa_lightning.data.options import DataOptions
from aa_lightning.types import Algorithm

if TYPE_CHECKING:
    from aa_lightning.assembly.data import Data


def build_suite(cfg: DictConfig, algorithm: Algorithm, policy: Any, data: Data) -> Any:
    """The held-out measures of a run: on the rows as they are, so that all objectives are measured alike; steps only where
    they stand."""
    from aa_lightning.evaluation.suite import Suite
    from aa_lightning.rewards import mathematics
    from aa_lightning.system.console import say

    wanted = options(cfg, "evaluation")
    if "math" in data.checks and wanted.num_examples and wanted.num_generations and algorithm.trains == "policy":
        mathematics.require()
    if "steps" in algorithm.wants:
        data = data.serving(algorithm)
    sets = _sets(cfg, algorithm, policy, data)
    if wanted.num_examples and not len(sets.examples):
        say("nothing is measured, as no row is held out that could be: data.val_share=0.2 holds a fifth of them out")
    controls = {}
    if wanted.blank_media_control and data.corruption is None and len(sets.examples) and sets.examples.media:
        controls["blank"] = replace(data, corruption=CorruptionOptions(name="blank"))
    return Suite(
        sets=sets,
        controls={name: _sets(cfg, algorithm, policy, changed) for name, changed in controls.items()},
        reference=algorithm.uses_reference,
        scores=algorithm.trains == "reward_model",
        max_new_tokens=wanted.max_new_tokens,
        groups=[] if isinstance(data, DataOptions) else list(data.parts),
    )


def _sets(cfg: DictConfig, algorithm: Algorithm, policy: Any, data: Data) -> Any:
    from aa_lightning.evaluation.suite import HeldOutSets
    from aa_lightning.training.datamodule import EncodedExamples, PromptsOnly, eval_loader

    wanted, loader = options(cfg, "evaluation"), options(cfg, "loader")
    if not wanted.num_examples or not data.holds_out:
        return HeldOutSets([])
    richest_first = ("preference", "rating", "demonstration")
    kinds = [kind for kind in richest_first if all(can_serve(known, kind) for known in data.kinds.values())]
    kind = next(iter(kinds), "prompt")
    held_out = examples(data, "val", kind)[: wanted.num_examples]
    held_out = fitting(cfg, held_out, policy.encoder)
    sets = HeldOutSets(held_out)
    if not len(held_out):
        return sets
    if kind == "preference":
        sets.pairs = eval_loader(EncodedExamples(held_out, policy.encoder, loader.kept_bytes), loader)
    elif kind == "rating":
        told = EncodedExamples(held_out, policy.encoder, loader.kept_bytes, wanted_of(algorithm))
        sets.ratings = eval_loader(told, loader)
    elif kind == "demonstration":
        sets.demonstrations = eval_loader(EncodedExamples(held_out, policy.encoder, loader.kept_bytes), loader)
    if algorithm.trains == "policy" and wanted.num_generations:
        asked = PromptsOnly(held_out[: wanted.num_generations], policy.encoder, loader.kept_bytes)
        sets.prompts = eval_loader(asked, loader)
    return sets
