"""What a token model says after given rows, drawn from exactly its own distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.network import TokenNetwork


@torch.no_grad()
def draw(
    network: TokenNetwork, encoder: TokenEncoder, rows: dict[str, Tensor], max_new_tokens: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Draw from softmax(logits / temperature); temperature 0 takes the likeliest token every time.

    Args:
        rows: left-padded inputs of the model, one row for each response. They are repeated by us and not by `generate`,
            which tears apart the pictures of a prompt that has several.

    Returns:
        (R, A) tokens that continue each row, and their log-probabilities.
    """
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        temperature=temperature or 1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
        suppress_tokens=encoder.placeholders or None,  # a drawn placeholder would stand for no medium
        return_dict_in_generate=True,
        output_logits=True,
    )
    alike = network.family.alike
    everything = torch.arange(len(rows["input_ids"]))
    with _own_defaults_off(network.writer):
        drawn = [
            (which, *_together(network.writer, own, settings))
            for which, own in (alike(rows) if alike is not None else [(everything, rows)])
        ]
    length = max(tokens.shape[1] for _, tokens, _ in drawn)
    ids = torch.full((len(everything), length), encoder.pad, device=rows["input_ids"].device)
    logprobs = torch.zeros(ids.shape, device=ids.device)
    for which, own_ids, own_logprobs in drawn:
        ids[which, : own_ids.shape[1]] = own_ids
        logprobs[which, : own_ids.shape[1]] = own_logprobs
    return ids, logprobs


def until(tokens: Tensor, end: int) -> Tensor:
    """1 up to and including the first end token."""
    ended = (tokens == end).cumsum(-1) - (tokens == end).long()
    return (ended == 0).float()


def _together(model: nn.Module, rows: dict[str, Tensor], settings: GenerationConfig) -> tuple[Tensor, Tensor]:
    output = model.generate(**rows, generation_config=settings)
    tokens = output.sequences[:, rows["input_ids"].shape[1] :]
    logits = torch.stack(output.logits, 1).float() / settings.temperature
    return tokens, logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


@contextmanager
def _own_defaults_off(model: nn.Module) -> Iterator[None]:
    """`generate` fills what we leave open from the checkpoint's own settings (repetition penalty, min-p, …)."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
