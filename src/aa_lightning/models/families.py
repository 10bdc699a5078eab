"""What each model family needs: the one table of batch keys, quirks and parameter names.

A family is looked up by the model type of its configuration. A row says which keys have one entry per token and how they
grow when a response is appended, which keys must be there when a medium is, where the parameters of each freeze group
live, and whether several responses may share one prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aa_lightning.models import llama_vision

if TYPE_CHECKING:
    from torch import Tensor, nn

LAST = "last"  # a per-token key that grows by repeating its last entry


@dataclass(frozen=True)
class Family:
    """The quirks of one family of token models.

    Attributes:
        groups: freeze groups, as regular expressions on in-memory parameter names.
        media: what its prompts may hold besides text.
        per_token: keys with one entry per token (besides input_ids and attention_mask), and what a response token gets:
            a number, or LAST for the entry of the prompt's last token. Padding gets the number, or 0.
        per_prompt: media keys with one row per prompt, zeros where a prompt has no medium. All others hold the media of
            all prompts one after another.
        required: for each medium, the keys without which the model silently reads noise.
        placeholders: the processor's attributes that name the tokens which stand for media in a prompt.
        unused: parameters that can never get a gradient, given the configuration; they are frozen, or ranks would
            wait for each other.
        positions: (backbone, prompt) → (3, P, L), where a prompt with media counts in time, height and width.
        sees_ahead: the per-token key whose entries of 1 mark pictures that their tokens read in both directions.
        shares_prefix: whether several responses may share one prompt in a row with a block mask.
        run: (backbone, inputs) → last hidden states, where the library's own forward is wrong for some batches.
        alike: prompt tensors → (rows, their tensors) of the prompts that `generate` may take together.
    """

    name: str
    groups: dict[str, str]
    media: tuple[str, ...] = ()
    per_token: dict[str, int | str] = field(default_factory=dict)
    per_prompt: tuple[str, ...] = ()
    required: dict[str, tuple[str, ...]] = field(default_factory=dict)
    placeholders: tuple[str, ...] = ()
    unused: Callable[[Any], str | None] = lambda config: None
    positions: Callable[[nn.Module, Mapping[str, Tensor]], Tensor] | None = None
    sees_ahead: str | None = None
    shares_prefix: bool = True
    run: Callable[[nn.Module, Mapping[str, Any]], Tensor] | None = None
    alike: Callable[[Mapping[str, Tensor]], list[tuple[Tensor, dict[str, Tensor]]]] | None = None

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

    @property
    def padding(self) -> dict[str, int]:
        """What padding gets under each per-token key."""
        return {key: 0 if value == LAST else int(value) for key, value in self.per_token.items()}


# ---------------------------------------------------------------- freeze groups

_TEXT = {"language": r"^(model|lm_head)\."}
_LANGUAGE = r"^(model\.language_model|lm_head)\."
_JOINED = {
    "vision": r"^model\.vision_tower\.",
    "projector": r"^model\.(multi_modal_projector\.|image_newline)",
    "language": _LANGUAGE,
}
_CONNECTED = {
    "vision": r"^model\.vision_model\.",
    "projector": r"^model\.connector\.",
    "language": r"^(model\.text_model|lm_head)\.",
}
_CROSSED = {
    "vision": r"^model\.vision_model\.",
    "projector": r"^model\.multi_modal_projector\.",
    "language": _LANGUAGE,
}
_QWEN_VISION = {
    "vision": r"^model\.visual\.(?!merger|deepstack_merger)",
    "projector": r"^model\.visual\.(merger|deepstack_merger_list)\.",
    "language": _LANGUAGE,
}


# ---------------------------------------------------------------- parameters without a gradient


def _layers_after_the_feature_layer(config: Any) -> str | None:
    """Layers of the tower behind the one whose features are used (LLaVA reads layer -2), and the norm after them."""
    layer = config.vision_feature_layer
    depth = config.vision_config.num_hidden_layers
    if not isinstance(layer, int):
        return None
    behind = range(depth + layer + 1, depth) if layer < 0 else range(layer, depth)
    layers = "|".join(str(number) for number in behind) or "none"
    return rf"^model\.vision_tower\..*(layers\.({layers})\.|post_layernorm\.)"


# ---------------------------------------------------------------- positions

_ROPE_KEYS = ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw", "video_grid_thw")


def _qwen_positions(backbone: nn.Module, prompt: Mapping[str, Tensor]) -> Tensor:
    """Time, height and width of every token, as the model itself counts them."""
    known = {key: prompt[key] for key in (*_ROPE_KEYS, "second_per_grid_ts") if key in prompt}
    return backbone.get_rope_index(**known)[0]


# ---------------------------------------------------------------- the table

_QWEN_IMAGE = {
    "image": ("pixel_values", "image_grid_thw", "mm_token_type_ids"),
    "video": ("pixel_values_videos", "video_grid_thw", "mm_token_type_ids"),
}
_MLLAMA_KEYS = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")

FAMILIES = {
    family.name: family
    for family in (
        *(Family(name, _TEXT) for name in ("llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "phi3")),
        *(Family(name, _TEXT) for name in ("gemma", "gemma2", "gemma3_text")),
        Family(
            "llava",
            _JOINED,
            media=("image",),
            required={"image": ("pixel_values",)},
            placeholders=("image_token",),
            unused=_layers_after_the_feature_layer,
        ),
        Family(
            "llava_next",
            _JOINED,
            media=("image",),
            required={"image": ("pixel_values", "image_sizes")},
            placeholders=("image_token",),
            unused=_layers_after_the_feature_layer,
        ),
        Family(
            "llava_onevision",
            _JOINED,
            media=("image", "video"),
            required={"image": ("pixel_values", "image_sizes"), "video": ("pixel_values_videos",)},
            placeholders=("image_token", "video_token"),
            unused=_layers_after_the_feature_layer,
        ),
        Family(
            "qwen2_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required=_QWEN_IMAGE,
            placeholders=("image_token", "video_token"),
            positions=_qwen_positions,
        ),
        Family(
            "qwen2_5_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            placeholders=("image_token", "video_token"),
            required={**_QWEN_IMAGE, "video": (*_QWEN_IMAGE["video"], "second_per_grid_ts")},
            positions=_qwen_positions,
        ),
        Family(
            "qwen3_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required=_QWEN_IMAGE,
            placeholders=("image_token", "video_token"),
            positions=_qwen_positions,
        ),
        Family(
            "mllama",
            _CROSSED,
            media=("image",),
            per_token={"cross_attention_mask": LAST},
            per_prompt=_MLLAMA_KEYS,
            required={"image": (*_MLLAMA_KEYS, "cross_attention_mask")},
            placeholders=("image_token",),
            run=llama_vision.hidden_states,
            alike=llama_vision.alike,
        ),
        Family(
            "gemma3",
            _JOINED,
            media=("image",),
            per_token={"token_type_ids": 0},
            required={"image": ("pixel_values", "token_type_ids")},
            placeholders=("image_token", "boi_token"),
            sees_ahead="token_type_ids",
        ),
        Family(
            "idefics3",
            _CONNECTED,
            media=("image",),
            required={"image": ("pixel_values", "pixel_attention_mask")},
            placeholders=("image_token", "fake_image_token"),
        ),
        Family(
            "smolvlm",
            _CONNECTED,
            media=("image", "video"),
            required={medium: ("pixel_values", "pixel_attention_mask") for medium in ("image", "video")},
            placeholders=("image_token", "fake_image_token"),
        ),
        Family(
            "internvl",
            _JOINED,
            media=("image", "video"),
            required={"image": ("pixel_values",), "video": ("pixel_values",)},
            placeholders=("image_token", "video_token"),
        ),
    )
}

_SCALES = ("logit_scale", "logits_scaling", "logits_scale", "lm_head_multiplier")


def family_of(config: Any) -> Family:
    """The row for a model's configuration; an unlisted text model gets the generic one without prefix sharing.

    Raises:
        ValueError: a model with media, or with scaled logits, whose quirks are not in the table.
    """
    if config.model_type in FAMILIES:
        return FAMILIES[config.model_type]
    if config.get_text_config() is not config:
        raise ValueError(
            f"models of type {config.model_type!r} read media in a way that is not in models/families.py. "
            f"Known: {', '.join(FAMILIES)}. Add a row there (docs/models.md) or choose another model="
        )
    scales = sorted(config.to_dict().keys() & set(_SCALES))
    if scales:
        raise ValueError(
            f"models of type {config.model_type!r} scale their logits ({', '.join(scales)}), which models/logprobs.py "
            f"does not: their log-probabilities would be wrong. Choose another model=, one of {', '.join(FAMILIES)}"
        )
    return Family(config.model_type, _TEXT, shares_prefix=False)


def windows_of(config: Any) -> dict[str, int | None] | None:
    """How far back each kind of layer of the text model looks, in tokens; None where there is no limit.

    Returns:
        by the name of the layer type where a model mixes them and takes one mask for each; under "" for one mask in all
        layers. None: some layers are not attention (they carry a state through siblings), so rows cannot be shared.
    """
    text = config.get_text_config().to_dict()
    window = text["sliding_window"] if "sliding_window" in text else None
    kinds = set(text["layer_types"] or ()) if "layer_types" in text else None
    if kinds is None:
        return {"": window}
    if not kinds <= {"full_attention", "sliding_attention"}:
        return None
    return {"full_attention": None, "sliding_attention": window} if "sliding_attention" in kinds else {"": None}
