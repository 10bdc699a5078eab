"""The LightningModule that wraps one algorithm and one policy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from aa_lightning.algos.joining import Tally
from aa_lightning.algos.step import Step, computed, prepared
from aa_lightning.configuration.schema import Optimizer
from aa_lightning.runs.resume_check import check_same_run
from aa_lightning.training import strategies
from aa_lightning.types import Algorithm, Batch, Metrics


class AlignmentModule(L.LightningModule):
    """Trains a policy (or reward model) with an algorithm.

    Args:
        policy: a policy or a reward model; what is registered in it trains and is saved.
        algorithm: `loss, metrics = algorithm(policy, batch)`, with the step where it takes one.
        optimizer: of the AdamW optimiser and its schedule.
        hyperparameters: the resolved configuration as a plain dictionary; it goes into every checkpoint.
    """

    def __init__(
        self, policy: nn.Module, algorithm: Algorithm, optimizer: Optimizer, hyperparameters: Mapping[str, Any]
    ):
        super().__init__()
        self.policy, self.algorithm, self.optimizer_options = policy.train(), algorithm, optimizer
        self._step, self._validation = Tally(), Tally()
        self.memory = {name: torch.zeros((), dtype=torch.float64) for name in algorithm.remembers}
        self.save_hyperparameters({"config": dict(hyperparameters)})

    # ------------------------------------------------------------ steps

    def training_step(self, counted: tuple[Batch, Tensor | None], index: int) -> Tensor:
        batch, terms = counted
        batch = prepared(self.policy, batch)
        step = Step(normalizer=self._normalizer(terms), memory=self.memory, measured=self._is_written)
        loss, metrics = self._computed(batch, step)
        self._refuse_non_finite(loss, batch)
        self._step.add({"loss": loss, **metrics}, len(batch))
        if self._step.parts == self.trainer.accumulate_grad_batches:
            self._log("train", self._step)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        batch = prepared(self.policy, batch)
        step = Step(memory=dict(self.memory), measured=True)  # what is written into the memory is forgotten
        loss, metrics = self._computed(batch, step)
        self._validation.add({"loss": loss, **metrics}, len(batch))

    def on_validation_epoch_end(self) -> None:
        self._log("val", self._validation)

    def _computed(self, batch: Batch, step: Step) -> tuple[Tensor, Metrics]:
        """Compute the algorithm's loss and metrics of a batch.

        Raises:
            TypeError: something other than one loss and a dictionary of metrics.
        """
        found, name = computed(self.algorithm, self.policy, batch, step), type(self.algorithm).__name__
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"{name} returned a {type(found).__name__} where a loss and its metrics are needed: end its __call__ with "
                "return loss, {}"
            )
        if found[0].ndim != 0:
            raise TypeError(
                f"{name} returned a loss of shape {tuple(found[0].shape)} where one number is needed: take its mean()"
            )
        return found

    def _normalizer(self, terms: Tensor | None) -> Tensor | None:
        """Supervised terms per micro-batch and rank, averaged over the whole step, of those of this rank's window.

        Lightning averages the losses of ranks and micro-batches. A sum of terms divided by this number therefore averages
        to the mean over all terms of the step.
        """
        if terms is None:
            return None
        total = self.trainer.strategy.reduce(terms.clone(), reduce_op="sum")
        return total / (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def _refuse_non_finite(self, loss: Tensor, batch: Batch) -> None:
        if torch.isfinite(loss):
            return
        raise ValueError(
            f"the loss is {loss.item()} at step {self.global_step}, on rows {', '.join(batch.ids)}. Look at these rows "
            "(python -m aa_lightning.check), lower optimizer.lr, or raise trainer.precision; the last checkpoint is "
            "good: resume=<run folder> continues from it"
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(self.trainer.strategy, strategies.DeepSpeed):  # which keeps gradients to itself
            _fill_missing(optimizer)
        if not self._is_written:
            return  # Lightning would put the numbers of this step into a later one
        self.log("train/lr", optimizer.param_groups[0]["lr"])
        gradients = [p.grad for p in self.policy.parameters() if p.grad is not None]
        if gradients:  # DeepSpeed keeps them to itself
            norm = torch.nn.utils.get_total_norm(gradients)
            self.log("train/grad_norm", norm.full_tensor() if isinstance(norm, DTensor) else norm)

    @property
    def _is_written(self) -> bool:
        """Tell whether Lightning writes a row of metrics for this step."""
        return (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0

    def _log(self, stage: str, tally: Tally) -> None:
        """Log what was added up, over all processes."""
        metrics = tally.taken(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        self.log_dict({f"{stage}/{name}": value for name, value in metrics.items()}, sync_dist=stage == "val")

    # ------------------------------------------------------------ set-up

    def configure_model(self) -> None:
        strategies.shard_policy(self.trainer, self.policy)

    def on_fit_start(self) -> None:
        strategies.place_reference(self.trainer, self.policy)

    def configure_optimizers(self) -> dict[str, Any]:
        options, groups = self.optimizer_options, self._parameter_groups()
        fused = strategies.fuses_steps(self.trainer, [p for group in groups for p in group["params"]])
        optimizer = torch.optim.AdamW(
            groups, lr=options.lr, betas=tuple(options.betas), eps=options.eps, fused=fused or None
        )
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total, options))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, vectors (norms, biases) do not."""
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        if not trained:
            raise ValueError(
                "nothing would train: every parameter is frozen. Take a group out of model.freeze, or set model.lora.rank"
            )
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.optimizer_options.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    # ------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["memory"] = {name: value.cpu() for name, value in self.memory.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_same_run(checkpoint["hyper_parameters"]["config"], self.hparams["config"])
        self.memory.update(checkpoint["memory"])


def _fill_missing(optimizer: torch.optim.Optimizer) -> None:
    """A step without pictures leaves a vision tower without gradients. Its gradient is zero, which moves Adam's averages;
    left out, the step would depend on how the batch was divided, since companion rows of other processes give zeros."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def rate(step: int, total: int, options: Optimizer) -> float:
    """The share of the learning rate at a step: linear warm-up, then constant, linear or cosine decay to `min_lr_ratio`."""
    warmup = round(options.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if options.schedule == "constant":
        return 1.0
    falling = 1 - progress if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return options.min_lr_ratio + (1 - options.min_lr_ratio) * falling
