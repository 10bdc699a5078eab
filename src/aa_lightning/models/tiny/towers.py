"""Tiny towers alone, as parts of composed models: CLIP and SigLIP for pictures, Whisper for sounds."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, rescale
from aa_lightning.models.tiny.hearing import AudioSizes, feature_extractor, whisper_tower
from aa_lightning.models.tiny.llava import clip_tower, siglip_tower, whole_picture_processor


def clip(sizes: VisionSizes) -> tuple[Any, Any]:
    """`CLIPVisionModel`. Of the sizes, those of the tower count."""
    return _spread(hf.CLIPVisionModel(clip_tower(sizes)), sizes), whole_picture_processor(sizes.image_size)


def siglip(sizes: VisionSizes) -> tuple[Any, Any]:
    """`SiglipVisionModel`, which has no class token."""
    size = {"height": sizes.image_size, "width": sizes.image_size}
    return _spread(hf.SiglipVisionModel(siglip_tower(sizes)), sizes), hf.SiglipImageProcessor(size=size, **PIXELS)


def whisper(sizes: AudioSizes) -> tuple[Any, Any]:
    """`WhisperModel`, its decoder as small as can be."""
    config = hf.WhisperConfig(
        **whisper_tower(sizes),
        vocab_size=8,
        decoder_layers=1,
        decoder_attention_heads=1,
        decoder_ffn_dim=1,
        max_target_positions=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return _spread(hf.WhisperModel(config), sizes), feature_extractor(sizes)


def _spread(model: Any, sizes: VisionSizes | AudioSizes) -> Any:
    rescale(model, sizes.init_std)
    return model.eval()
