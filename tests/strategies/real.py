"""What runs in every process: real runs, built as the command builds them, under each strategy in turn.

    python -m tests.strategies.real <folder> <rows.jsonl> <strategy>/<variant> …

Each run leaves `<folder>/<strategy>/<variant>/` with its export, and the results stand in `<folder>/results.json`.
`rows.jsonl` mixes rows with and without a picture; `heard.jsonl` beside it mixes pictures, sounds, clips and neither.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from PIL import ImageStat

from aa_lightning.assembly.build import build_run
from aa_lightning.configuration.compose import compose
from aa_lightning.system.cache import cache_root
from aa_lightning.system.console import quiet
from aa_lightning.system.processes import leave
from aa_lightning.training import strategies
from aa_lightning.training.callbacks.heldout import HeldOut
from aa_lightning.training.export import export
from aa_lightning.types import Prompt, Response
from tests.strategies.job import digest

PAIRS = ["modality=ti2t", "model=tiny_llava"]
DRAWING = [  # two drawings, each learned from twice
    "reward=own",
    "reward.own._target_=tests.strategies.real.letters",
    "rollout.responses=4",
    "rollout.epochs=2",
    "rollout.max_new_tokens=12",
    "optimizer.lr=2e-3",
]
VARIANTS = {
    "dpo": [*PAIRS, "algo=dpo"],
    "lora": [*PAIRS, "algo=dpo", "model.lora.rank=4"],
    "kept": [*PAIRS, "algo=dpo", "model.reference=kept"],
    "tdpo2": [*PAIRS, "algo=tdpo2"],  # reads whole distributions beside the tokens
    "sft": [*PAIRS, "algo=sft"],
    "reward": [*PAIRS, "algo=reward_model"],
    "grpo": [*PAIRS, "algo=grpo", "algo.loss_kl={coefficient:0.1,estimator:k3,corrected:false}", *DRAWING],
    "ppo": [*PAIRS, "algo=ppo", *DRAWING],
    "own_critic_ppo": [*PAIRS, "algo=ppo", "model.critic=own", *DRAWING],
    "prime": [*PAIRS, "algo=prime", "algo.advantage.right=6", *DRAWING],
    "pictures_grpo": [
        *["modality=t2i", "algo=grpo", "algo.loss_kl={coefficient:0.1,estimator:k2,corrected:false}", *DRAWING],
        *["reward.own._target_=tests.strategies.real.brightness", "optimizer.lr=5e-4"],
        *["model.sampling.steps=4", "model.sampling.noisy_steps=3"],
    ],
    "pictures": ["modality=t2i", "algo=dpo", "algo.beta=100", "optimizer.lr=1e-5"],
}
SHAPES = ["data.train.size=12", "data.val.size=8", "loader.batch_size=4", "trainer.max_steps=5"]  # three steps an epoch
# 20 steps of two rows, one for each process: all four neighbourhoods of text and picture are among them
MIXED = ["data=local", "data.val_share=0.2", "loader.batch_size=2", "trainer.max_steps=20"]
MIXED += ["checkpoint.every_n_steps=14"]  # from where a run goes on through the end of an epoch
VARIANTS = {name: [*overrides, *SHAPES] for name, overrides in VARIANTS.items()} | {
    "mixed_llava": [*PAIRS, "algo=dpo", *MIXED],
    "mixed_sft": [*PAIRS, "algo=sft", *MIXED],
    "mixed_reward": [*PAIRS, "algo=reward_model", *MIXED],
    "bfloat16": [*PAIRS, "algo=dpo", *SHAPES, "trainer.precision=bf16-mixed", "evaluation.before=true"],
    "mixed_qwen2_5_vl": ["modality=ti2t", "model=tiny_qwen2_5_vl", "algo=dpo", *MIXED],
    "mixed_qwen2_5_omni": ["modality=any2t", "model=tiny_qwen2_5_omni", "algo=dpo", *MIXED],
}
FAMILIES = {  # whose rows, towers or VQ models have shapes of their own; under the strategies that shard
    **{
        f"mixed_{name}": ["modality=ti2t", f"model=tiny_{name}", "algo=dpo", *MIXED]
        for name in ("gemma3", "llava_onevision", "qwen3_vl")
    },
    "qwen2_audio": ["modality=ta2t", "model=tiny_qwen2_audio", "algo=dpo", *SHAPES],
    "emu3": ["modality=ti2ti", "model=tiny_emu3", "algo=dpo", *SHAPES],
    "janus": ["modality=ti2ti", "model=tiny_janus", "algo=dpo", *SHAPES],
    "speech": ["modality=t2a", "model=tiny_qwen2_5_omni_speech", "algo=dpo", *SHAPES],
    "speech_in_steps": ["modality=t2a", "model=tiny_qwen3_omni_speech", "algo=dpo", *SHAPES],
    "mixed_qwen3_omni": ["modality=any2t", "model=tiny_qwen3_omni", "algo=dpo", *MIXED],
}
VARIANTS |= FAMILIES
VARIANTS |= {
    name.replace("mixed", "long"): [*VARIANTS[name], "trainer.max_steps=50"]
    for name in ("mixed_llava", "mixed_qwen2_5_vl", "mixed_qwen2_5_omni")
}
COMMON = [
    "init=null",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=2",
    # Adam divides by the size of a gradient: where that is rounding alone (the bias of a key), so would be the step
    "optimizer.eps=1e-4",
    "evaluation.before=false",
    "evaluation.num_examples=4",
    "evaluation.num_generations=4",
    "evaluation.max_new_tokens=4",
    "evaluation.samples=0",
    "evaluation.blank_media_control=false",
    "logger.tensorboard=false",
    "checkpoint.every_n_steps=2",
    "checkpoint.keep=99",
]


def letters(prompt: Prompt, response: Response) -> float:
    """The number of different letters that a response has."""
    return float(len({*response[0]["text"].lower()}))


def brightness(prompt: Prompt, response: Response) -> float:
    """The mean brightness of the picture that a response is, in percent, which the rounding of a few pixels does not move."""
    return float(round(ImageStat.Stat(response[0]["image"].convert("L")).mean[0] / 2.55))


class StepLosses(Callback):
    """The loss of each step, over its micro-batches and processes."""

    def __init__(self):
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loss = trainer.strategy.reduce(outputs["loss"].detach().float(), reduce_op="mean").item()  # a share of a step
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.values.append(0.0)
        self.values[-1] += loss


class Reference(Callback):
    """What the reference says of the same rows when training starts and when it ends."""

    def __init__(self, batch):
        self.batch, self.values = batch, []

    def on_train_start(self, trainer, module):
        self.values.append(self._ask(module.policy))

    on_train_end = on_train_start

    def _ask(self, policy) -> list[list[float]]:
        mode = policy.training
        prepared = policy.eval().prepare(self.batch)
        with policy.as_reference() as reference:
            total = reference.log_likelihood(prepared).total
        policy.train(mode)
        return total.tolist()


def configuration(name: str, variant: str, mixed: str) -> DictConfig:
    together = [f"strategy={name}", "trainer.strategy.timeout_minutes=0.5", "loader.micro_batch_size=1"]
    alone = ["strategy=single", "loader.micro_batch_size=2"]
    rows = Path(mixed).with_name("heard.jsonl") if variant.endswith("omni") else mixed
    path = [f"data.train.path={rows}"] if "data=local" in VARIANTS[variant] else []
    return compose([*COMMON, *VARIANTS[variant], *path, *(alone if name == "single" else together)])


def fit(cfg: DictConfig, folder: Path, resume: Path | None = None):
    """The run, its losses, what its reference said."""
    folder.mkdir(parents=True, exist_ok=True)
    run = build_run(cfg, folder)
    if run.policy.likelihood == "elbo":
        run.policy.eval()  # timesteps and noise follow from the rows then, as no generator is shared by all strategies
    losses = StepLosses()
    rows = run.data.train_examples
    reference = Reference(rows.collate([rows[0], rows[1]]))
    asks = run.algorithm.uses_reference and not run.algorithm.draws_responses  # of rows that bring responses
    run.trainer.callbacks += [losses, *([reference] if asks else [])]
    run.trainer.fit(run.module, run.data, ckpt_path=resume, weights_only=False)
    return run, losses.values, reference.values


def outcome(name: str, variant: str, mixed: str, folder: Path) -> dict:
    cfg = configuration(name, variant, mixed)
    run, losses, reference = fit(cfg, folder)
    straight = digest(run.trainer, run.module)
    weights = strategies.whole_state_dict(run.trainer, run.policy)
    if run.trainer.is_global_zero:
        export(run.policy, weights, folder / "export")
    run.trainer.strategy.barrier()
    first = min((folder / "checkpoints").glob("step_*.ckpt"))
    again, after, _ = fit(cfg, folder / "again", resume=first)
    return {
        "losses": losses,
        "heldout": next(c for c in run.trainer.callbacks if isinstance(c, HeldOut)).results,
        "reference": reference,
        "straight": straight,
        "resumed": digest(again.trainer, again.module),
        "losses when resumed": after,
    }


@contextmanager
def without_references(folder: Path) -> Iterator[None]:
    """A cache in which nothing is kept of references, with the tiny models of the other one."""
    cache, before = folder / "cache", os.environ.get("AA_LIGHTNING_CACHE")
    cache.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # each rank does this
        (cache_root() / "tiny").mkdir(parents=True, exist_ok=True)
        (cache / "tiny").symlink_to(cache_root() / "tiny")
    os.environ["AA_LIGHTNING_CACHE"] = str(cache)
    try:
        yield
    finally:
        if before is None:
            del os.environ["AA_LIGHTNING_CACHE"]
        else:
            os.environ["AA_LIGHTNING_CACHE"] = before


def main(folder: str, mixed: str, *cells: str) -> None:
    """All cells one after another, as one of the processes or as the only one."""
    root, results = Path(folder), {}
    for cell in cells:
        name, _, variant = cell.partition("/")
        with without_references(root / name / variant):
            results.setdefault(name, {})[variant] = outcome(name, variant, mixed, root / name / variant)
    if not dist.is_initialized() or dist.get_rank() == 0:
        (root / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    torch.set_num_threads(1)
    quiet()
    main(*sys.argv[1:])
    leave(0)
