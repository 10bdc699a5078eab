"""A reference that follows the policy."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from aa_lightning.algos.hyperparameters import ReferenceSync
from aa_lightning.models.state_dict import Weights, merged


class SyncReference(L.Callback):
    """π_ref ← share · π + (1 − share) · π_ref, every so many steps (TR-DPO, 2404.09656), or before each drawing.

    A reference that moves can no longer be made from the start of the run, so it goes into checkpoints: the one exception
    to the rule that references stay out of them.
    """

    def __init__(self, sync: ReferenceSync):
        self.every, self.share = sync.every_n_steps, sync.mixup
        self._moved_at = 0
        self._saved: list[dict[str, Tensor]] = []

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for reference, saved in zip(_references(module), self._saved, strict=False):
            reference.load_state_dict(saved)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs, batch, batch_idx) -> None:
        step = trainer.global_step
        due = trainer.datamodule.train_loader.is_used_up if self.every is None else step and step % self.every == 0
        if due and step != self._moved_at:
            self._moved_at = step
            for reference in _references(module):
                move(reference, _weights(module.policy), self.share)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["reference"] = {
            "moved_at": self._moved_at,
            "weights": [
                {k: v.detach().cpu().clone() for k, v in one.state_dict().items()} for one in _references(module)
            ],
        }

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._moved_at, self._saved = checkpoint["reference"]["moved_at"], checkpoint["reference"]["weights"]


def _references(module: L.LightningModule) -> list[nn.Module]:
    return module.policy.reference_modules()


def _weights(policy: Any) -> Weights:
    """Of the network that trains, adapters added to the layers that they sit in: the reference has none."""
    weights = dict(policy.network.named_parameters())
    return weights if policy.adapters is None else merged(weights, policy.adapters.scaling)


@torch.no_grad()
def move(reference: nn.Module, weights: Weights, share: float) -> None:
    """Move every weight of the reference that share of the way to the policy's."""
    for name, parameter in reference.named_parameters():
        parameter.lerp_(weights[name].to(parameter.dtype), share)
