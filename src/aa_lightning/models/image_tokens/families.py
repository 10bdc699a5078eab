"""Families that write images: their tokens, and the place of their VQ model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.chameleon.modeling_chameleon import ChameleonImageVocabularyMapping

from aa_lightning.models.image_tokens.vq import Spelling


@dataclass(frozen=True)
class PictureFamily:
    """Differences between families that write images.

    Attributes:
        spelling: of (processor, configuration).
        size: (processor, configuration) → (height, width) in codes of the pictures that the checkpoint draws by itself.
        encode: of the VQ model, pixels (1, 3, H, W) → codes (h, w).
        decode: of the VQ model, codes (1, h, w) → pixels (1, 3, H, W); None: the library has no decoder for it.
        own_head: whether codes have embeddings and a head of their own.
    """

    spelling: Callable[[Any, Any], Spelling]
    size: Callable[[Any, Any], tuple[int, int]]
    encode: Callable[[nn.Module, Tensor], Tensor]
    decode: Callable[[nn.Module, Tensor], Tensor] | None
    own_head: bool = False


def _factor(vq_config: Any) -> int:
    """Pixels per code."""
    return 2 ** (len(vq_config.channel_multiplier) - 1)


# ---------------------------------------------------------------- Emu3 (2409.18869)


def _emu3_spelling(processor: Any, config: Any) -> Spelling:
    """`<|image start|>3*3<|image token|>`, rows of codes with `<|extra_200|>` after each, `<|extra_201|><|image end|>`."""
    known = config.vocabulary_map
    visual = sorted((token for token in known if token.startswith("<|visual token")), key=lambda name: int(name[-8:-2]))
    token_id = processor.tokenizer.convert_tokens_to_ids

    def write(height: int, width: int) -> str:
        body = processor.image_token * (height * (width + 1))
        size = f"{height}*{width}{processor.fake_token_around_image}"
        return f"{processor.image_start_token}{size}{body}{processor.eof_token}{processor.image_end_token}"

    others = (processor.fake_token_around_image, processor.eof_token, processor.image_end_token, "<|extra_200|>")
    return Spelling(
        begin=token_id(processor.image_start_token),
        placeholder=processor.image_token_id,
        codes=torch.tensor([known[token] for token in visual]),
        row_end=known["<|extra_200|>"],
        others=tuple(token_id(token) for token in others),
        factor=_factor(config.vq_config),
        write=write,
    )


def _emu3_size(processor: Any, config: Any) -> tuple[int, int]:
    return processor.calculate_generate_size(processor.ratio, processor.image_area, processor.downsample_ratio)


def _emu3_encode(vq: nn.Module, pixels: Tensor) -> Tensor:
    return vq.encode(pixels, torch.tensor([pixels.shape[2:]])).image_tokens[0]


# ---------------------------------------------------------------- squares of codes


def _square_spelling(processor: Any, config: Any, codes: Tensor, reads: bool = True) -> Spelling:
    """The opening token, as many codes as fit a picture, the closing token."""
    begin, place, end = processor.image_start_token, processor.image_token, processor.image_end_token
    token_id = processor.tokenizer.convert_tokens_to_ids
    return Spelling(
        begin=token_id(begin),
        placeholder=token_id(place),
        codes=codes,
        row_end=None,
        others=(token_id(end),),
        factor=_factor(config.vq_config),
        write=lambda height, width: f"{begin}{place * (height * width)}{end}",
        reads=reads,
    )


def _square_encode(vq: nn.Module, pixels: Tensor) -> Tensor:
    return vq.encode(pixels).image_tokens.view(*(side // _factor(vq.config) for side in pixels.shape[2:]))


def _chameleon_spelling(processor: Any, config: Any) -> Spelling:
    """`<racm3:break>`, codes, `<eoss>` (2405.09818)."""
    known = ChameleonImageVocabularyMapping(config.vocabulary_map)
    return _square_spelling(processor, config, known.img2bpe_mapping_tensor.long())


def _chameleon_size(processor: Any, config: Any) -> tuple[int, int]:
    crop, factor = processor.image_processor.crop_size, _factor(config.vq_config)
    return crop["height"] // factor, crop["width"] // factor


def _janus_spelling(processor: Any, config: Any) -> Spelling:
    """`<begin_of_image>`, codes, `<end_of_image>` (2410.13848). Codes are counted from the number of words on."""
    words = config.text_config.vocab_size
    codes = torch.arange(words, words + config.vq_config.num_embeddings)
    return _square_spelling(processor, config, codes, reads=False)


PICTURE_FAMILIES = {
    "emu3": PictureFamily(_emu3_spelling, _emu3_size, _emu3_encode, decode=lambda vq, codes: vq.decode(codes)),
    "chameleon": PictureFamily(_chameleon_spelling, _chameleon_size, _square_encode, decode=None),
    "janus": PictureFamily(
        _janus_spelling,
        size=lambda processor, config: (config.vq_config.num_patches,) * 2,
        encode=_square_encode,
        decode=lambda vq, codes: vq.decode(codes.flatten(1)),
        own_head=True,
    ),
}
