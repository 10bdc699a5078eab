"""Model families: the one table of batch keys, quirks and parameter names.

A family is looked up by the model type of its configuration. A row says which keys have one entry per token and how they
grow when a response is appended, which keys must be there when a medium is, where the parameters of each freeze group
live, and whether several responses may share one prompt.
"""

from __future__ import annotations

import re
from typing import Any

from aa_lightning.models.families import chameleon, composed, janus, mllama, parameter_groups, towers
from aa_lightning.models.families.family import LAST, Family
from aa_lightning.models.token import rope

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


def _fixed_positions(config: Any) -> str:
    """A table of positions in the tower of sounds that is computed, not learned."""
    return r"^model\.audio_tower\.embed_positions\."


def _those_and_the_newline(config: Any) -> str:
    """The newline stands at the ends of rows of pictures; clips have none, so most data never reach it."""
    return rf"{_layers_after_the_feature_layer(config)}|^model\.image_newline"


def _those_and_the_tower_of_pictures(config: Any) -> str:
    """Pictures have a tower of their own, which clips never reach."""
    return rf"{_layers_after_the_feature_layer(config)}|^model\.image_tower\."


# ---------------------------------------------------------------- the table

_QWEN_IMAGE = {
    "image": ("pixel_values", "image_grid_thw", "mm_token_type_ids"),
    "video": ("pixel_values_videos", "video_grid_thw", "mm_token_type_ids"),
}
_BOUNDED = {"videos_kwargs": {"cap_pixels_per_frame": True}}  # as the published models were run
_WINDOW = "feature_extractor.chunk_length"
_OMNI: dict[str, Any] = {
    "media": ("image", "audio", "video"),
    "required": {
        "image": ("pixel_values", "image_grid_thw", "attention_mask"),
        "audio": ("input_features", "feature_attention_mask", "attention_mask"),
        "video": ("pixel_values_videos", "video_grid_thw", "video_second_per_grid", "attention_mask"),
    },
    "rope": rope.omni,
    "grid_seconds": "video_second_per_grid",
    "overrides_clip_size": True,
    "arguments": _BOUNDED,
    "towers": (("image", "video"), ("audio",)),
}
_FOLDED = 0.08  # seconds: three convolutions of stride 2 over frames of 10 ms
_MLLAMA_KEYS = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")

FAMILIES = {
    family.name: family
    for family in (
        *(Family(name, parameter_groups.TEXT) for name in ("llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "phi3")),
        *(Family(name, parameter_groups.TEXT) for name in ("gemma", "gemma2", "gemma3_text")),
        Family(
            "llava",
            parameter_groups.JOINED,
            media=("image",),
            unused=_layers_after_the_feature_layer,
            also=("compose",),
            kept=towers.LLAVA,
        ),
        Family(
            "llava_next",
            parameter_groups.JOINED,
            media=("image",),
            required={"image": ("pixel_values", "image_sizes")},
            unused=_layers_after_the_feature_layer,
            kept=towers.LLAVA,
        ),
        Family(
            "llava_onevision",
            parameter_groups.JOINED,
            media=("image", "video"),
            required={"image": ("pixel_values", "image_sizes")},
            unused=_layers_after_the_feature_layer,
            frames=8,
            kept=towers.LLAVA,
        ),
        Family(
            "qwen2_vl",
            parameter_groups.QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required=_QWEN_IMAGE,
            rope=rope.qwen,
            arguments=_BOUNDED,
            kept=towers.QWEN,
        ),
        Family(
            "qwen2_5_vl",
            parameter_groups.QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required={**_QWEN_IMAGE, "video": (*_QWEN_IMAGE["video"], "second_per_grid_ts")},
            rope=rope.qwen,
            grid_seconds="second_per_grid_ts",
            arguments=_BOUNDED,
            kept=towers.QWEN,
        ),
        Family(
            "qwen3_vl",
            parameter_groups.QWEN_VISION,
            media=("image", "video"),
            per_token={"mm_token_type_ids": 0},
            required=_QWEN_IMAGE,
            rope=rope.qwen,
            fewest_frames=2,  # its processor refuses a clip of one
            kept=towers.QWEN3,
        ),
        mllama.Mllama(
            "mllama",
            parameter_groups.CROSSED,
            media=("image",),
            per_token={"cross_attention_mask": LAST},
            per_prompt=_MLLAMA_KEYS,
            required={"image": (*_MLLAMA_KEYS, "cross_attention_mask")},
            packs=False,  # what a row sees is the pictures of its prompt
            kept=towers.VISION_MODEL,
        ),
        Family(
            "gemma3",
            parameter_groups.JOINED,
            media=("image",),
            per_token={"token_type_ids": 0},
            required={"image": ("pixel_values", "token_type_ids")},
            tokens=("tokenizer.image_token", "boi_token"),
            sees_ahead="token_type_ids",
            kept=towers.GEMMA,
        ),
        Family(
            "idefics3",
            parameter_groups.CONNECTED,
            media=("image",),
            required={"image": ("pixel_values", "pixel_attention_mask")},
            tokens=("image_token", "fake_image_token"),
            kept=towers.VISION_MODEL,
        ),
        Family(
            "smolvlm",
            parameter_groups.CONNECTED,
            media=("image", "video"),
            required=dict.fromkeys(("image", "video"), ("pixel_values", "pixel_attention_mask")),
            tokens=("image_token", "fake_image_token"),
            one_medium=True,
            frames=8,  # shorter clips beside longer ones would be read with black frames
            kept=towers.VISION_MODEL,
        ),
        Family(
            "internvl",
            parameter_groups.JOINED,
            media=("image", "video"),
            required={"video": ("pixel_values",)},
            frames=8,
            kept=towers.INTERNVL,
        ),
        Family(
            "mistral3",
            parameter_groups.JOINED,
            media=("image",),
            required={"image": ("pixel_values", "image_sizes")},
            tokens=("image_token", "image_break_token", "image_end_token"),
            kept=towers.PIXTRAL,
        ),
        Family(
            "llava_next_video",
            parameter_groups.JOINED,
            media=("video", "image"),
            required={"image": ("pixel_values", "image_sizes")},
            unused=_those_and_the_newline,
            frames=8,
            kept=towers.LLAVA,
        ),
        Family(
            "video_llava",
            {**parameter_groups.JOINED, "vision": r"^model\.(image|video)_tower\."},
            media=("video", "image"),
            arguments={"images_kwargs": {"return_legacy_image_output": False}},
            unused=_those_and_the_tower_of_pictures,
            frames=8,  # what it was trained with
            fewest_rows=4,
            kept=towers.VIDEO_LLAVA,
        ),
        Family(
            "qwen2_audio",
            parameter_groups.HEARING,
            media=("audio",),
            required={"audio": ("input_features", "feature_attention_mask")},
            unused=_fixed_positions,
            longest_sound=_WINDOW,
            kept=towers.HEARING,
        ),
        Family(
            "audioflamingo3",
            parameter_groups.HEARING,
            media=("audio",),
            required={"audio": ("input_features", "input_features_mask")},
            unused=_fixed_positions,
            longest_sound="max_audio_len",  # it reads several windows
            most={"audio": 1},
            kept=towers.HEARING,
        ),
        Family(
            "qwen2_5_omni",
            parameter_groups.OMNI,
            **_OMNI,
            unused=lambda config: r"^model\.audio_tower\.audio_bos_eos_token\.",  # of another model in this class
            longest_sound=_WINDOW,
            whole="qwen2_5_omni",
            part="qwen2_5_omni_thinker",
            kept=towers.OMNI,
        ),
        Family(
            "qwen2_5_omni_speech",
            parameter_groups.SPEECH,
            **_OMNI,
            writes=("text", "audio"),
            unused=lambda config: r"^thinker\.model\.audio_tower\.audio_bos_eos_token\.|^token2wav\.",  # only heard
            longest_sound=_WINDOW,
            part="qwen2_5_omni",
            kept=towers.spoken(towers.OMNI),
        ),
        Family(
            "qwen3_omni",
            parameter_groups.OMNI,
            **_OMNI,
            sound_step=_FOLDED,
            whole="qwen3_omni_moe",
            part="qwen3_omni_moe_thinker",
            kept=towers.OMNI3,
        ),
        Family(
            "qwen3_omni_speech",
            parameter_groups.SPEECH,
            **_OMNI,
            writes=("text", "audio"),
            unused=lambda config: r"^code2wav\.",
            sound_step=_FOLDED,
            part="qwen3_omni_moe",
            kept=towers.spoken(towers.OMNI3),
        ),
        Family(
            "emu3",
            {"language": r"^(model\.text_model|lm_head)\."},
            media=("image",),
            writes=("text", "image"),
            reads_codes=True,
            required={"image": ("pixel_values", "image_sizes")},
            fewest_rows=4,
        ),
        chameleon.Chameleon(
            "chameleon",
            parameter_groups.TEXT,
            media=("image",),
            writes=("text", "image"),
            reads_codes=True,
        ),
        janus.Janus(
            "janus",
            parameter_groups.SPLIT,
            media=("image",),
            writes=("text", "image"),
            kept=towers.VISION_MODEL,
        ),
        composed.Composed(
            "compose",
            parameter_groups.COMPOSED,
            media=("image", "video", "audio"),
            unused=composed.idle,
            longest_sound="window",
            towers=(("image", "video"), ("audio",)),
            part="aa_composed",
            kept=towers.COMPOSED,
        ),
    )
}
_BY_TYPE = {family.part or family.name: family for family in FAMILIES.values()}

_SCALES = re.compile(r"^(logits?_scal(e|ing)|lm_head_multiplier|logits_mup_\w+|dim_model_base)$")
_MEDIA = re.compile(r"(^|_)(vision|visual|images?|audio|video|speech)(_|$)")


def family_of(config: Any) -> Family:
    """The row for a model's configuration; an unlisted text model gets the generic one without prefix sharing.

    Raises:
        ValueError: a model with media, or with scaled logits, whose quirks are not in the table.
    """
    if config.model_type in _BY_TYPE:
        return _BY_TYPE[config.model_type].of_model(config, family_of)
    said = sorted(key for key, value in config.to_dict().items() if value is not None)
    media = [key for key in said if _MEDIA.search(key)]
    if media or config.get_text_config() is not config:
        raise ValueError(
            f"models of type {config.model_type!r} read media in a way that is not in models/families/table.py (its "
            f"configuration has {', '.join(media or config.sub_configs)}). Known: {', '.join(FAMILIES)}. Add a row there "
            "(docs/models.md) or choose another model="
        )
    scales = [key for key in said if _SCALES.search(key)]
    if scales:
        raise ValueError(
            f"models of type {config.model_type!r} scale their logits ({', '.join(scales)}), which models/token/logprobs.py "
            f"does not: their log-probabilities would be wrong. Choose another model=, one of {', '.join(FAMILIES)}"
        )
    return Family(config.model_type, parameter_groups.TEXT, shares_prefix=False)


def is_listed(config: Any) -> bool:
    """Tell whether the table knows a model, and the kind of language model in it where that is a choice."""
    if config.model_type not in _BY_TYPE:
        return False
    row, text = _BY_TYPE[config.model_type], config.get_text_config().model_type
    return text in _BY_TYPE or text.startswith((row.name, config.model_type))


def trained_part(config: Any, wanted: str) -> Any:
    """The configuration of the part that trains, where a checkpoint holds more than the family `wanted`: the thinker of
    one that also speaks."""
    if wanted in FAMILIES and config.model_type == FAMILIES[wanted].part:
        return config
    speaks = config.model_type in {family.whole for family in FAMILIES.values()}
    return config.thinker_config if speaks else config
