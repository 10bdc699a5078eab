"""Tiny Qwen-Omni with their talkers: a thinker that writes text, a talker that speaks it, and what makes it heard.

Their own decoders of codec tokens have random weights and are not meant to be heard: `codec.py` is.
"""

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
_SPECIAL_3 = ("eos", "bos", "pad", "nothink", "think_bos", "think_eos")  # of the talker of Qwen3
_SPEAKERS = "spk_dict.pt"  # where the library looks for them


@dataclass(frozen=True, kw_only=True)
class SpeechSizes(omni.OmniSizes):
    """A thinker, and a talker of its width."""

    talker_layers: int = 2


@dataclass(frozen=True, kw_only=True)
class ExpertSpeechSizes(omni.ExpertSizes):
    """The same over mixtures of experts."""

    talker_layers: int = 2


@dataclass(frozen=True)
class Speakers:
    """The voices beside a checkpoint, which the library neither makes nor saves."""

    voices: dict[str, dict[str, Any]]

    def save_pretrained(self, folder: str | Path) -> None:
        torch.save(self.voices, Path(folder) / _SPEAKERS)


def qwen2_5_omni_speech(sizes: SpeechSizes) -> tuple[Any, Any, Speakers]:
    """`Qwen2_5OmniForConditionalGeneration`."""
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


def qwen3_omni_speech(sizes: ExpertSpeechSizes) -> tuple[Any, Any]:
    """`Qwen3OmniMoeForConditionalGeneration`; a step of speech is three codec tokens."""
    thinker, processor = omni.qwen3_omni(sizes, _SPOKEN)
    tokenizer = processor.tokenizer
    start, end, pad = tokenizer.convert_tokens_to_ids(list(_SPOKEN))
    im_start, im_end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    groups, size = len(codec.STEPS), max(codec.STEPS)
    special = {f"codec_{name}_id": size + i for i, name in enumerate(_SPECIAL_3)}
    special["codec_eos_token_id"] = special.pop("codec_eos_id")
    shape = {**text_config(sizes, tokenizer), **dict.fromkeys(("eos_token_id", "bos_token_id", "pad_token_id"))}
    shape = {**shape, "num_hidden_layers": sizes.talker_layers, "head_dim": sizes.width // sizes.heads}
    backbone = {
        **shape,
        **omni.experts(sizes),
        "vocab_size": size + 1024,  # the library never draws the last 1024, except the end
        "shared_expert_intermediate_size": sizes.expert_mlp,
        "rope_parameters": multimodal_rope(sizes),
    }
    talker = {
        **{key: value for key, value in thinker.config.to_dict().items() if key.endswith(("token_id", "per_seconds"))},
        **special,
        "text_config": backbone,
        "code_predictor_config": {**shape, "vocab_size": size, "num_hidden_layers": 1, "num_code_groups": groups},
        "num_code_groups": groups,
        "thinker_hidden_size": sizes.width,
        "accept_hidden_layer": 1,
        "spatial_merge_size": 2,
        "speaker_id": {"ethan": size + len(_SPECIAL_3)},
    }
    config = hf.Qwen3OmniMoeConfig(
        thinker_config=thinker.config.to_dict(),
        talker_config=talker,
        code2wav_config=_wave_decoder(size, groups),
        im_start_token_id=im_start,
        im_end_token_id=im_end,
        tts_bos_token_id=start,
        tts_eos_token_id=end,
        tts_pad_token_id=pad,
        **{f"{role}_token_id": tokenizer.encode(role)[0] for role in ("system", "user", "assistant")},
    )
    model = hf.Qwen3OmniMoeForConditionalGeneration(config)
    for layer in model.talker.model.layers:  # the library leaves what the memory held in them
        for weight in (*layer.mlp.experts.parameters(), *layer.mlp.gate.parameters()):
            torch.nn.init.normal_(weight, std=sizes.init_std)
    return finish(model, tokenizer, sizes), processor


def _mel(frames: int) -> Tensor:
    return torch.randn(1, frames, _MEL)


def _wave_decoder(size: int, groups: int) -> dict[str, Any]:
    """The smallest decoder of several codebooks that the library runs."""
    return {
        "codebook_size": size,
        "num_quantizers": groups,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "decoder_dim": 32,
        "upsample_rates": [2, 2],
        "upsampling_ratios": [2, 2],
    }


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
