"""Tiny Chameleon: one transformer over words and picture codes, every picture of the same size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from aa_lightning.models.tiny.backbone import TextSizes, finish, text_config
from aa_lightning.models.tiny.chameleon_vq import FACTOR, fitted
from aa_lightning.models.tiny.codebook import start_from_codes
from aa_lightning.models.tiny.stable_diffusion import pictures
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE, _BEGIN, _END, _SEPARATOR = "<image>", "<racm3:break>", "<eoss>", "<reserved08706>"


@dataclass(frozen=True, kw_only=True)
class ChameleonSizes(TextSizes):
    """A text backbone and a VQ model. At 24 pixels, one code for each of the nine cells of a Shapes picture."""

    image_size: int = 24  # height and width of pictures
    codes: int = 128
    code_width: int = 12


def chameleon(sizes: ChameleonSizes) -> tuple[Any, Any]:
    """`ChameleonForConditionalGeneration`, with 8 × 8 pixels to a code."""
    named = [_code_name(code) for code in range(sizes.codes)]
    tokenizer = plain_tokenizer([_BEGIN, _END, _IMAGE, _SEPARATOR, *named])
    tokenizer.sep_token = _SEPARATOR
    vocabulary = tokenizer.get_vocab()
    side = sizes.image_size
    images = hf.ChameleonImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor = hf.ChameleonProcessor(images, tokenizer, image_seq_length=(side // FACTOR) ** 2)
    processor.chat_template = chat_template({"image": _IMAGE})
    crowded, sparse = (pictures("train", n, side, max_shapes=m) for n, m in ((192, 9), (320, 2)))
    vq = fitted(sizes.codes, sizes.code_width, side, _scaled(torch.cat([crowded, sparse]), images))
    config = hf.ChameleonConfig(
        **text_config(sizes, tokenizer),
        vq_config=vq.config.to_dict(),
        vocabulary_map={token: vocabulary[token] for token in (*named, _IMAGE, _BEGIN, _END)},
    )
    model = finish(hf.ChameleonForConditionalGeneration(config), tokenizer, sizes)
    model.model.vqmodel = vq
    start_from_codes(model, vq.quantize.embedding.weight, [vocabulary[token] for token in named])
    return model, processor


def _code_name(code: int) -> str:
    """As the library reads it: digits as letters from A to J, and Z at the end."""
    return "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z"


def _scaled(pixels: Tensor, images: Any) -> Tensor:
    """Pixels in [−1, 1] as the image processor gives them."""
    mean, std = (torch.tensor(given).view(3, 1, 1) for given in (images.image_mean, images.image_std))
    return ((pixels + 1) * 127.5 * images.rescale_factor - mean) / std
