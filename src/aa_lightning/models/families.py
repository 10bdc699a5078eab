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
        writes: what its responses may hold.
        per_token: keys with one entry per token (besides input_ids and attention_mask), and what a response token gets:
            a number, or LAST for the entry of the prompt's last token. Padding gets the number, or 0.
        per_prompt: media keys with one row per prompt, zeros where a prompt has no medium. All others hold the media of
            all prompts one after another.
        required: for each medium, the keys without which the model silently reads noise.
        placeholders: the processor's attributes that name the tokens which stand for media in a prompt.
        unused: parameters that can never get a gradient, given the configuration; they are frozen, or ranks would
            wait for each other.
        rope: prompt tensors → arguments of the model's `get_rope_index`, where a prompt with media counts in time,
            height and width.
        frames: how many frames a clip gets, where clips of a batch must be equally long; None: those that it has.
        grid_seconds: the key that says how many seconds each temporal patch of a clip lasts.
        arguments: what the processor is called with besides, for each kind of medium.
        overrides_clip_size: whether the processor class has a clip size of its own, above that of tiny models.
        longest_sound: where the processor says how many seconds of a sound it reads; it cuts off the rest in silence.
        sound_step: seconds; sounds are filled with silence up to a multiple of it, since the convolutions of the tower
            would otherwise see how far a batch is padded.
        most: how many of a medium one prompt may show.
        towers: media by the tower that reads them; (): one tower reads all.
        whole: (model type, section) of larger checkpoints that hold this model, such as one that also speaks.
        part: the model type that such a checkpoint's section has.
        sees_ahead: the per-token key whose entries of 1 mark pictures that their tokens read in both directions.
        shares_prefix: whether several responses may share one prompt in a row with a block mask.
        run: (backbone, inputs) → last hidden states, where the library's own forward is wrong for some batches.
        alike: prompt tensors → (rows, their tensors) of the prompts that `generate` may take together.
    """

    name: str
    groups: dict[str, str]
    media: tuple[str, ...] = ()
    writes: tuple[str, ...] = ("text",)
    per_token: dict[str, int | str] = field(default_factory=dict)
    per_prompt: tuple[str, ...] = ()
    required: dict[str, tuple[str, ...]] = field(default_factory=dict)
    placeholders: tuple[str, ...] = ()
    unused: Callable[[Any], str | None] = lambda config: None
    rope: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    frames: int | None = None
    grid_seconds: str | None = None
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    overrides_clip_size: bool = False
    longest_sound: str | None = None
    sound_step: float | None = None
    most: dict[str, int] = field(default_factory=dict)
    towers: tuple[tuple[str, ...], ...] = ()
    whole: tuple[str, str] | None = None
    part: str | None = None
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


_HEARING = {
    "audio": r"^model\.audio_tower\.",
    "projector": r"^model\.multi_modal_projector\.",
    "language": _LANGUAGE,
}
_OMNI = {
    "vision": r"^model\.visual\.(?!merger)",
    "audio": r"^model\.audio_tower\.(?!proj)",
    "projector": r"^model\.(visual\.(merger|merger_list)|audio_tower\.proj\d?)\.",
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
    return rf"^model\.(vision|image|video)_tower\..*(layers\.({layers})\.|post_layernorm\.)"


def _those_and_the_newline(config: Any) -> str:
    """The newline stands at the ends of rows of pictures; clips have none, so most data never reach it."""
    return rf"{_layers_after_the_feature_layer(config)}|^model\.image_newline"


def _those_and_the_tower_of_pictures(config: Any) -> str:
    """Pictures have a tower of their own, which clips never reach."""
    return rf"{_layers_after_the_feature_layer(config)}|^model\.image_tower\."


# ---------------------------------------------------------------- positions

_ROPE_KEYS = ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw", "video_grid_thw")


def _qwen_rope(prompt: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Grids of the media, and how long each temporal patch lasts where the family counts in seconds."""
    return {key: prompt[key] for key in (*_ROPE_KEYS, "second_per_grid_ts") if key in prompt}


def _omni_rope(prompt: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Grids, seconds for each temporal patch, and how many frames of features each sound has."""
    keys = ("input_ids", "attention_mask", "image_grid_thw", "video_grid_thw")
    known = {key: prompt[key] for key in keys if key in prompt}
    if "video_second_per_grid" in prompt:
        known["second_per_grids"] = prompt["video_second_per_grid"]
    if "feature_attention_mask" in prompt:
        known["audio_seqlens"] = prompt["feature_attention_mask"].sum(-1)
    return known


# ---------------------------------------------------------------- the table

_QWEN_IMAGE = {
    "image": ("pixel_values", "image_grid_thw", "mm_token_type_ids"),
    "video": ("pixel_values_videos", "video_grid_thw", "mm_token_type_ids"),
}
_BOUNDED = {"videos_kwargs": {"cap_pixels_per_frame": True}}  # as the published models were run
_WINDOW = "feature_extractor.chunk_length"
_OMNI_TOKENS = ("image_token", "audio_token", "video_token")
_OMNI_KEYS = {
    "image": ("pixel_values", "image_grid_thw", "attention_mask"),
    "audio": ("input_features", "feature_attention_mask", "attention_mask"),
    "video": ("pixel_values_videos", "video_grid_thw", "video_second_per_grid", "attention_mask"),
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
            rope=_qwen_rope,
            arguments=_BOUNDED,
        ),
        Family(
            "qwen2_5_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            placeholders=("image_token", "video_token"),
            required={**_QWEN_IMAGE, "video": (*_QWEN_IMAGE["video"], "second_per_grid_ts")},
            rope=_qwen_rope,
            grid_seconds="second_per_grid_ts",
            arguments=_BOUNDED,
        ),
        Family(
            "qwen3_vl",
            _QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required=_QWEN_IMAGE,
            placeholders=("image_token", "video_token"),
            rope=_qwen_rope,
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
        Family(
            "llava_next_video",
            _JOINED,
            media=("video", "image"),
            required={"image": ("pixel_values", "image_sizes"), "video": ("pixel_values_videos",)},
            placeholders=("image_token", "video_token"),
            unused=_those_and_the_newline,
            frames=8,
        ),
        Family(
            "video_llava",
            {**_JOINED, "vision": r"^model\.(image|video)_tower\."},
            media=("video", "image"),
            required={"image": ("pixel_values",), "video": ("pixel_values_videos",)},
            arguments={"images_kwargs": {"return_legacy_image_output": False}},
            placeholders=("image_token", "video_token"),
            unused=_those_and_the_tower_of_pictures,
            frames=8,  # what it was trained with
        ),
        Family(
            "qwen2_audio",
            _HEARING,
            media=("audio",),
            required={"audio": ("input_features", "feature_attention_mask")},
            placeholders=("audio_token",),
            unused=lambda config: r"^model\.audio_tower\.embed_positions\.",  # a fixed table
            longest_sound=_WINDOW,
        ),
        Family(
            "audioflamingo3",
            _HEARING,
            media=("audio",),
            required={"audio": ("input_features", "input_features_mask")},
            placeholders=("audio_token",),
            unused=lambda config: r"^model\.audio_tower\.embed_positions\.",
            longest_sound="max_audio_len",  # it reads several windows
            most={"audio": 1},
        ),
        Family(
            "qwen2_5_omni",
            _OMNI,
            media=("image", "audio", "video"),
            required=_OMNI_KEYS,
            placeholders=_OMNI_TOKENS,
            unused=lambda config: r"^model\.audio_tower\.audio_bos_eos_token\.",  # of another model in this class
            rope=_omni_rope,
            grid_seconds="video_second_per_grid",
            overrides_clip_size=True,
            arguments=_BOUNDED,
            longest_sound=_WINDOW,
            towers=(("image", "video"), ("audio",)),
            whole=("qwen2_5_omni", "thinker_config"),
            part="qwen2_5_omni_thinker",
        ),
        Family(
            "qwen3_omni",
            _OMNI,
            media=("image", "audio", "video"),
            required=_OMNI_KEYS,
            placeholders=_OMNI_TOKENS,
            rope=_omni_rope,
            grid_seconds="video_second_per_grid",
            overrides_clip_size=True,
            arguments=_BOUNDED,
            towers=(("image", "video"), ("audio",)),
            sound_step=0.08,  # three convolutions of stride 2 over frames of 10 ms
            whole=("qwen3_omni_moe", "thinker_config"),
            part="qwen3_omni_moe_thinker",
        ),
        Family(
            "emu3",
            {"language": r"^(model\.text_model|lm_head)\."},
            media=("image",),
            writes=("text", "image"),
            required={"image": ("pixel_values", "image_sizes")},
            placeholders=("image_token",),
        ),
    )
}
_BY_TYPE = {family.part or family.name: family for family in FAMILIES.values()}

_SCALES = ("logit_scale", "logits_scaling", "logits_scale", "lm_head_multiplier")


def family_of(config: Any) -> Family:
    """The row for a model's configuration; an unlisted text model gets the generic one without prefix sharing.

    Raises:
        ValueError: a model with media, or with scaled logits, whose quirks are not in the table.
    """
    if config.model_type in _BY_TYPE:
        return _BY_TYPE[config.model_type]
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


def trained_part(config: Any) -> Any:
    """The configuration of the part that trains, where a checkpoint holds more: the thinker of one that also speaks."""
    for family in FAMILIES.values():
        if family.whole is not None and config.model_type == family.whole[0]:
            return vars(config)[family.whole[1]]
    return config


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


def logit_cap(config: Any) -> float | None:
    """What the head's logits approach and never pass (Gemma 2); None: no cap."""
    text = config.get_text_config().to_dict()
    return text["final_logit_softcapping"] if "final_logit_softcapping" in text else None
