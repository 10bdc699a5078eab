"""Tiny Janus: it reads pictures through a tower, and writes them as codes with embeddings and a head of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.janus_vq import fitted
from aa_lightning.models.tiny.stable_diffusion import pictures
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_NAMED = {
    "image_token": "<image_placeholder>",
    "boi_token": "<begin_of_image>",
    "eoi_token": "<end_of_image>",
}


@dataclass(frozen=True, kw_only=True)
class JanusSizes(VisionSizes):
    """A text backbone, a vision tower and a VQ model. At 24 pixels, one code for each of the nine cells of a picture."""

    image_size: int = 24
    patch_size: int = 8
    codes: int = 64
    code_width: int = 12


def janus(sizes: JanusSizes) -> tuple[Any, Any]:
    """`JanusForConditionalGeneration`, with 8 × 8 pixels to a code."""
    tokenizer = plain_tokenizer(named=_NAMED)
    side, patches = sizes.image_size, (sizes.image_size // sizes.patch_size) ** 2
    images = hf.JanusImageProcessor(size={"height": side, "width": side}, **PIXELS)
    processor = hf.JanusProcessor(
        images, tokenizer, num_image_tokens=patches, chat_template=chat_template({"image": _NAMED["image_token"]})
    )
    crowded, sparse = (pictures("train", n, side, max_shapes=m) for n, m in ((96, 9), (160, 2)))
    vq = fitted(sizes.codes, sizes.code_width, side, _normalised(torch.cat([crowded, sparse])), sizes.width)
    config = hf.JanusConfig(
        text_config=hf.LlamaConfig(**text_config(sizes, tokenizer)),
        vision_config=_tower(sizes, patches),
        vq_config=vq.config.to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids(_NAMED["image_token"]),
    )
    model = finish(hf.JanusForConditionalGeneration(config), tokenizer, sizes)
    model.model.vqmodel = vq
    _start_from_codes(model.model, vq.quantize.embedding.weight[:, : sizes.code_width])
    return model, processor


def _tower(sizes: JanusSizes, patches: int) -> hf.JanusVisionConfig:
    return hf.JanusVisionConfig(
        hidden_size=sizes.vision_width,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        mlp_ratio=sizes.vision_mlp / sizes.vision_width,
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        projection_dim=sizes.width,
        num_image_tokens=patches,
    )


@torch.no_grad()
def _start_from_codes(model: nn.Module, codes: Tensor, spread: float = 0.4) -> None:
    """Let codes that look alike be alike in their embeddings and in the head that chooses them.

    Args:
        codes: (C, D) what each code knows of its patch.
        spread: standard deviation of what is added to the head.
    """
    alike = (codes - codes.mean(0)) / codes.std()
    model.generation_embeddings.weight[:, : codes.shape[1]].add_(alike)
    head = model.generation_head.vision_head.weight
    projected = alike @ torch.randn(codes.shape[1], head.shape[1])
    head.add_(spread * projected / projected.std())


def _normalised(pixels: Tensor) -> Tensor:
    """Pixels in [−1, 1] as the image processor gives them."""
    return ((pixels + 1) / 2 - PIXELS["image_mean"][0]) / PIXELS["image_std"][0]
