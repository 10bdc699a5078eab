"""A two-layer Llama with a frozen reference, trained by DPO: the smallest module with all that strategies handle."""

from __future__ import annotations

import copy

import lightning as L
import torch
from torch import nn
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM

from aa_lightning.models.reference import Reference, frozen
from aa_lightning.training import strategies
from aa_lightning.training.loader import TrainLoader
from aa_lightning.types import Batch, LogLikelihood

LENGTH = 12
EXAMPLES = 24
LLAMA = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


class ToyNetwork(nn.Module):
    """(P, K, T) tokens → their log-likelihoods, from the second one on."""

    def __init__(self, dropout: float):
        super().__init__()
        self.model = LlamaForCausalLM(LlamaConfig(**LLAMA, attention_dropout=dropout, attn_implementation="sdpa"))

    def forward(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        ids, mask = batch.response["input_ids"], batch.response["mask"]
        logits = self.model(ids.flatten(0, 1), use_cache=False).logits[:, :-1].float()
        terms = logits.log_softmax(-1).gather(-1, ids.flatten(0, 1)[:, 1:, None])[..., 0]
        return LogLikelihood(terms.view(*ids.shape[:2], -1), mask[..., 1:])


class ToyPolicy(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.network = ToyNetwork(dropout)
        self.reference = Reference("frozen", frozen(copy.deepcopy(self.network)))

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        return self.network(batch)

    def as_reference(self):
        return self.reference.active(self.network)


class ToyModule(L.LightningModule):
    def __init__(self, dropout: float, adam: bool):
        super().__init__()
        self.policy, self.adam = ToyPolicy(dropout), adam

    def configure_model(self) -> None:
        strategies.shard_policy(self.trainer, self.policy)

    def on_fit_start(self) -> None:
        strategies.place_reference(self.trainer, self.policy)

    def training_step(self, counted: tuple[Batch, None], index: int):
        batch, _ = counted
        score = self.policy.log_likelihood(batch).total
        with self.policy.as_reference() as reference:
            score = score - reference.log_likelihood(batch).total
        return -logsigmoid(0.5 * (score[:, 0] - score[:, 1])).mean()

    def configure_optimizers(self):
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        if self.adam:
            return torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
        return torch.optim.SGD(trained, lr=0.5)


def collate(rows: list[torch.Tensor]) -> Batch:
    ids = torch.stack(rows)
    mask = torch.ones(ids.shape)
    mask[..., -1] = ids[..., -1] % 2  # so that lengths differ
    return Batch(ids=["row"] * len(rows), prompt={}, response={"input_ids": ids, "mask": mask})


def build(dropout: float, adam: bool, micro_batch_size: int | None) -> tuple[L.LightningModule, TrainLoader]:
    """A module and its loader, the same on every process: 4 prompts a step."""
    torch.manual_seed(3)
    rows = list(torch.randint(0, 128, (EXAMPLES, 2, LENGTH)))
    loader = TrainLoader(rows, collate, batch_size=4, micro_batch_size=micro_batch_size, seed=7)
    return ToyModule(dropout, adam), loader
