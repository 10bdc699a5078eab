"""Tiny InternVL: a picture in tiles of one size, four patches to a token, Qwen2."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_MERGE = 2  # patches merged along each side
_FRAMES = 4


def internvl(sizes: VisionSizes) -> tuple[Any, Any]:
    """`InternVLForConditionalGeneration`."""
    tokenizer = plain_tokenizer(named=_NAMED)
    tokens = (sizes.image_size // sizes.patch_size // _MERGE) ** 2
    config = hf.InternVLConfig(
        vision_config={
            "hidden_size": sizes.vision_width,
            "intermediate_size": sizes.vision_mlp,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": sizes.vision_heads,
            "image_size": (sizes.image_size, sizes.image_size),
            "patch_size": (sizes.patch_size, sizes.patch_size),
        },
        text_config=hf.Qwen2Config(**text_config(sizes, tokenizer)),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=tokens,
        downsample_ratio=1 / _MERGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    size = {"height": sizes.image_size, "width": sizes.image_size}
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(
            size=size, crop_to_patches=True, min_patches=1, max_patches=2, **PIXELS
        ),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size=size, num_frames=_FRAMES, **PIXELS),
        image_seq_length=tokens,
        chat_template=chat_template({"image": _NAMED["context_image_token"] + "\n", "video": "<video>\n"}),
    )
    model = hf.InternVLForConditionalGeneration(config)
    for weight in (
        model.model.vision_tower.embeddings.position_embeddings,
        model.model.vision_tower.embeddings.cls_token,
    ):
        torch.nn.init.normal_(weight, std=sizes.init_std)  # fresh, they are zero and hide the order of patches
    return finish(model, tokenizer, sizes), processor
