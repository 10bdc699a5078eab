"""Byte-level tokenizers made in memory: any text round-trips, and the words of the Shapes world are one token each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

import tokenizers
import transformers as hf
from tokenizers import decoders, pre_tokenizers, trainers

from aa_lightning.models.tiny.words import corpus

START, END = "<|im_start|>", "<|im_end|>"
_PAD, _BEGIN, _QWEN_PAD = "<pad>", "<s>", "<|endoftext|>"
_MORE_THAN_ENOUGH = 20_000  # the trainer stops by itself once every word of the corpus is one token


@cache
def _trained() -> str:
    """A byte-level BPE without special tokens, as JSON. Byte-level training gives the same merges every time."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=_MORE_THAN_ENOUGH, min_frequency=1, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(corpus(), trainer)
    return bpe.to_str()


def plain_tokenizer(markers: Sequence[str] = (), named: Mapping[str, str] | None = None) -> hf.PreTrainedTokenizerFast:
    """The tokenizer of families whose own class is a generic fast tokenizer.

    Args:
        markers: placeholder tokens of media and the like; each becomes one unsplittable token.
        named: the same for tokens that a processor reads as attributes, such as `{"image_token": "<image>"}`.
    """
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(_trained()),
        bos_token=_BEGIN,
        eos_token=END,
        pad_token=_PAD,
        padding_side="left",
        extra_special_tokens=dict(named) if named else None,
    )
    return _with_markers(tokenizer, [*markers, *(named or {}).values()])


def qwen_tokenizer(markers: Sequence[str] = (), named: Mapping[str, str] | None = None) -> hf.Qwen2Tokenizer:
    """The real Qwen2 tokenizer class over the same vocabulary; arguments as in `plain_tokenizer`."""
    bpe = json.loads(_trained())["model"]
    tokenizer = hf.Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(pair) for pair in bpe["merges"]],
        eos_token=END,
        pad_token=_QWEN_PAD,
        unk_token=_QWEN_PAD,
        padding_side="left",
        extra_special_tokens=dict(named) if named else None,
    )
    return _with_markers(tokenizer, [*markers, *(named or {}).values()])


def _with_markers(tokenizer, markers: Sequence[str]):
    tokens = list(dict.fromkeys([START, END, *markers]))
    tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    return tokenizer
