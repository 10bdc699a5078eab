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
        vq: the VQ model inside a model.
        attach: puts a VQ model, or None, into its place in a model.
        encode: of the VQ model, pixels (1, 3, H, W) → codes (h, w).
        decode: of the VQ model, codes (1, h, w) → pixels (1, 3, H, W); None: the library has no decoder for it.
        split: how many codes there are, given the configuration, where they have embeddings and a head of their own.
    """

    spelling: Callable[[Any, Any], Spelling]
    size: Callable[[Any, Any], tuple[int, int]]
    vq: Callable[[nn.Module], nn.Module]
    attach: Callable[[nn.Module, nn.Module | None], None]
    encode: Callable[[nn.Module, Tensor], Tensor]
    decode: Callable[[nn.Module, Tensor], Tensor] | None
    split: Callable[[Any], int] | None = None


def _attach(model: nn.Module, vq: nn.Module | None) -> None:
    model.model.vqmodel = vq


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
        factor=2 ** (len(config.vq_config.channel_multiplier) - 1),
        write=write,
    )


def _emu3_size(processor: Any, config: Any) -> tuple[int, int]:
    return processor.calculate_generate_size(processor.ratio, processor.image_area, processor.downsample_ratio)


def _emu3_encode(vq: nn.Module, pixels: Tensor) -> Tensor:
    return vq.encode(pixels, torch.tensor([pixels.shape[2:]])).image_tokens[0]


# ---------------------------------------------------------------- Chameleon (2405.09818)


def _chameleon_spelling(processor: Any, config: Any) -> Spelling:
    """`<racm3:break>`, as many codes as fit a picture, `<eoss>`."""
    begin, end = processor.image_start_token, processor.image_end_token

    def write(height: int, width: int) -> str:
        return f"{begin}{processor.image_token * (height * width)}{end}"

    return Spelling(
        begin=processor.image_start_token_id,
        placeholder=processor.image_token_id,
        codes=ChameleonImageVocabularyMapping(config.vocabulary_map).img2bpe_mapping_tensor.long(),
        row_end=None,
        others=(processor.image_end_token_id,),
        factor=2 ** (len(config.vq_config.channel_multiplier) - 1),
        write=write,
    )


def _chameleon_size(processor: Any, config: Any) -> tuple[int, int]:
    crop, factor = processor.image_processor.crop_size, 2 ** (len(config.vq_config.channel_multiplier) - 1)
    return crop["height"] // factor, crop["width"] // factor


def _square_encode(vq: nn.Module, pixels: Tensor) -> Tensor:
    factor = 2 ** (len(vq.config.channel_multiplier) - 1)
    return vq.encode(pixels).image_tokens.view(*(side // factor for side in pixels.shape[2:]))


# ---------------------------------------------------------------- Janus (2410.13848)


def _janus_spelling(processor: Any, config: Any) -> Spelling:
    """`<begin_of_image>`, a square of codes, `<end_of_image>`. Codes are counted from the number of words on."""
    begin, place, end = processor.image_start_token, processor.image_token, processor.image_end_token
    token_id = processor.tokenizer.convert_tokens_to_ids
    words = config.text_config.vocab_size

    def write(height: int, width: int) -> str:
        return f"{begin}{place * (height * width)}{end}"

    return Spelling(
        begin=token_id(begin),
        placeholder=token_id(place),
        codes=torch.arange(words, words + config.vq_config.num_embeddings),
        row_end=None,
        others=(token_id(end),),
        factor=2 ** (len(config.vq_config.channel_multiplier) - 1),
        write=write,
        reads=False,
    )


PICTURE_FAMILIES: dict[str, PictureFamily] = {
    "emu3": PictureFamily(
        spelling=_emu3_spelling,
        size=_emu3_size,
        vq=lambda model: model.model.vqmodel,
        attach=_attach,
        encode=_emu3_encode,
        decode=lambda vq, codes: vq.decode(codes),
    ),
    "chameleon": PictureFamily(
        spelling=_chameleon_spelling,
        size=_chameleon_size,
        vq=lambda model: model.model.vqmodel,
        attach=_attach,
        encode=_square_encode,
        decode=None,
    ),
    "janus": PictureFamily(
        spelling=_janus_spelling,
        size=lambda processor, config: (config.vq_config.num_patches,) * 2,
        vq=lambda model: model.model.vqmodel,
        attach=_attach,
        encode=_square_encode,
        decode=lambda vq, codes: vq.decode(codes.flatten(1)),
        split=lambda config: config.vq_config.num_embeddings,
    ),
}
