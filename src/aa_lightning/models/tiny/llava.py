"""Tiny LLaVA and its successors: a CLIP or SigLIP tower, a two-layer projector, Llama or Qwen2."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE, _VIDEO = "<image>", "<video>"


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


def llava_next(sizes: VisionSizes) -> tuple[Any, Any]:
    """`LlavaNextForConditionalGeneration`. A picture is read whole and in tiles, each row of tokens ends in a newline."""
    tokenizer = plain_tokenizer([_IMAGE])
    tiles = _grid(sizes.image_size)[1:]
    config = hf.LlavaNextConfig(
        vision_config=clip_tower(sizes),
        text_config=hf.LlamaConfig(**text_config(sizes, tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        image_grid_pinpoints=tiles,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    size = {"height": sizes.image_size, "width": sizes.image_size}
    processor = hf.LlavaNextProcessor(
        image_processor=hf.LlavaNextImageProcessor(
            size={"shortest_edge": sizes.image_size}, crop_size=size, image_grid_pinpoints=tiles, **PIXELS
        ),
        tokenizer=tokenizer,
        patch_size=sizes.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template({"image": _IMAGE + "\n"}),
    )
    return finish(hf.LlavaNextForConditionalGeneration(config), tokenizer, sizes), processor


def llava_onevision(sizes: VisionSizes) -> tuple[Any, Any]:
    """`LlavaOnevisionForConditionalGeneration`. One picture is read in tiles; several pictures and clips are not."""
    tokenizer = plain_tokenizer([_IMAGE, _VIDEO])
    tiles = _grid(sizes.image_size)
    config = hf.LlavaOnevisionConfig(
        vision_config=siglip_tower(sizes),
        text_config=hf.Qwen2Config(**text_config(sizes, tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        video_token_index=tokenizer.convert_tokens_to_ids(_VIDEO),
        image_grid_pinpoints=tiles,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    size = {"height": sizes.image_size, "width": sizes.image_size}
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=tiles, **PIXELS),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size, **PIXELS),
        num_image_tokens=(sizes.image_size // sizes.patch_size) ** 2,
        vision_feature_select_strategy="full",
        chat_template=chat_template({"image": _IMAGE + "\n", "video": _VIDEO + "\n"}),
    )
    return finish(hf.LlavaOnevisionForConditionalGeneration(config), tokenizer, sizes), processor


def siglip_tower(sizes: VisionSizes) -> hf.SiglipVisionConfig:
    """The vision tower of LLaVA-OneVision and Gemma 3."""
    return hf.SiglipVisionConfig(
        hidden_size=sizes.vision_width,
        intermediate_size=sizes.vision_mlp,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        vision_use_head=False,
    )


def _grid(side: int) -> list[list[int]]:
    """Heights and widths in which a picture may be cut into tiles."""
    return [[side, side], [side, 2 * side], [2 * side, side], [2 * side, 2 * side]]


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
