"""Tiny models of the LLaVA line that watch clips: LLaVA-NeXT-Video and Video-LLaVA."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import PIXELS, VisionSizes, finish, text_config
from aa_lightning.models.tiny.llava import clip_tower
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer

_IMAGE, _VIDEO = "<image>", "<video>"
_TEMPLATE = chat_template({"image": _IMAGE + "\n", "video": _VIDEO + "\n"})
_FRAMES = 8  # of the published Video-LLaVA


def llava_next_video(sizes: VisionSizes) -> tuple[Any, Any]:
    """`LlavaNextVideoForConditionalGeneration`. Two by two patches of a frame are pooled to one token."""
    tokenizer = plain_tokenizer([_IMAGE, _VIDEO])
    side = sizes.image_size
    layouts = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]  # of the tiles that pictures are cut into
    config = hf.LlavaNextVideoConfig(**_joined(sizes, tokenizer), image_grid_pinpoints=layouts)
    pictures = hf.LlavaNextImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_grid_pinpoints=layouts, **PIXELS
    )
    processor = hf.LlavaNextVideoProcessor(
        image_processor=pictures,
        video_processor=hf.LlavaNextVideoVideoProcessor(**_whole_frames(sizes)),
        tokenizer=tokenizer,
        patch_size=sizes.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE,
    )
    return finish(hf.LlavaNextVideoForConditionalGeneration(config), tokenizer, sizes), processor


def video_llava(sizes: VisionSizes) -> tuple[Any, Any]:
    """`VideoLlavaForConditionalGeneration`. Each patch of a frame is a token, and one stands for the whole frame."""
    tokenizer = plain_tokenizer([_IMAGE, _VIDEO])
    patches = (sizes.image_size // sizes.patch_size) ** 2
    config = hf.VideoLlavaConfig(
        **_joined(sizes, tokenizer), image_seq_length=patches, video_seq_length=_FRAMES * (patches + 1)
    )
    processor = hf.VideoLlavaProcessor(
        image_processor=hf.VideoLlavaImageProcessor(**_whole_frames(sizes)),
        video_processor=hf.VideoLlavaVideoProcessor(**_whole_frames(sizes)),
        tokenizer=tokenizer,
        patch_size=sizes.patch_size,
        chat_template=_TEMPLATE,
    )
    return finish(hf.VideoLlavaForConditionalGeneration(config), tokenizer, sizes), processor


def _joined(sizes: VisionSizes, tokenizer: Any) -> dict[str, Any]:
    """Arguments that both configurations have in common."""
    return {
        "vision_config": clip_tower(sizes),
        "text_config": hf.LlamaConfig(**text_config(sizes, tokenizer)),
        "image_token_index": tokenizer.convert_tokens_to_ids(_IMAGE),
        "video_token_index": tokenizer.convert_tokens_to_ids(_VIDEO),
        "vision_feature_layer": -1,  # the published -2 would compute a last layer that never gets a gradient
        "vision_feature_select_strategy": "default",
    }


def _whole_frames(sizes: VisionSizes) -> dict[str, Any]:
    """Without the centre crop, which would cut away shapes at the border."""
    return {"size": {"height": sizes.image_size, "width": sizes.image_size}, "do_center_crop": False, **PIXELS}
