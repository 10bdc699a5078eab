"""Tiny Llama-Vision: the text model reads pictures through cross-attention layers between its own."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE, _TOOL = "<|image|>", "<|python_tag|>"  # the processor looks for both
_TILES = 2


def mllama(sizes: VisionSizes) -> tuple[Any, Any]:
    """`MllamaForConditionalGeneration`. A picture is one token in the prompt, and up to two tiles for the tower."""
    tokenizer = plain_tokenizer([_IMAGE, _TOOL])
    config = hf.MllamaConfig(
        vision_config=_tower(sizes),
        text_config=hf.MllamaTextConfig(
            **text_config(sizes, tokenizer),
            cross_attention_layers=[1],
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
    )
    size = {"height": sizes.image_size, "width": sizes.image_size}
    processor = hf.MllamaProcessor(
        image_processor=hf.MllamaImageProcessor(size=size, max_image_tiles=_TILES, **PIXELS),
        tokenizer=tokenizer,
        chat_template=chat_template({"image": _IMAGE}, begin="{{ bos_token }}"),
    )
    model = hf.MllamaForConditionalGeneration(config)
    open_gates(model)
    return finish(model, tokenizer, sizes), processor


@torch.no_grad()
def open_gates(model: nn.Module) -> None:
    """Fresh gates are zero: they would hide the picture, its tiles and the places in it."""
    for name, parameter in model.named_parameters():
        if "gate" in name and parameter.numel() == 1:
            parameter.fill_(1.0)


def _tower(sizes: VisionSizes) -> hf.MllamaVisionConfig:
    return hf.MllamaVisionConfig(
        hidden_size=sizes.vision_width,
        num_hidden_layers=sizes.vision_layers,
        num_global_layers=1,
        attention_heads=sizes.vision_heads,
        intermediate_size=sizes.vision_mlp,
        intermediate_layers_indices=[sizes.vision_layers - 1],
        vision_output_dim=2 * sizes.vision_width,  # the last layer beside one from between
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        max_num_tiles=_TILES,
        supported_aspect_ratios=[[1, 1], [1, 2], [2, 1]],
    )
