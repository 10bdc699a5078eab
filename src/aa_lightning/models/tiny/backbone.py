"""Base of all tiny token models: sizes, the text backbone, weights that are not blind, and how they are finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_CONTEXT = 4096

# Pictures of Shapes are near white. Centred on the background, an empty patch is zero and the figures are what is left;
# centred on grey, as published checkpoints do, every patch is mostly one constant and tiny towers learn half as fast.
PIXELS = {"image_mean": [0.95] * 3, "image_std": [0.3] * 3}


@dataclass(frozen=True, kw_only=True)
class TextSizes:
    """The text backbone. The defaults are the smallest that exercise every mechanism; YAML names those that learn."""

    width: int = 32
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    mlp: int = 48
    init_std: float = 0.12  # at std 0.02 a narrow model's logits are near uniform and comparisons see nothing


@dataclass(frozen=True, kw_only=True)
class VisionSizes(TextSizes):
    """A text backbone with a vision tower. Pictures become `(image_size / patch_size)²` patches."""

    image_size: int = 28
    patch_size: int = 14
    vision_width: int = 32
    vision_layers: int = 2
    vision_heads: int = 4
    vision_mlp: int = 48


def text_config(sizes: TextSizes, tokenizer: Any) -> dict[str, Any]:
    """The arguments that Llama-like text configurations have in common."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.width,
        "intermediate_size": sizes.mlp,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": _CONTEXT,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


@torch.no_grad()
def rescale(model: nn.Module, std: float) -> None:
    """Raise the spread of every weight matrix to `std`, so that logits of a fresh model differ from each other."""
    for weight in model.parameters():
        if weight.ndim >= 2 and weight.numel() > 8 and 0 < weight.std() < std:
            weight.mul_(std / weight.std())


def finish(model: nn.Module, tokenizer: Any, sizes: TextSizes) -> nn.Module:
    """Give a fresh model its weight scale and the generation config that ends at the end of a turn."""
    rescale(model, sizes.init_std)
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval()
