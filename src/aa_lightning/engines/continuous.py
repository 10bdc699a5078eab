"""The library's continuous batching: responses of any length side by side over a paged cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import ContinuousBatchingConfig, GenerationConfig

from aa_lightning.engines.engine import Engine
from aa_lightning.engines.tokens import Answer, drawn, prompt_tokens
from aa_lightning.models.families.offer import ModelOffer
from aa_lightning.models.token.layouts import windows_of
from aa_lightning.types import Batch, Prompt, Rollout, Sampling

_PAGE = 32  # tokens; on graphics cards the library's own


class Continuous(Engine):
    """transformers' `generate_batch`, on the policy's own modules: models of text alone whose layers are all attention, of
    which no process holds a part."""

    def why_not(self, offer: ModelOffer, config: Any) -> str | None:
        if offer.reads:
            return f"serves models of text alone, and {offer.family} reads {', '.join(offer.reads)}"
        if windows_of(config) is None:
            return "serves attention, and some layers of this model carry a state"
        if config.get_text_config().to_dict().get("attn_logit_softcapping"):
            return "leaves out the cap on attention scores that this model has"
        return None

    @torch.no_grad()
    def generate(self, policy: Any, prompts: Sequence[Prompt], batch: Batch, n: int, sampling: Sampling) -> Rollout:
        tokens, model = prompt_tokens(batch), policy.network.model
        end = policy.encoder.end
        with _attending(policy.network.writer):
            found = model.generate_batch(
                tokens,
                generation_config=_options(policy.encoder, n, sampling),
                continuous_batching_config=_paged(tokens, n, sampling, model.device),
                warmup=False,
            )
        answers = [_answer(one, end) for one in found.values()]
        if len(answers) < n * len(tokens):
            raise RuntimeError(
                f"continuous batching gave {len(answers)} of {n * len(tokens)} responses and says no more than what stands "
                "above: type rollout.engine=own"
            )
        rows = [answers[start : start + n] for start in range(0, len(answers), n)]
        return policy.rollout(batch, drawn(rows, policy.encoder.pad, model.device), sampling)


def _answer(found: Any, end: int) -> Answer:
    if found.error is not None:
        raise RuntimeError(f"continuous batching failed ({found.error}): type rollout.engine=own")
    return Answer(found.generated_tokens, found.logprobs, found.generated_tokens[-1] == end)


def _options(encoder: Any, n: int, sampling: Sampling) -> GenerationConfig:
    """The distribution of the policy's own draws: nothing but a temperature."""
    greedy = sampling.temperature == 0
    how = {} if greedy else {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=not greedy,
        num_return_sequences=n,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
        **how,
    )


def _paged(tokens: list[list[int]], n: int, sampling: Sampling, device: torch.device) -> ContinuousBatchingConfig:
    """Room for all responses at once on a CPU, whose free memory the library does not ask for. The seed is one draw of the
    global generator."""
    seed = int(torch.randint(2**31, ()))
    if device.type != "cpu":
        return ContinuousBatchingConfig(return_logprobs=True, seed=seed, max_memory_percent=0.5)
    longest = max(map(len, tokens)) + sampling.max_new_tokens
    blocks = len(tokens) * n * (-(-longest // _PAGE) + 1)
    most = max(sum(map(len, tokens)), len(tokens) * n)
    return ContinuousBatchingConfig(
        return_logprobs=True, seed=seed, page_size=_PAGE, num_blocks=blocks, max_batch_tokens=most
    )


@contextmanager
def _attending(model: nn.Module) -> Iterator[None]:
    """The library's own attention in a language model, while the context lasts."""
    config = model.config
    before = config._attn_implementation
    if before not in ("eager", "sdpa"):
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        config._attn_implementation = before
