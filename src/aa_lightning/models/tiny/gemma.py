"""Tiny Gemma models: scaled embeddings, norms around every block, and from the second on layers that look back a little."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, TextSizes, VisionSizes, finish, text_config
from aa_lightning.models.tiny.llava import siglip_tower
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_WINDOW = 16  # tokens; shorter than the prompts of Shapes, so that it matters
_POOL = 2  # patches merged along each side
_BEGIN = "{{ bos_token }}"
_NAMED = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}


def gemma(sizes: TextSizes) -> tuple[Any, Any]:
    """`GemmaForCausalLM`."""
    tokenizer = _text_tokenizer()
    config = hf.GemmaConfig(**_tied(sizes, tokenizer))
    return finish(hf.GemmaForCausalLM(config), tokenizer, sizes), tokenizer


def gemma2(sizes: TextSizes) -> tuple[Any, Any]:
    """`Gemma2ForCausalLM`. Attention scores and logits are capped, which only eager attention can do."""
    tokenizer = _text_tokenizer()
    config = hf.Gemma2Config(**_tied(sizes, tokenizer), **_windows(sizes))
    return finish(hf.Gemma2ForCausalLM(config), tokenizer, sizes), tokenizer


def gemma3_text(sizes: TextSizes) -> tuple[Any, Any]:
    """`Gemma3ForCausalLM`."""
    tokenizer = _text_tokenizer()
    config = hf.Gemma3TextConfig(**_tied(sizes, tokenizer), **_windows(sizes))
    return finish(hf.Gemma3ForCausalLM(config), tokenizer, sizes), tokenizer


def gemma3(sizes: VisionSizes) -> tuple[Any, Any]:
    """`Gemma3ForConditionalGeneration`. The tokens of a picture see each other in both directions."""
    tokenizer = plain_tokenizer(named=_NAMED)
    tokens = (sizes.image_size // sizes.patch_size // _POOL) ** 2
    config = hf.Gemma3Config(
        text_config=hf.Gemma3TextConfig(**_tied(sizes, tokenizer), **_windows(sizes)),
        vision_config=siglip_tower(sizes),
        mm_tokens_per_image=tokens,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    size = {"height": sizes.image_size, "width": sizes.image_size}
    processor = hf.Gemma3Processor(
        image_processor=hf.Gemma3ImageProcessor(size=size, **PIXELS),
        tokenizer=tokenizer,
        image_seq_length=tokens,
        chat_template=chat_template({"image": _NAMED["boi_token"]}, begin=_BEGIN),
    )
    model = hf.Gemma3ForConditionalGeneration(config)
    # fresh, it is zero and hides the picture
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=sizes.init_std)
    return finish(model, tokenizer, sizes), processor


def _text_tokenizer() -> Any:
    tokenizer = plain_tokenizer()
    tokenizer.chat_template = chat_template(begin=_BEGIN)
    return tokenizer


def _tied(sizes: TextSizes, tokenizer: Any) -> dict[str, Any]:
    """Gemma's head is its embedding."""
    return {**text_config(sizes, tokenizer), "tie_word_embeddings": True, "head_dim": sizes.width // sizes.heads}


def _windows(sizes: TextSizes) -> dict[str, Any]:
    kinds = ("sliding_attention", "full_attention")
    return {
        "sliding_window": _WINDOW,
        "layer_types": [kinds[layer % 2] for layer in range(sizes.layers)],
        "query_pre_attn_scalar": sizes.width // sizes.heads,
    }
