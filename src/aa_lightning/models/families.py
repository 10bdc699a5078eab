"""What each model family needs: the one table of batch keys, quirks and parameter names.

A family is looked up by the model type of its configuration. A row says which keys have one entry per token and how they
grow when a response is appended, which keys must be there when a medium is, where the parameters of each freeze group
live, and whether several responses may share one prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """The quirks of one family of token models.

    Attributes:
        per_token: keys with one entry per token (besides input_ids and attention_mask) and the value that response
            tokens and padding get.
        required: for each medium, the keys without which the model silently reads noise.
        placeholders: the processor's attributes that name the tokens which stand for media in a prompt.
        groups: freeze groups, as regular expressions on parameter names.
        unused: parameters that can never get a gradient, given the configuration; they are frozen, or ranks would
            wait for each other.
        multimodal_positions: whether positions are 3-D (M-RoPE).
        shares_prefix: whether several responses may share one prompt in a row with a block mask.
    """

    name: str
    groups: dict[str, str]
    media: tuple[str, ...] = ()
    per_token: dict[str, int] = field(default_factory=dict)
    required: dict[str, tuple[str, ...]] = field(default_factory=dict)
    placeholders: tuple[str, ...] = ()
    unused: Callable[[Any], str | None] = lambda config: None
    multimodal_positions: bool = False
    shares_prefix: bool = True

    def parameters(self, group: str) -> re.Pattern[str]:
        """The pattern of a freeze group.

        Raises:
            ValueError: the family has no such group.
        """
        if group not in self.groups:
            raise ValueError(
                f"family {self.name} has no parameter group {group!r}: "
                f"use one of {', '.join(self.groups)}, e.g. model.freeze=[{next(iter(self.groups))}]"
            )
        return re.compile(self.groups[group])


_TEXT = {"language": r"^(model|lm_head)\."}
_JOINED = {
    "vision": r"^model\.vision_tower\.",
    "projector": r"^model\.(multi_modal_projector\.|image_newline)",
    "language": r"^(model\.language_model|lm_head)\.",
}
_QWEN_VISION = {
    "vision": r"^model\.visual\.(?!merger)",
    "projector": r"^model\.visual\.merger\.",
    "language": r"^(model\.language_model|lm_head)\.",
}


def _layers_after_the_feature_layer(config: Any) -> str | None:
    """CLIP layers behind the one whose features are used, and the norm after them (LLaVA reads layer -2)."""
    layer = config.vision_feature_layer
    depth = config.vision_config.num_hidden_layers
    if not isinstance(layer, int):
        return None
    behind = range(depth + layer + 1, depth) if layer < 0 else range(layer, depth)
    layers = "|".join(str(number) for number in behind) or "none"
    return rf"^model\.vision_tower\..*(layers\.({layers})\.|post_layernorm\.)"


_QWEN_IMAGE = {
    "image": ("pixel_values", "image_grid_thw", "mm_token_type_ids"),
    "video": ("pixel_values_videos", "video_grid_thw", "mm_token_type_ids"),
}

FAMILIES = {
    family.name: family
    for family in (
        Family("llama", _TEXT),
        Family("qwen2", _TEXT),
        Family("qwen3", _TEXT),
        Family(
            "llava",
            _JOINED,
            media=("image",),
            required={"image": ("pixel_values",)},
            placeholders=("image_token",),
            unused=_layers_after_the_feature_layer,
        ),
        Family(
            "qwen2_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required=_QWEN_IMAGE,
            placeholders=("image_token", "video_token"),
            multimodal_positions=True,
        ),
        Family(
            "qwen2_5_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            placeholders=("image_token", "video_token"),
            required={**_QWEN_IMAGE, "video": (*_QWEN_IMAGE["video"], "second_per_grid_ts")},
            multimodal_positions=True,
        ),
    )
}


def family_of(config: Any) -> Family:
    """The row for a model's configuration; an unlisted text model gets the generic one without prefix sharing.

    Raises:
        ValueError: a model with media whose quirks are not in the table.
    """
    if config.model_type in FAMILIES:
        return FAMILIES[config.model_type]
    if config.get_text_config() is not config:
        raise ValueError(
            f"models of type {config.model_type!r} read media in a way that is not in models/families.py. "
            f"Known: {', '.join(FAMILIES)}. Add a row there (docs/models.md) or choose another model="
        )
    return Family(config.model_type, _TEXT, shares_prefix=False)
