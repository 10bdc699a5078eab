"""Speech of a talker that reads what a thinker wrote, step by step, whatever the checkpoint: G codec tokens are one step of
speech.

A row is the prompt with all that begins a speech, then one place for each step: the codes of the step before it, beside
one step of text. p(step) = p(c₁ | text, steps before) · ∏ p(c_g | c₁ … c_{g−1}, text, steps before), g = 2 … G.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.media.audio import Sound
from aa_lightning.models.token.choice import choose
from aa_lightning.models.token.layouts import Layout
from aa_lightning.models.token.sampling import Drawn
from aa_lightning.types import Batch

RATE = 24_000  # of sounds that the checkpoints' own decoders make

Draw = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # (R, C) logits, group → (R,) tokens, their log-probabilities


@dataclass(frozen=True)
class Codes:
    """The codec tokens of a checkpoint.

    Attributes:
        sizes: for each of the G groups of a step, how many tokens stand for sounds; they are the first of their group.
        end: the token of the first group that ends a speech, all of its step.
    """

    sizes: tuple[int, ...]
    end: int

    @property
    def groups(self) -> int:
        """G, the tokens of a step."""
        return len(self.sizes)

    def silent(self, count: int, group: int) -> Tensor:
        """(C,) bool: of the C tokens of a group, those that stand for no sound, except the one that ends a speech."""
        silent = torch.arange(count) >= self.sizes[group]
        if group == 0:
            silent[self.end] = False
        return silent


@dataclass
class Rows:
    """R rows of a talker.

    Attributes:
        embeds: (R, W, E) what its network reads, padding where `valid` is 0.
        valid: (R, W) bool.
        positions: (R, W), or (3, R, W).
        text: (R, N, E) text embedding before step 1 and added at each step; the last is repeated when the text ends.
        steps: how many are in the rows.
    """

    embeds: Tensor
    valid: Tensor
    positions: Tensor
    text: Tensor
    steps: int = 0

    def moved(self, padding_first: bool) -> Rows:
        """The same rows with all their padding at the left, or at the right."""
        kept = self.valid if padding_first else ~self.valid
        order = kept.byte().argsort(dim=-1, stable=True)
        embeds = self.embeds[torch.arange(len(order), device=order.device)[:, None], order]
        positions = self.positions.gather(-1, order.expand(self.positions.shape))
        return replace(self, embeds=embeds, valid=self.valid.gather(-1, order), positions=positions)

    def followed(self, embeds: Tensor, valid: Tensor) -> Rows:
        """Further steps (R, S, E), each beside its text, behind rows that do not end in padding."""
        count = embeds.shape[1]
        ahead = 1 + torch.arange(count, device=embeds.device)
        beside = self.text[:, (self.steps + ahead).clamp(max=self.text.shape[1] - 1)]
        return Rows(
            torch.cat([self.embeds, embeds + beside], 1),
            torch.cat([self.valid, valid], 1),
            torch.cat([self.positions, self.positions[..., -1:] + ahead], -1),
            self.text,
            self.steps + count,
        )


class Talker(ABC):
    """The talker of a checkpoint, and what belongs to it.

    Args:
        model: thinker, talker, and what makes codes a sound.
        speaker: whose voice it has; None: the first.
    """

    def __init__(self, model: nn.Module, speaker: str | None):
        self.model = model
        self.codes = self.codes_of(model.config)
        self.voice = chosen_voice(self.voices(), speaker)

    @staticmethod
    @abstractmethod
    def codes_of(config: Any) -> Codes:
        """The codec tokens of a checkpoint with this configuration."""

    @abstractmethod
    def voices(self) -> dict[str, Any]:
        """Embeddings or tokens that stand for each speaker."""

    @property
    @abstractmethod
    def heads(self) -> list[nn.Linear]:
        """From states to logits over the tokens of each group."""

    @property
    def listens_to(self) -> nn.Module | None:
        """The layer of the thinker whose states the talker reads; None: the last."""
        return None

    @abstractmethod
    def begun(self, batch: Batch, told: Tensor, layout: Layout) -> Rows:
        """Rows up to the place that predicts the first step.

        Args:
            batch: prompts, and responses of text alone.
            told, layout: the thinker's states of it (R, L, H), by `listens_to`.
        """

    @abstractmethod
    def heard(self, codes: Tensor) -> Tensor:
        """(…, E) what stands in a row for steps (…, G)."""

    @abstractmethod
    def run(self, embeds: Tensor, **given: Any) -> Any:
        """The network's output, with `last_hidden_state` (R, W, H)."""

    @abstractmethod
    def within(self, states: Tensor, codes: Tensor) -> Tensor:
        """(N, G, H) the states that predict the tokens of steps (N, G), by the states (N, H) of their places."""

    @abstractmethod
    def drawn(self, states: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """One step, (R, G) tokens and their log-probabilities, by the states (R, H) of its place."""

    @abstractmethod
    def sound(self, codes: Tensor) -> Sound:
        """Decode steps (S, G) with the checkpoint's own decoder."""

    def keep(self, folder: Path) -> None:  # noqa: B027  most checkpoints keep their speakers in the configuration
        """Write the speakers beside a checkpoint, where the library does not."""


def chosen_voice(voices: dict[str, Any], speaker: str | None) -> Any:
    """Find what stands for a speaker, in capital letters or small ones; None: for the first.

    Raises:
        ValueError: the checkpoint has no such speaker.
    """
    known = {name.lower(): voice for name, voice in voices.items()}
    if speaker is not None and speaker.lower() not in known:
        raise ValueError(
            f"model.speech.speaker={speaker} is no speaker of this checkpoint, which has {', '.join(voices)}: type "
            f"model.speech.speaker={next(iter(voices))}"
        )
    return known[next(iter(known)) if speaker is None else speaker.lower()]


def predicting(talker: Talker, begun: Rows, codes: Tensor, said: Tensor) -> Tensor:
    """(R, S, G, H) the states that predict each codec token of steps (R, S, G), of which `said` (R, S, G) are there."""
    spoken = said[..., 0].bool()
    read = begun.followed(talker.heard(codes), spoken).moved(padding_first=False)
    # behind the last token nothing is seen by it, so the causal kernel needs no mask
    hidden = talker.run(read.embeds, position_ids=read.positions, use_cache=False).last_hidden_state
    first = begun.valid.sum(-1, keepdim=True) - 1
    places = first + torch.arange(codes.shape[1], device=codes.device)
    states = hidden[torch.arange(len(hidden), device=hidden.device)[:, None], places]
    found = talker.within(states[spoken], codes[spoken])
    return found.new_zeros(*codes.shape, found.shape[-1]).masked_scatter(spoken[..., None, None], found)


@torch.no_grad()
def speak(talker: Talker, begun: Rows, longest: int, temperature: float, k: int, chances: Iterator[Tensor]) -> Drawn:
    """Draw codec tokens from softmax(logits / temperature); temperature 0 takes the likeliest every time.

    Tokens that stand for no sound are never drawn.

    Args:
        begun: P × K rows without a step.
        longest: S, steps of each row at most, the end included.
        k: responses of a prompt.
        chances: (P · K,) for each choice, as `choose` takes them.

    Returns:
        (P, K, S·G) tokens.
    """

    def draw(logits: Tensor, group: int) -> tuple[Tensor, Tensor]:
        banned = talker.codes.silent(logits.shape[-1], group).to(logits.device)
        return choose(logits.float(), banned, False, temperature, next(chances))

    read = begun.moved(padding_first=True)
    new, cache = read.embeds.shape[1], None
    ended = torch.zeros(len(read.embeds), 1, dtype=torch.bool, device=read.embeds.device)
    columns = []
    for _ in range(longest):
        output = talker.run(
            read.embeds[:, -new:],
            attention_mask=read.valid.long(),
            position_ids=read.positions[..., -new:],
            past_key_values=cache,
            use_cache=True,
        )
        new, cache = 1, output.past_key_values
        codes, logprobs = talker.drawn(output.last_hidden_state[:, -1], draw)
        ends = ended | (codes[:, :1] == talker.codes.end)
        columns.append((codes, logprobs, ~torch.cat([ended, ends.expand(-1, codes.shape[1] - 1)], 1)))
        ended = ends
        if ended.all():
            break
        read = read.followed(talker.heard(codes)[:, None], torch.ones_like(ended))
    tokens, logprobs, said = (torch.cat(column, 1).unflatten(0, (-1, k)) for column in zip(*columns, strict=True))
    return Drawn(tokens, logprobs * said, said.float(), said.float(), ended.unflatten(0, (-1, k))[..., 0])


def prompts(batch: Batch, layout: Layout) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The rows (R, 1) and columns (R, L) of the layout in which the prompt of each response stands, and (R, L) bool: which of
    them are its tokens."""
    lengths = batch.prompt["attention_mask"].sum(-1).repeat_interleave(layout.rows.shape[1])
    places = torch.arange(int(lengths.max()), device=lengths.device)
    columns = layout.start.flatten()[:, None] + places
    width = layout.inputs["input_ids"].shape[1]
    return (layout.rows[:, :, 0].flatten()[:, None], columns.clamp(max=width - 1)), places < lengths[:, None]


def text_steps(steps: Tensor, mask: Tensor, end: Tensor, pad: Tensor) -> Tensor:
    """(R, N + 1, E) texts without their last token (the end of the turn, which the thinker never reads when it
    generates), then the end of the text, then padding.

    Args:
        steps, mask: (R, N, E) and (R, N), of the responses.
        end, pad: (E,).
    """
    place = torch.arange(steps.shape[1] + 1, device=mask.device)[:, None]
    last = mask.sum(-1).long()[:, None, None] - 1
    steps = torch.cat([steps, pad.expand(len(steps), 1, -1)], 1)
    return torch.where(place == last, end, torch.where(place > last, pad, steps))
