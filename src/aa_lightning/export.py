"""A trained model as a folder that transformers, diffusers or peft load by themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from aa_lightning.models.scorer import Scorer, save_head


def export(policy: Any, weights: dict[str, Tensor] | None, folder: Path) -> Path:
    """Write model and processor, whole or not at all.

    Args:
        policy: what was trained.
        weights: its gathered state dict, where a strategy sharded it; None: its own.
        folder: the target; an older export there is replaced.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    if isinstance(policy, Scorer):
        _token_model(policy.network.network.model, policy.encoder.processor, None, aside, _below(weights, "network.network.model."))
        save_head(policy, aside)
    elif policy.likelihood == "bound":
        policy.save_export(aside)
    else:
        _token_model(policy.network.model, policy.encoder.processor, policy.adapters, aside, _below(weights, "network.model."))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def _token_model(model: Any, processor: Any, adapters: Any, folder: Path, weights: dict[str, Tensor] | None) -> None:
    if adapters is not None:
        adapters.save(folder)
    else:
        model.save_pretrained(folder, state_dict=weights)
    processor.save_pretrained(folder)


def _below(weights: dict[str, Tensor] | None, prefix: str) -> dict[str, Tensor] | None:
    if weights is None:
        return None
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
