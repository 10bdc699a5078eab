"""Tiny models that read and write text: Llama, Qwen2, Qwen3."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import TextSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer, qwen_tokenizer


def llama(sizes: TextSizes) -> tuple[Any, Any]:
    """`LlamaForCausalLM`."""
    tokenizer = _templated(plain_tokenizer())
    config = hf.LlamaConfig(**text_config(sizes, tokenizer))
    return finish(hf.LlamaForCausalLM(config), tokenizer, sizes), tokenizer


def qwen2(sizes: TextSizes) -> tuple[Any, Any]:
    """`Qwen2ForCausalLM` with the real Qwen2 tokenizer."""
    tokenizer = _templated(qwen_tokenizer())
    config = hf.Qwen2Config(**text_config(sizes, tokenizer))
    return finish(hf.Qwen2ForCausalLM(config), tokenizer, sizes), tokenizer


def qwen3(sizes: TextSizes) -> tuple[Any, Any]:
    """`Qwen3ForCausalLM`: Qwen2 with normalised queries and keys, and a head width of its own."""
    tokenizer = _templated(qwen_tokenizer())
    config = hf.Qwen3Config(**text_config(sizes, tokenizer), head_dim=sizes.width // sizes.heads)
    return finish(hf.Qwen3ForCausalLM(config), tokenizer, sizes), tokenizer


def _templated(tokenizer: Any) -> Any:
    tokenizer.chat_template = chat_template()
    return tokenizer
