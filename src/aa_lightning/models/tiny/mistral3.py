"""Tiny Mistral 3: a Pixtral tower that reads pictures of any size, four patches to a token, rows that end in a break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE, _BREAK, _END = "[IMG]", "[IMG_BREAK]", "[IMG_END]"
_MERGE = 2  # patches merged along each side


@dataclass(frozen=True, kw_only=True)
class Mistral3Sizes(VisionSizes):
    """Patches so small that a picture has several tokens: the library fails on a batch of one."""

    patch_size: int = 7


def mistral3(sizes: Mistral3Sizes) -> tuple[Any, Any]:
    """`Mistral3ForConditionalGeneration`."""
    tokenizer = plain_tokenizer([_IMAGE, _BREAK, _END])
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(
            hidden_size=sizes.vision_width,
            intermediate_size=sizes.vision_mlp,
            num_hidden_layers=sizes.vision_layers,
            num_attention_heads=sizes.vision_heads,
            head_dim=sizes.vision_width // sizes.vision_heads,
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
        ),
        text_config=hf.MistralConfig(**text_config(sizes, tokenizer), sliding_window=None),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        vision_feature_layer=-1,
        spatial_merge_size=_MERGE,
        tie_word_embeddings=False,
    )
    token = sizes.patch_size * _MERGE  # pixels
    processor = hf.PixtralProcessor(
        image_processor=hf.PixtralImageProcessor(
            size={"longest_edge": sizes.image_size}, patch_size={"height": token, "width": token}, **PIXELS
        ),
        tokenizer=tokenizer,
        patch_size=sizes.patch_size,
        spatial_merge_size=_MERGE,
        chat_template=chat_template({"image": _IMAGE}),
    )
    return finish(hf.Mistral3ForConditionalGeneration(config), tokenizer, sizes), processor
