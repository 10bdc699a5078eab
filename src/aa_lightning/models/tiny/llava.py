"""Tiny LLaVA: a CLIP tower, a two-layer projector, Llama."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE = "<image>"


def llava(sizes: VisionSizes) -> tuple[Any, Any]:
    """`LlavaForConditionalGeneration`. Each patch of a picture is one token of the text model."""
    tokenizer = plain_tokenizer([_IMAGE])
    config = hf.LlavaConfig(
        vision_config=clip_tower(sizes),
        text_config=hf.LlamaConfig(**text_config(sizes, tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        image_seq_length=(sizes.image_size // sizes.patch_size) ** 2,
        vision_feature_layer=-1,  # the published -2 would compute a last layer that never gets a gradient
        vision_feature_select_strategy="default",
    )
    processor = hf.LlavaProcessor(
        whole_picture_processor(sizes.image_size),
        tokenizer,
        patch_size=sizes.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which the strategy "default" drops again
        chat_template=chat_template({"image": _IMAGE + "\n"}),
    )
    return finish(hf.LlavaForConditionalGeneration(config), tokenizer, sizes), processor


def clip_tower(sizes: VisionSizes) -> hf.CLIPVisionConfig:
    """The vision tower of the LLaVA line."""
    return hf.CLIPVisionConfig(
        hidden_size=sizes.vision_width,
        intermediate_size=sizes.vision_mlp,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        projection_dim=sizes.vision_width,
    )


def whole_picture_processor(image_size: int) -> hf.CLIPImageProcessor:
    """CLIP's image processor without its centre crop, which would cut away shapes at the border of wide pictures."""
    return hf.CLIPImageProcessor(size={"height": image_size, "width": image_size}, do_center_crop=False, **PIXELS)
