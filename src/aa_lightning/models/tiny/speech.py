"""Tiny Qwen2.5-Omni with its talker: a thinker that writes text, a talker that speaks it, and what makes it heard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from aa_lightning.models.tiny import codec, omni
from aa_lightning.models.tiny.backbone import finish, text_config
from aa_lightning.models.tiny.qwen_vl import multimodal_rope

_MEL = 8
_SPOKEN = ("<|speaker|>", "<|speech_end|>", "<|speech_pad|>")
_SPECIAL = ("start", "end", "pad", "mask")  # codec tokens that stand for no sound
_SPEAKERS = "spk_dict.pt"  # where the library looks for them


@dataclass(frozen=True, kw_only=True)
class SpeechSizes(omni.OmniSizes):
    """A thinker, and a talker of its width."""

    talker_layers: int = 2


@dataclass(frozen=True)
class Speakers:
    """The voices beside a checkpoint, which the library neither makes nor saves."""

    voices: dict[str, dict[str, Any]]

    def save_pretrained(self, folder: str | Path) -> None:
        torch.save(self.voices, Path(folder) / _SPEAKERS)


def qwen2_5_omni_speech(sizes: SpeechSizes) -> tuple[Any, Any, Speakers]:
    """`Qwen2_5OmniForConditionalGeneration`. Its own decoder of codec tokens has random weights and is not meant to be
    heard: `codec.py` is."""
    thinker, processor = omni.qwen2_5_omni(sizes, _SPOKEN)
    tokenizer = processor.tokenizer
    speaker, end, pad = tokenizer.convert_tokens_to_ids(list(_SPOKEN))
    special = {f"tts_codec_{name}_token_id": codec.CODES + i for i, name in enumerate(_SPECIAL)}
    named = {key: value for key, value in thinker.config.to_dict().items() if key.endswith(("token_id", "token_index"))}
    shape = {**text_config(sizes, tokenizer), "num_hidden_layers": sizes.talker_layers, "eos_token_id": None}
    talker = {
        **shape,
        **{key: value for key, value in named.items() if key not in shape},
        **special,
        "vocab_size": codec.CODES + len(_SPECIAL),
        "pad_token_id": special["tts_codec_pad_token_id"],
        "embedding_size": sizes.width,
        "head_dim": sizes.width // sizes.heads,
        "rope_parameters": multimodal_rope(sizes),
        "tts_text_start_token_id": speaker,
        "tts_text_end_token_id": end,
        "tts_text_pad_token_id": pad,
    }
    config = hf.Qwen2_5OmniConfig(
        thinker_config=thinker.config.to_dict(), talker_config=talker, token2wav_config=_vocoder(codec.CODES)
    )
    model = finish(hf.Qwen2_5OmniForConditionalGeneration(config), tokenizer, sizes)
    voice = {"bos_token": speaker, "cond": torch.randn(1, _MEL), "ref_mel": _mel(20)}
    return model, processor, Speakers({"Chelsie": voice})


def _mel(frames: int) -> Tensor:
    return torch.randn(1, frames, _MEL)


def _vocoder(codes: int) -> dict[str, Any]:
    """The smallest diffusion transformer and vocoder that the library runs."""
    diffusion = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "head_dim": 16,
        "emb_dim": 16,
        "ff_mult": 1,
        "num_embeds": codes,
        "mel_dim": _MEL,
        "repeats": 2,
        "block_size": 8,
        "look_ahead_layers": [1],
        "look_backward_layers": [0],
        "enc_emb_dim": _MEL,
        "enc_dim": 8,
        "enc_channels": [16, 16, 16, 16, 48],
        "enc_attention_channels": 8,
        "enc_res2net_scale": 2,
        "enc_se_channels": 8,
        "dropout": 0.0,
    }
    vocoder = {
        "mel_dim": _MEL,
        "upsample_initial_channel": 32,
        "upsample_rates": [4, 2],
        "upsample_kernel_sizes": [8, 4],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    }
    return {"dit_config": diffusion, "bigvgan_config": vocoder}
