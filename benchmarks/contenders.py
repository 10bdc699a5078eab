"""One training step on DPO, by this project and by TRL: forward, what the reference says, backward, AdamW."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.kept import KeptReference
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.system.store import Store
from aa_lightning.types import Batch, Preference
from benchmarks.subject import dpo

Step = Callable[[], Tensor]  # one training step; returns its loss
LR = 1e-6


def ours(policy: AutoregressivePolicy, pairs: list[Preference], device: str) -> Step:
    """A step of this project on prepared data, with a fresh reference pass."""
    policy.reference.network.to(device)
    return _ours(policy, batch_of(policy.encoder, pairs, device), device)


def kept(policy: AutoregressivePolicy, pairs: list[Preference], device: str) -> Step:
    """The same, of a run whose reference was read before: a step finds what it said on the disk."""
    network, store = policy.reference.network.to(device), Store(Path(tempfile.mkdtemp()))
    batch = batch_of(policy.encoder.with_keys(), pairs, device)
    policy.reference = KeptReference(store, None)
    policy.reference.read(network, batch, bool)
    policy.reference.may_move = True
    return _ours(policy, batch, device)


def batch_of(encoder: TokenEncoder, pairs: list[Preference], device: str) -> Batch:
    return encoder.collate([encoder.encode(pair, pair.responses) for pair in pairs]).to(device)


def _ours(policy: AutoregressivePolicy, batch: Batch, device: str) -> Step:
    algorithm = dpo()
    policy.to(device)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LR, fused=True)

    def step() -> Tensor:
        loss, _ = algorithm(policy, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def trl(policy: AutoregressivePolicy, pairs: list[Preference], device: str) -> Step:
    """A step of TRL's DPOTrainer around copies of the same weights, on the same tokens and pictures.

    Dropout is off and nothing is recomputed in the backward pass, as on our side; the rest is TRL's default.
    """
    from trl import DPOConfig, DPOTrainer

    rows = [as_trl(policy, pair) for pair in pairs]
    args = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=device == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        beta=0.1,
        report_to="none",
    )
    trainer = DPOTrainer(
        model=copy.deepcopy(policy.network.model),
        ref_model=copy.deepcopy(policy.reference.network.model),
        args=args,
        train_dataset=_named_columns(rows),
        processing_class=policy.encoder.processor,
    )
    inputs = trainer._prepare_inputs(trainer.data_collator(rows))
    model = trainer.model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)

    def step() -> Tensor:
        loss = trainer.compute_loss(model, inputs)
        trainer.accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def as_trl(policy: AutoregressivePolicy, pair: Preference) -> dict[str, Any]:
    """A pair as TRL reads rendered text; the answers end with the token that ours end with."""
    encoder = policy.encoder
    end = encoder.tokenizer.convert_ids_to_tokens(encoder.end)
    parts = pair.messages[0]["content"]
    return {
        "images": [part["image"] for part in parts if part["type"] == "image"],
        "prompt": encoder.render(pair.messages),
        "chosen": pair.chosen[0]["text"] + end,
        "rejected": pair.rejected[0]["text"] + end,
    }


def _named_columns(rows: list[dict[str, Any]]):
    """A data set that shows TRL its columns; batches come straight from the collator."""
    from datasets import Dataset

    return Dataset.from_list([{**row, "images": ["a picture"]} for row in rows])
