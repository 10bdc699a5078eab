"""Tiny Qwen-Omni thinkers: the part that reads pictures, sounds and clips, and writes text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import VisionSizes, finish, text_config
from aa_lightning.models.tiny.hearing import AudioSizes, feature_extractor, whisper_tower
from aa_lightning.models.tiny.qwen_vl import image_processor, multimodal_rope, video_processor, windowed_tower
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import qwen_tokenizer

_MARKERS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
_TEMPLATE = chat_template(
    {
        "image": "<|vision_bos|><|IMAGE|><|vision_eos|>",
        "video": "<|vision_bos|><|VIDEO|><|vision_eos|>",
        "audio": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    }
)
_CHUNK = 100  # frames of features that the tower of Qwen3 folds together; the processor counts with this number


@dataclass(frozen=True, kw_only=True)
class OmniSizes(VisionSizes, AudioSizes):
    """A text backbone with a tower for pictures and clips and one for sounds."""


@dataclass(frozen=True, kw_only=True)
class ExpertSizes(OmniSizes):
    """The same over a mixture of experts. Features of the tower are added after the first text layers: three at least."""

    layers: int = 3
    experts: int = 4
    experts_per_token: int = 2
    expert_mlp: int = 16


def qwen2_5_omni(sizes: OmniSizes, markers: Sequence[str] = ()) -> tuple[Any, Any]:
    """`Qwen2_5OmniThinkerForConditionalGeneration`, with further control tokens."""
    tokenizer = qwen_tokenizer(markers, named=_MARKERS)
    config = hf.Qwen2_5OmniThinkerConfig(
        text_config=_text(sizes, tokenizer),
        vision_config=windowed_tower(sizes),
        audio_config={**whisper_tower(sizes), "n_window": _CHUNK // 10, "output_dim": sizes.width},
        audio_token_index=tokenizer.audio_token_id,
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        audio_end_token_id=tokenizer.audio_eos_token_id,
        **_starts(tokenizer),
    )
    processor = hf.Qwen2_5OmniProcessor(**_processors(sizes), tokenizer=tokenizer, chat_template=_TEMPLATE)
    return finish(hf.Qwen2_5OmniThinkerForConditionalGeneration(config), tokenizer, sizes), processor


def qwen3_omni(sizes: ExpertSizes, markers: Sequence[str] = ()) -> tuple[Any, Any]:
    """`Qwen3OmniMoeThinkerForConditionalGeneration`, with further control tokens."""
    tokenizer = qwen_tokenizer(markers, named=_MARKERS)
    config = hf.Qwen3OmniMoeThinkerConfig(
        text_config={**_text(sizes, tokenizer), **experts(sizes), "head_dim": sizes.width // sizes.heads},
        vision_config=_deep_tower(sizes),
        audio_config=_chunked_tower(sizes),
        audio_token_id=tokenizer.audio_token_id,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        **_starts(tokenizer),
    )
    processor = hf.Qwen3OmniMoeProcessor(**_processors(sizes), tokenizer=tokenizer, chat_template=_TEMPLATE)
    return finish(hf.Qwen3OmniMoeThinkerForConditionalGeneration(config), tokenizer, sizes), processor


def experts(sizes: ExpertSizes) -> dict[str, Any]:
    """The arguments of configurations whose every layer is a mixture."""
    return {
        "num_experts": sizes.experts,
        "num_experts_per_tok": sizes.experts_per_token,
        "moe_intermediate_size": sizes.expert_mlp,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _text(sizes: OmniSizes, tokenizer: Any) -> dict[str, Any]:
    return {**text_config(sizes, tokenizer), "rope_parameters": multimodal_rope(sizes)}


def _starts(tokenizer: Any) -> dict[str, int]:
    return {
        "audio_start_token_id": tokenizer.audio_bos_token_id,
        "vision_start_token_id": tokenizer.vision_bos_token_id,
        "vision_end_token_id": tokenizer.vision_eos_token_id,
    }


def _processors(sizes: OmniSizes) -> dict[str, Any]:
    return {
        "image_processor": image_processor(sizes),
        "video_processor": video_processor(sizes),
        "feature_extractor": feature_extractor(sizes),
    }


def _deep_tower(sizes: OmniSizes) -> dict[str, Any]:
    """The vision tower of Qwen3, whose inner layers feed the first layers of the text model."""
    tower = {key: value for key, value in windowed_tower(sizes).items() if "att" not in key and "window" not in key}
    inner = list(range(sizes.vision_layers - 1))
    return {**tower, "num_position_embeddings": 64, "deepstack_visual_indexes": inner}


def _chunked_tower(sizes: OmniSizes) -> dict[str, Any]:
    return {
        **whisper_tower(sizes),
        "n_window": _CHUNK // 2,
        "n_window_infer": _CHUNK,
        "conv_chunksize": _CHUNK,
        "output_dim": sizes.width,
        "downsample_hidden_size": 16,
    }
