"""Tiny models that hear: Qwen2-Audio and Audio Flamingo 3, both with a Whisper-like tower and Qwen2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import TextSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer, qwen_tokenizer

RATE = 16_000
_FRAMES = 100  # of features in a second


@dataclass(frozen=True, kw_only=True)
class AudioSizes(TextSizes):
    """A text backbone with a tower for sounds. A second of sound becomes 25 tokens."""

    seconds: int = 1  # the window, which every sound is padded to
    mel_bins: int = 16
    audio_width: int = 32
    audio_layers: int = 2
    audio_heads: int = 4
    audio_mlp: int = 48


def qwen2_audio(sizes: AudioSizes) -> tuple[Any, Any]:
    """`Qwen2AudioForConditionalGeneration`."""
    markers = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
    tokenizer = qwen_tokenizer(named=markers)
    config = hf.Qwen2AudioConfig(
        text_config=hf.Qwen2Config(**text_config(sizes, tokenizer)),
        audio_config={"model_type": "qwen2_audio_encoder", **whisper_tower(sizes)},
        audio_token_index=tokenizer.audio_token_id,
    )
    processor = hf.Qwen2AudioProcessor(
        feature_extractor=feature_extractor(sizes),
        tokenizer=tokenizer,
        chat_template=chat_template({"audio": "".join(markers[f"audio{part}_token"] for part in ("_bos", "", "_eos"))}),
    )
    return finish(hf.Qwen2AudioForConditionalGeneration(config), tokenizer, sizes), processor


def audioflamingo3(sizes: AudioSizes) -> tuple[Any, Any]:
    """`AudioFlamingo3ForConditionalGeneration`. One sound in a prompt; a long one is read in several windows."""
    sound = "<sound>"
    tokenizer = plain_tokenizer([sound])
    config = hf.AudioFlamingo3Config(
        text_config=hf.Qwen2Config(**text_config(sizes, tokenizer)),
        audio_config={
            "num_mel_bins": sizes.mel_bins,
            "num_hidden_layers": sizes.audio_layers,
            "num_attention_heads": sizes.audio_heads,
            "intermediate_size": sizes.audio_mlp,
            "hidden_size": sizes.audio_width,
            "max_source_positions": _positions(sizes),
        },
        audio_token_id=tokenizer.convert_tokens_to_ids(sound),
    )
    processor = hf.AudioFlamingo3Processor(
        feature_extractor=feature_extractor(sizes),
        tokenizer=tokenizer,
        chat_template=chat_template({"audio": sound}),
        max_audio_len=10 * sizes.seconds,
    )
    return finish(hf.AudioFlamingo3ForConditionalGeneration(config), tokenizer, sizes), processor


def whisper_tower(sizes: AudioSizes) -> dict[str, Any]:
    """Arguments that Qwen's audio towers have in common."""
    return {
        "num_mel_bins": sizes.mel_bins,
        "encoder_layers": sizes.audio_layers,
        "encoder_attention_heads": sizes.audio_heads,
        "encoder_ffn_dim": sizes.audio_mlp,
        "d_model": sizes.audio_width,
        "max_source_positions": _positions(sizes),
    }


def feature_extractor(sizes: AudioSizes) -> hf.WhisperFeatureExtractor:
    """Mel spectra of a short window; published checkpoints pay for 30 s and more."""
    return hf.WhisperFeatureExtractor(
        feature_size=sizes.mel_bins, sampling_rate=RATE, chunk_length=sizes.seconds, padding_side="right"
    )


def _positions(sizes: AudioSizes) -> int:
    return sizes.seconds * _FRAMES // 2  # behind a convolution of stride 2
