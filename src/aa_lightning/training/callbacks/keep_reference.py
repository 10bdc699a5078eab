"""A reference that is read before the policy moves."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any

import lightning as L
import torch

from aa_lightning.algos.step import prepared
from aa_lightning.evaluation.suite import Suite
from aa_lightning.models.reference import evaluating
from aa_lightning.system.console import bar, say
from aa_lightning.system.random_state import fixed_draws
from aa_lightning.training import strategies
from aa_lightning.types import Batch


class KeepReference(L.Callback):
    """Has a policy read all rows of its run that are not kept yet, while it is the reference still.

    Rows are read in the batches in which training brings them first, so that the numbers are those of a reference beside the
    policy. A resumed run does the same before the weights of its checkpoint are restored.

    Args:
        suite: of held-out measures, whose reference stays in memory.
        branches: of batches, which the algorithm reads with the reference besides the responses.
    """

    def __init__(self, suite: Suite, branches: tuple[str, ...]):
        self.suite, self.branches = suite, branches
        self.told: dict[str, Any] = {}
        self._responses, self._read, self._last = 0, 0, b""

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if not trainer.strategy.restore_checkpoint_after_setup:
            strategies.place_policy(trainer, module.policy)
            self._read_all(trainer, module)

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.strategy.restore_checkpoint_after_setup:
            self._read_all(trainer, module)

    def _read_all(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        policy, data = module.policy, trainer.datamodule
        plan = data.train_loader.once(trainer.max_steps if trainer.max_steps >= 0 else len(data.train_examples))
        validation = data.val_dataloader() if trainer.limit_val_batches else []
        batches = chain(data.train_loader.fetch(plan), validation)
        with fixed_draws(0), evaluating(policy):
            with trainer.precision_plugin.forward_context():  # as for steps
                for batch in bar(batches, "reading the reference", "batch", total=len(plan) + len(validation)):
                    self._read_batch(trainer, module, batch)
            self.suite.read_reference(policy, trainer.strategy.root_device)  # in every run, so that ties are ties
        strategies.reshard(policy)
        policy.reference.may_move = True
        self._tell(trainer, policy.reference.store)

    def _read_batch(self, trainer: L.Trainer, module: L.LightningModule, batch: Batch) -> None:
        policy, anywhere = module.policy, partial(trainer.strategy.reduce_boolean_decision, all=False)
        batch = prepared(policy, batch.to(trainer.strategy.root_device))
        for one in (batch, *(batch.branches[name] for name in self.branches if name in batch.branches)):
            keys, missing = policy.reference.read(policy.network, one, anywhere)
            self._responses, self._read, self._last = self._responses + len(keys), self._read + missing, keys[-1]

    def _tell(self, trainer: L.Trainer, store: Any) -> None:
        """Say what was there.

        Raises:
            ValueError: not all processes see the same store.
        """
        trainer.strategy.barrier()
        shared = [key for key in [trainer.strategy.broadcast(self._last)] if key]  # none where no step is taken
        if trainer.strategy.reduce_boolean_decision(len(store.get(shared)) < len(shared), all=False):
            raise ValueError(
                f"the reference is kept in {store.folder}, which is not the same folder for all processes of this run: let "
                "$AA_LIGHTNING_CACHE name one that all machines see, or type model.reference=auto"
            )
        counts = torch.tensor([self._responses, self._read], device=trainer.strategy.root_device)
        responses, read = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        self.told = {"responses": responses, "found": responses - read, "folder": str(store.folder)}
        say(
            f"the reference is read once: {responses - read:,} of {responses:,} responses were there already, kept in "
            f"{store.folder}"
        )
