"""Tiny Idefics3 and SmolVLM: a picture is read whole and in tiles that are named by row and column."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE, _VIDEO = "<image>", "<video>"
_SPLITS = 2  # tiles along each side
_TILES = [f"<row_{row + 1}_col_{column + 1}>" for row in range(_SPLITS) for column in range(_SPLITS)]
_MARKERS = ["<fake_token_around_image>", _IMAGE, _VIDEO, "<end_of_utterance>", "<global-img>", *_TILES]
_MERGE = 2  # patches merged along each side
_FRAMES = 4


def idefics3(sizes: VisionSizes) -> tuple[Any, Any]:
    """`Idefics3ForConditionalGeneration`."""
    tokenizer = plain_tokenizer(_MARKERS)
    processor = hf.Idefics3Processor(
        image_processor=hf.Idefics3ImageProcessor(**_splitting(sizes)),
        tokenizer=tokenizer,
        image_seq_len=_tokens(sizes),
        chat_template=chat_template({"image": _IMAGE}),
    )
    model = hf.Idefics3ForConditionalGeneration(hf.Idefics3Config(**_config(sizes, tokenizer)))
    return finish(model, tokenizer, sizes), processor


def smolvlm(sizes: VisionSizes) -> tuple[Any, Any]:
    """`SmolVLMForConditionalGeneration`."""
    tokenizer = plain_tokenizer(_MARKERS)
    side = {"longest_edge": sizes.image_size}
    clips = hf.SmolVLMVideoProcessor(size=side, max_image_size=side, num_frames=_FRAMES, fps=1, **PIXELS)
    processor = hf.SmolVLMProcessor(
        image_processor=hf.SmolVLMImageProcessor(**_splitting(sizes)),
        tokenizer=tokenizer,
        video_processor=clips,
        image_seq_len=_tokens(sizes),
        chat_template=chat_template({"image": _IMAGE, "video": _VIDEO}),
    )
    model = hf.SmolVLMForConditionalGeneration(hf.SmolVLMConfig(**_config(sizes, tokenizer)))
    return finish(model, tokenizer, sizes), processor


def _tokens(sizes: VisionSizes) -> int:
    return (sizes.image_size // sizes.patch_size // _MERGE) ** 2


def _splitting(sizes: VisionSizes) -> dict[str, Any]:
    return {
        "size": {"longest_edge": _SPLITS * sizes.image_size},
        "max_image_size": {"longest_edge": sizes.image_size},
        "do_image_splitting": True,
        **PIXELS,
    }


def _config(sizes: VisionSizes, tokenizer: Any) -> dict[str, Any]:
    return {
        "vision_config": {
            "hidden_size": sizes.vision_width,
            "intermediate_size": sizes.vision_mlp,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": sizes.vision_heads,
            "image_size": sizes.image_size,
            "patch_size": sizes.patch_size,
        },
        "text_config": hf.LlamaConfig(**text_config(sizes, tokenizer)),
        "scale_factor": _MERGE,
        "image_token_id": tokenizer.convert_tokens_to_ids(_IMAGE),
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }
