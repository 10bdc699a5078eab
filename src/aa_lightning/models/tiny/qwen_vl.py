"""Tiny Qwen vision-language models."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import qwen_tokenizer

_MARKERS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_MARKED = {kind: f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")}
_MERGE, _FRAMES = 2, 2  # patches merged along each side, frames merged into one patch
_MAX_FRAMES = 8


def qwen2_vl(sizes: VisionSizes) -> tuple[Any, Any]:
    """`Qwen2VLForConditionalGeneration`."""
    tokenizer = qwen_tokenizer(_MARKERS)
    config = hf.Qwen2VLConfig(
        text_config={**text_config(sizes, tokenizer), "rope_parameters": multimodal_rope(sizes)},
        vision_config={
            "depth": sizes.vision_layers,
            "embed_dim": sizes.vision_width,
            "hidden_size": sizes.width,
            "num_heads": sizes.vision_heads,
            "mlp_ratio": max(sizes.vision_mlp // sizes.vision_width, 1),
            "patch_size": sizes.patch_size,
            "spatial_merge_size": _MERGE,
            "temporal_patch_size": _FRAMES,
        },
        **marker_ids(tokenizer),
    )
    processor = hf.Qwen2VLProcessor(
        image_processor=image_processor(sizes),
        tokenizer=tokenizer,
        video_processor=video_processor(sizes),
        chat_template=_template(),
    )
    return finish(hf.Qwen2VLForConditionalGeneration(config), tokenizer, sizes), processor


def qwen3_vl(sizes: VisionSizes) -> tuple[Any, Any]:
    """`Qwen3VLForConditionalGeneration`. What the tower's first layer sees is added behind the first text layer too; a
    clip's frames stand in the prompt with the seconds at which they were taken."""
    tokenizer = qwen_tokenizer(_MARKERS)
    config = hf.Qwen3VLConfig(
        text_config={
            **text_config(sizes, tokenizer),
            "head_dim": sizes.width // sizes.heads,
            "rope_parameters": multimodal_rope(sizes),
        },
        vision_config={
            "depth": sizes.vision_layers,
            "hidden_size": sizes.vision_width,
            "num_heads": sizes.vision_heads,
            "intermediate_size": sizes.vision_mlp,
            "out_hidden_size": sizes.width,
            "patch_size": sizes.patch_size,
            "spatial_merge_size": _MERGE,
            "temporal_patch_size": _FRAMES,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **marker_ids(tokenizer),
    )
    processor = hf.Qwen3VLProcessor(
        image_processor=image_processor(sizes),
        tokenizer=tokenizer,
        video_processor=video_processor(sizes, hf.Qwen3VLVideoProcessor, counted=_MAX_FRAMES),
        chat_template=chat_template({"image": _MARKED["image"], "video": "<|video_pad|>"}),  # it marks frames itself
    )
    return finish(hf.Qwen3VLForConditionalGeneration(config), tokenizer, sizes), processor


def qwen2_5_vl(sizes: VisionSizes) -> tuple[Any, Any]:
    """`Qwen2_5_VLForConditionalGeneration`. Four patches become one token; positions have three axes."""
    tokenizer = qwen_tokenizer(_MARKERS)
    config = hf.Qwen2_5_VLConfig(
        text_config={**text_config(sizes, tokenizer), "rope_parameters": multimodal_rope(sizes)},
        vision_config=windowed_tower(sizes),
        **marker_ids(tokenizer),
    )
    processor = hf.Qwen2_5_VLProcessor(
        image_processor=image_processor(sizes),
        tokenizer=tokenizer,
        video_processor=video_processor(sizes),
        chat_template=_template(),
    )
    return finish(hf.Qwen2_5_VLForConditionalGeneration(config), tokenizer, sizes), processor


def windowed_tower(sizes: VisionSizes) -> dict[str, Any]:
    """The vision tower of Qwen2.5: attention within windows, and over the whole picture in the last layer."""
    return {
        "depth": sizes.vision_layers,
        "hidden_size": sizes.vision_width,
        "num_heads": sizes.vision_heads,
        "intermediate_size": sizes.vision_mlp,
        "out_hidden_size": sizes.width,
        "patch_size": sizes.patch_size,
        "spatial_merge_size": _MERGE,
        "temporal_patch_size": _FRAMES,
        "window_size": sizes.patch_size * _MERGE * 2,
        "fullatt_block_indexes": [sizes.vision_layers - 1],
    }


def _template() -> str:
    return chat_template(_MARKED)


def multimodal_rope(sizes: VisionSizes) -> dict[str, Any]:
    """Rotary positions split over time, height and width, as 1 : 1 : 2 of half a head."""
    half = sizes.width // sizes.heads // 2
    quarter = half // 4
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [quarter, quarter, half - 2 * quarter]}


def marker_ids(tokenizer: Any) -> dict[str, int]:
    """The ids under which a Qwen vision-language configuration knows its markers."""
    keys = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(keys, tokenizer.convert_tokens_to_ids(list(_MARKERS)), strict=True))


def _pixels(sizes: VisionSizes, frames: int) -> dict[str, int]:
    """Bounds on the pixels of a picture or clip (the keys are the library's; the values are areas)."""
    smallest = (sizes.patch_size * _MERGE) ** 2
    return {"shortest_edge": smallest * min(frames, _FRAMES), "longest_edge": sizes.image_size**2 * frames}


def _patching(sizes: VisionSizes) -> dict[str, Any]:
    return {"patch_size": sizes.patch_size, "merge_size": _MERGE, "temporal_patch_size": _FRAMES, **PIXELS}


def image_processor(sizes: VisionSizes) -> hf.Qwen2VLImageProcessor:
    """Pictures keep their shape; their area is bounded."""
    return hf.Qwen2VLImageProcessor(size=_pixels(sizes, 1), **_patching(sizes))


def video_processor(sizes: VisionSizes, kind: Any = hf.Qwen2VLVideoProcessor, counted: int = 1) -> Any:
    """The same for every frame of a clip.

    Args:
        kind: the class.
        counted: frames whose area its bounds are of.
    """
    bounds = _pixels(sizes, counted)
    return kind(size=bounds, **_patching(sizes), min_frames=_FRAMES, max_frames=_MAX_FRAMES)
