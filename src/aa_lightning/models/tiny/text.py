"""Tiny models that read and write text: Llama, Qwen2, Qwen3 and its mixture of experts, Mistral, Phi-3."""

from __future__ import annotations

from typing import Any

import transformers as hf

from aa_lightning.models.tiny.backbone import TextSizes, finish, text_config
from aa_lightning.models.tiny.template import chat_template
from aa_lightning.models.tiny.tokenizers import plain_tokenizer, qwen_tokenizer

_WINDOW = 16  # tokens; shorter than the prompts of Shapes, so that it matters


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


def qwen3_moe(sizes: TextSizes) -> tuple[Any, Any]:
    """`Qwen3MoeForCausalLM`: each token passes through two of four small feed-forward blocks."""
    tokenizer = _templated(qwen_tokenizer())
    config = hf.Qwen3MoeConfig(
        **text_config(sizes, tokenizer),
        head_dim=sizes.width // sizes.heads,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=sizes.mlp // 2,
    )
    return finish(hf.Qwen3MoeForCausalLM(config), tokenizer, sizes), tokenizer


def mistral(sizes: TextSizes) -> tuple[Any, Any]:
    """`MistralForCausalLM`, every layer with a short window."""
    tokenizer = _templated(plain_tokenizer())
    config = hf.MistralConfig(**text_config(sizes, tokenizer), sliding_window=_WINDOW)
    return finish(hf.MistralForCausalLM(config), tokenizer, sizes), tokenizer


def phi3(sizes: TextSizes) -> tuple[Any, Any]:
    """`Phi3ForCausalLM`: queries, keys and values in one matrix, every layer with a short window."""
    tokenizer = _templated(plain_tokenizer())
    config = hf.Phi3Config(**text_config(sizes, tokenizer), sliding_window=_WINDOW)
    return finish(hf.Phi3ForCausalLM(config), tokenizer, sizes), tokenizer


def _templated(tokenizer: Any) -> Any:
    tokenizer.chat_template = chat_template()
    return tokenizer
