"""What runs in every process: each strategy in turn, its losses and weights written to a file by rank 0; then, in two
processes, the objectives that couple rows.

    python -m tests.strategies.job <output.json> <builder> <strategy> …

`builder` names a function `(dropout, adam, micro_batch_size) -> (module, loader)` as `package.module:function`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import tempfile
from pathlib import Path

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from aa_lightning.runs.checkpoints import newest
from aa_lightning.system.processes import leave
from aa_lightning.training import strategies
from aa_lightning.training.callbacks.checkpoint import SteadyCheckpoint
from aa_lightning.training.callbacks.random_state import RandomStates
from tests.strategies import coupled

MINUTES = 0.5
STRATEGIES = {
    "single": lambda: "auto",
    "ddp": lambda: strategies.DDP(timeout_minutes=MINUTES),
    "fsdp": lambda: strategies.FSDP(timeout_minutes=MINUTES),
    "fsdp_shards": lambda: strategies.FSDP(timeout_minutes=MINUTES, sharded_checkpoints=True),
    "zero1": lambda: strategies.DeepSpeed(stage=1, timeout_minutes=MINUTES),
    "zero2": lambda: strategies.DeepSpeed(stage=2, timeout_minutes=MINUTES),
    "zero3": lambda: strategies.DeepSpeed(stage=3, timeout_minutes=MINUTES),
}


class Losses(Callback):
    """Each micro-batch's loss, averaged over the processes."""

    def __init__(self):
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loss = outputs["loss"].detach().float() * trainer.accumulate_grad_batches
        self.values.append(trainer.strategy.reduce(loss, reduce_op="mean").item())


class Generates(Callback):
    """Draws answers before the third step, of another length on every rank."""

    def __init__(self):
        self.tokens: list[int] = []

    @torch.no_grad()
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx != 2:
            return
        model = module.policy.network.model
        with strategies.whole_weights(trainer, module.policy):
            start = torch.arange(4)[None]
            new = 3 + 5 * trainer.global_rank
            self.tokens = model.generate(start, max_new_tokens=new, do_sample=False, pad_token_id=0)[0].tolist()


def fit(name, module, loader, steps, clip=None, callbacks=(), resume=None):
    trainer = L.Trainer(
        strategy=STRATEGIES[name](),
        accelerator="cpu",
        devices=1 if name == "single" else 2,
        max_steps=steps,
        gradient_clip_val=clip,
        accumulate_grad_batches=4 // (loader.micro_batch_size or 4) // (1 if name == "single" else 2) or 1,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=any(isinstance(callback, SteadyCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, ckpt_path=resume)
    return trainer


def equality(name, build) -> dict:
    """Losses with AdamW and a clip; losses and weights with SGD, accumulation and no clip."""
    losses, generates = Losses(), Generates()
    fit(name, *build(0.0, True, None), steps=5, clip=1.0, callbacks=[losses, generates])
    summed = Losses()
    module, loader = build(0.0, False, 2 if name == "single" else 1)
    trainer = fit(name, module, loader, steps=4, callbacks=[summed])
    weights = strategies.whole_state_dict(trainer, module.policy)
    totals = {key: value.double().abs().sum().item() for key, value in weights.items()}
    return {
        "tokens": _longest(generates.tokens),
        "adam": losses.values,
        "accumulated": summed.values,
        "weights": totals,
    }


def resumption(name, build, folder: Path) -> dict:
    """A hash of the weights after 8 steps, and after 8 steps that were cut at 5; the epoch has 6."""
    torch.manual_seed(11)
    whole, loader = build(0.1, True, None)
    steady = SteadyCheckpoint(folder / "checkpoints", every_n_steps=5, keep=9)
    straight = digest(fit(name, whole, loader, 8, 1.0, [RandomStates(), steady]), whole)
    if dist.is_initialized():
        dist.barrier()
    at_five = folder / "checkpoints" / "step_00000005.ckpt"
    again, loader = build(0.1, True, None)
    resumed = digest(fit(name, again, loader, 8, 1.0, [RandomStates()], resume=at_five), again)
    assert newest(folder).name == "step_00000008.ckpt"
    return {"straight": straight, "resumed": resumed}


def _longest(mine: list[int]) -> list[int]:
    everyone = [mine] * (dist.get_world_size() if dist.is_initialized() else 1)
    if dist.is_initialized():
        dist.all_gather_object(everyone, mine)
    return everyone[-1]


def digest(trainer, module) -> str:
    weights = strategies.whole_state_dict(trainer, module.policy)
    joined = b"".join(weights[key].float().numpy().tobytes() for key in sorted(weights))
    return hashlib.md5(joined).hexdigest() if joined else ""


def _shared_folder() -> Path:
    names = [tempfile.mkdtemp()]
    if dist.is_initialized():
        dist.broadcast_object_list(names)
    return Path(names[0])


def main(output: str, builder: str, *names: str) -> None:
    module, _, function = builder.partition(":")
    build = getattr(importlib.import_module(module), function)
    results = {}
    for name in names:
        results[name] = equality(name, build)
        results[name] |= resumption(name, build, _shared_folder())
    if dist.is_initialized():
        results["coupled"] = coupled.of_two_processes(dist.get_rank())
    if not dist.is_initialized() or dist.get_rank() == 0:
        Path(output).write_text(json.dumps(results))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
    leave(0)
