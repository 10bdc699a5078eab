"""Arguments for the classes that count prompts in time, height and width: arguments of their `get_rope_index`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_KEYS = ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw", "video_grid_thw")


def qwen(prompt: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Grids of the media, and how long each temporal patch lasts where the family counts in seconds."""
    return {key: prompt[key] for key in (*_KEYS, "second_per_grid_ts") if key in prompt}


def omni(prompt: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Grids, seconds for each temporal patch, and how many frames of features each sound has."""
    keys = ("input_ids", "attention_mask", "image_grid_thw", "video_grid_thw")
    known = {key: prompt[key] for key in keys if key in prompt}
    if "video_second_per_grid" in prompt:
        known["second_per_grids"] = prompt["video_second_per_grid"]
    if "feature_attention_mask" in prompt:
        known["audio_seqlens"] = prompt["feature_attention_mask"].sum(-1)
    return known
