"""Tiny Emu3: one transformer over words and picture codes, and a VQ model that has learned to see and draw Shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, TextSizes, finish, text_config
from aa_lightning.models.tiny.codebook import start_from_codes
from aa_lightning.models.tiny.emu3_vq import fitted
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_ROW_END = "<|extra_200|>"
_NAMED = {
    "image_token": "<image>",
    "boi_token": "<|image start|>",
    "eoi_token": "<|image end|>",
    "image_wrapper_token": "<|image token|>",
    "eof_token": "<|extra_201|>",
}
_FACTOR = 8  # pixels per code; the processor knows no other


@dataclass(frozen=True, kw_only=True)
class Emu3Sizes(TextSizes):
    """A text backbone and a VQ model. At 24 pixels, one code for each of the nine cells of a Shapes picture."""

    image_size: int = 24  # smallest height and width of pictures
    codes: int = 128
    code_width: int = 12
    vq_steps: int = 200  # of the decoder's fit; about 40 ms each on one core


def emu3(sizes: Emu3Sizes) -> tuple[Any, Any]:
    """`Emu3ForConditionalGeneration`, with 8 × 8 pixels to a code."""
    visual = [f"<|visual token {code:06d}|>" for code in range(sizes.codes)]
    tokenizer = plain_tokenizer([_ROW_END, *visual], named=_NAMED)
    vocabulary = tokenizer.get_vocab()
    vq = fitted(sizes.codes, sizes.code_width, sizes.image_size, sizes.vq_steps)
    config = hf.Emu3Config(
        text_config={**text_config(sizes, tokenizer), "attention_dropout": 0.0},
        vq_config=vq.config.to_dict(),
        vocabulary_map={token: vocabulary[token] for token in (*visual, _ROW_END, _NAMED["image_token"])},
    )
    images = hf.Emu3ImageProcessor(
        min_pixels=sizes.image_size**2, max_pixels=(2 * sizes.image_size) ** 2, spatial_factor=_FACTOR, **PIXELS
    )
    processor = hf.Emu3Processor(images, tokenizer, chat_template=chat_template({"image": _NAMED["image_token"]}))
    model = finish(hf.Emu3ForConditionalGeneration(config), tokenizer, sizes)
    model.model.vqmodel = vq
    start_from_codes(model, vq.quantize.embedding.weight, [vocabulary[token] for token in visual])
    return model, processor
