"""What a talker reads while it speaks: the thinker's states of the prompt, then one step of text beside each codec token.

As Qwen2.5-Omni generates (2503.20215 section 2.4). A row is

    prompt        | voice | text 1      | text 2  | …  (then the end of the text, then padding)
                  | pad   | codec start | code 1  | …

where every text step is the thinker's state plus the token's embedding, and the two lines are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.models.layouts import Layout
from aa_lightning.types import Batch


@dataclass
class Rows:
    """R rows of a talker, before its projection.

    Attributes:
        embeds: (R, W, E), padding where `valid` is 0.
        valid: (R, W) bool.
        positions: (R, W), or (3, R, W).
        text: (R, N, E) the steps of text, of which the last goes on for ever.
    """

    embeds: Tensor
    valid: Tensor
    positions: Tensor
    text: Tensor

    def moved(self, padding_first: bool) -> Rows:
        """The same rows with all their padding at the left, or at the right."""
        kept = self.valid if padding_first else ~self.valid
        order = kept.byte().argsort(dim=-1, stable=True)
        embeds = self.embeds[torch.arange(len(order), device=order.device)[:, None], order]
        positions = self.positions.gather(-1, order.expand(self.positions.shape))
        return Rows(embeds, self.valid.gather(-1, order), positions, self.text)


def rows(
    model: nn.Module, voice: int, batch: Batch, hidden: Tensor, layout: Layout, codes: Tensor, said: Tensor
) -> Rows:
    """The talker's rows for responses that the thinker has read.

    Args:
        model: thinker and talker.
        voice: the text token of the speaker.
        batch: the prompts with their text.
        hidden, layout: the thinker's states of it.
        codes: (R, S) codec tokens, S may be 0.
        said: (R, S) 1 for those of the response.
    """
    talker, words = model.talker, model.thinker.get_input_embeddings()
    mixed = hidden + _embedded(words, layout.inputs["input_ids"], model.config.thinker_config)
    k = batch.response["mask"].shape[1]
    lengths = batch.prompt["attention_mask"].sum(-1).repeat_interleave(k)
    first, most = layout.rows[:, :, 0].flatten(), int(lengths.max())
    prompt, positions = mixed[first][:, :most], layout.inputs["position_ids"][..., first, :most]
    text = _text(talker, words, mixed[layout.rows, layout.own].flatten(0, 1), batch.response["mask"].flatten(0, 1))
    start = torch.tensor([talker.codec_pad_token, talker.codec_bos_token], device=codes.device)
    spoken = talker.get_input_embeddings()(torch.cat([start.expand(len(codes), 2), codes], 1))
    steps = torch.arange(codes.shape[1] + 1, device=codes.device).clamp(max=text.shape[1] - 1)
    beside = torch.cat([words(start.new_full((len(codes), 1), voice)), text[:, steps]], 1)
    last = positions.gather(-1, (lengths - 1)[:, None].expand(*positions.shape[:-1], 1))
    after = last + 1 + torch.arange(spoken.shape[1], device=codes.device)
    valid = torch.arange(most, device=codes.device) < lengths[:, None]
    begun = valid.new_ones(len(codes), 2)
    return Rows(
        torch.cat([prompt, spoken + beside], 1),
        torch.cat([valid, begun, said.bool()], 1),
        torch.cat([positions, after], -1),
        text,
    )


def states(talker: nn.Module, read: Rows, lengths: Tensor, count: int) -> Tensor:
    """(R, count, H) the states that predict codec tokens 1, 2, … of each row.

    Args:
        lengths: (R,) of the prompts.
        count: how many tokens are predicted.
    """
    read = read.moved(padding_first=False)
    # behind the last token nothing is seen by it, so the causal kernel needs no mask
    hidden = talker.model(
        inputs_embeds=talker.thinker_to_talker_proj(read.embeds), position_ids=read.positions, use_cache=False
    ).last_hidden_state
    places = (lengths + 1)[:, None] + torch.arange(count, device=lengths.device)
    return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], places]


@torch.no_grad()
def speak(
    talker: nn.Module, read: Rows, length: int, temperature: float, mute: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw codec tokens from softmax(logits / temperature); temperature 0 takes the likeliest every time.

    Args:
        read: rows without codec tokens.
        length: of each row at most, the end included.
        mute: (C,) bool, tokens that are never drawn, as they stand for no sound.

    Returns:
        (R, S) tokens, their log-probabilities, and 1 up to and including the end of each row.
    """
    read = read.moved(padding_first=True)
    valid, position, embeds, cache = read.valid.long(), read.positions, read.embeds, None
    ended = valid.new_zeros(len(valid), dtype=torch.bool)
    columns = []
    for step in range(length):
        output = talker.model(
            inputs_embeds=talker.thinker_to_talker_proj(embeds),
            attention_mask=valid,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        logprobs = (talker.codec_head(output.last_hidden_state[:, -1]).float() / (temperature or 1.0)).log_softmax(-1)
        heard = logprobs.masked_fill(mute, -torch.inf)
        token = torch.multinomial(heard.exp(), 1) if temperature > 0 else heard.argmax(-1, keepdim=True)
        columns.append((token[:, 0], logprobs.gather(-1, token)[:, 0], ~ended))
        ended = ended | (token[:, 0] == talker.codec_eos_token)
        if ended.all():
            break
        beside = read.text[:, min(step + 1, read.text.shape[1] - 1)]
        embeds = talker.get_input_embeddings()(token) + beside[:, None]
        valid, position = torch.cat([valid, torch.ones_like(token)], 1), position[..., -1:] + 1
    tokens, logprobs, said = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return tokens, logprobs, said.float()


def _embedded(words: nn.Module, ids: Tensor, config: Any) -> Tensor:
    """Embeddings of tokens, zero for those that stand for media."""
    media = (config.audio_token_index, config.image_token_index, config.video_token_index)
    return words(ids).masked_fill(torch.isin(ids, ids.new_tensor(media))[..., None], 0)


def _text(talker: nn.Module, words: nn.Module, steps: Tensor, mask: Tensor) -> Tensor:
    """(R, N + 1, E) the text without its last token (the end, whose state the thinker never makes when it generates),
    then the end of the text, then padding."""
    end, pad = words(torch.tensor([talker.text_eos_token, talker.text_pad_token], device=mask.device))
    place = torch.arange(steps.shape[1] + 1, device=mask.device)[:, None]
    last = mask.sum(-1).long()[:, None, None] - 1
    steps = torch.cat([steps, pad.expand(len(steps), 1, -1)], 1)
    return torch.where(place == last, end, torch.where(place > last, pad, steps))
