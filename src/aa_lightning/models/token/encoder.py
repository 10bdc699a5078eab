"""Examples to tensors for token models: the prompt with its media once, the responses as tokens after it.

We make our own response mask: template markers are wrong in several families. Prompts are encoded one by one and joined
here, so that every family's media rows are known to belong to their prompt.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from aa_lightning.data.errors import BadRow
from aa_lightning.models.families.family import Family
from aa_lightning.models.token import processor_inputs
from aa_lightning.models.token.chat_template import ChatTemplate, is_thought_tag
from aa_lightning.models.token.keys import keys_of
from aa_lightning.models.token.padding import filled, left_padded, stack_ragged
from aa_lightning.models.token.processor_inputs import Media, TooLong
from aa_lightning.types import Batch, Message, Part, Prompt, Response

_PROBE = "ANSWER"


@dataclass(frozen=True)
class Limits:
    """Longest prompt (media placeholders included) and response in tokens, and what happens beyond."""

    prompt: int = 2048
    response: int = 1024
    overlong: str = "error"


@dataclass
class Encoded:
    """One example: the prompt's tensors (a batch of one), the tokens of each response."""

    id: str
    prompt: dict[str, Tensor]
    responses: list[Tensor]
    answer: str | None

    def written(self, k: int) -> list[Tensor]:
        """All that response k is made of: its tokens (T,)."""
        return [self.responses[k]]

    def keys(self) -> Tensor:
        """(K, 16) bytes for each response, which are others for any other prompt, medium or token."""
        return keys_of(self.prompt, [self.written(k) for k in range(len(self.responses))])


class TokenEncoder:
    """Applies a processor (or tokenizer) and its chat template. Holds no weights.

    Args:
        frames: of every clip, chosen uniformly; None: what the family needs.
    """

    def __init__(self, processor: Any, family: Family, limits: Limits | None = None, frames: int | None = None):
        self.processor, self.family = processor, family
        self.frames = frames or family.frames
        self.companions: frozenset[str] | None = None  # several processes: the media that their rows show
        self.keyed = False  # whether batches bring the key of each response
        self.limits = limits or Limits()
        self.tokenizer = processor.tokenizer if family.media else processor
        self.pad = self.tokenizer.pad_token_id
        if self.pad is None:
            self.pad = self.tokenizer.eos_token_id
        self.placeholders = [
            self.tokenizer.convert_tokens_to_ids(attrgetter(name)(processor)) for name in family.placeholders
        ]
        self.chat = ChatTemplate(processor, self.tokenizer, as_lists=bool(family.media))
        self.opening, self.end = self.chat.opening, self.chat.end
        self._appended = _appended(self.tokenizer)
        names = {*self.tokenizer.all_special_tokens, *(attrgetter(name)(processor) for name in family.placeholders)}
        self._control = control_tokens(names)

    def with_companions(self, media: frozenset[str]) -> TokenEncoder:
        """The encoder of one process of several, each of whose batches shows all of these media (`_missing`)."""
        other = copy.copy(self)
        other.companions = media
        return other

    def with_keys(self) -> TokenEncoder:
        """The encoder of a run that keeps its reference: each response comes with the key of what is read for it."""
        other = copy.copy(self)
        other.keyed = True
        return other

    # ------------------------------------------------------------ one example

    def encode(self, prompt: Prompt, responses: list[Response]) -> Encoded:
        """Tensors of one example.

        Raises:
            BadRow: media that the processor cannot read, turns that the chat template cannot say, a control token in a
                text; a TooLong: prompt or response over the limit.
            ValueError: the family reads or writes other media than the row has.
        """
        for message in prompt.messages:
            self._refuse_control(prompt, message["content"], "prompt")
        text = self.chat.prompt(prompt)
        return Encoded(
            prompt.id, self._prompt(prompt, text), [self._response(prompt, text, r) for r in responses], prompt.answer
        )

    def without_control(self, response: Response) -> Response:
        """A response of another model whose texts hold no control tokens of this one."""
        return [{**p, "text": self._control.sub("", p["text"])} if p["type"] == "text" else p for p in response]

    def render(self, messages: list[Message]) -> str:
        """The prompt as text, up to where the answer begins."""
        return self.chat.prompt(Prompt(id="prompt", messages=messages))

    def _prompt(self, prompt: Prompt, text: str) -> dict[str, Tensor]:
        media = processor_inputs.with_frames(self._media(prompt), self.frames, self.family.fewest_frames)
        processor_inputs.check(prompt.id, media, self.family, self.processor)
        tensors = self._processed(prompt, text, media)
        if "video" in media and self.family.grid_seconds is not None:
            tensors[self.family.grid_seconds] = processor_inputs.seconds_per_grid(media["video"], self.processor)
        self._check(prompt, tensors, media)
        return tensors

    def _processed(self, prompt: Prompt, text: str, media: Media) -> dict[str, Tensor]:
        """Run the processor on a prompt; whatever it raises is a fault of the row."""
        bos = self.tokenizer.bos_token
        special = not (bos and text.startswith(bos))
        try:
            given = processor_inputs.arguments(media, self.family, self.processor) if self.family.media else {}
            texts = {"text": [text]} if self.family.media else {"text": text}
            made = self.processor(**texts, **given, add_special_tokens=special, return_tensors="pt")
        except Exception as error:
            shown = processor_inputs.described(media) or "the text"
            raise BadRow(
                prompt.id,
                _columns(prompt),
                f"Models of family {self.family.name} cannot read {shown} ({type(error).__name__}: {error}).",
            ) from error
        tensors = {k: v for k, v in made.items() if isinstance(v, Tensor)}
        return self._cut(tensors, self._appended) if special and self._appended else tensors

    def _cut(self, tensors: dict[str, Tensor], count: int) -> dict[str, Tensor]:
        """Without the tokens that a post-processor puts behind a text: the answer goes on there."""
        per_token = {"input_ids", "attention_mask", *self.family.per_token}
        return {key: value[:, :-count] if key in per_token else value for key, value in tensors.items()}

    def _media(self, prompt: Prompt) -> Media:
        """The prompt's media by kind, in the order in which they are read."""
        found: Media = {}
        for message in prompt.messages:
            for part in message["content"]:
                if part["type"] == "text":
                    continue
                if part["type"] not in self.family.media:
                    reads = ", ".join(("text", *self.family.media))
                    raise ValueError(
                        f"row {prompt.id} holds {part['type']}, and models of family {self.family.name} read {reads}: "
                        f"choose a model= that reads {part['type']}, or other data="
                    )
                found.setdefault(part["type"], []).append(part[part["type"]])
        return found

    def _refuse_control(self, prompt: Prompt, parts: Sequence[Part], column: str) -> None:
        """Refuse texts that would be read as turns or media."""
        for part in parts:
            found = self._control.search(part["text"]) if part["type"] == "text" else None
            if found is not None:
                raise BadRow(
                    prompt.id,
                    column,
                    f"The text holds {found[0]!r}, which is a control token of this model and would be read as one: take it "
                    f"out in the template (remove: ['{found[0]}']).",
                )

    def _check(self, prompt: Prompt, tensors: dict[str, Tensor], media: Media) -> None:
        for medium in media:
            missing = [key for key in self.family.keys_of(medium) if key not in tensors]
            if missing:
                raise ValueError(
                    f"row {prompt.id}: the processor of family {self.family.name} made no {', '.join(missing)} for its "
                    f"{medium}, and the model would silently read noise. Is the checkpoint's processor complete?"
                )
        shown, places = sum(map(len, media.values())), torch.tensor(self.placeholders, dtype=torch.long)
        tokens = torch.isin(tensors["input_ids"], places).sum().item()
        if tokens < shown:
            raise BadRow(
                prompt.id,
                _columns(prompt),
                f"Of {processor_inputs.described(media)} only {tokens} tokens are left in the prompt, so that something "
                "would not be seen or heard. Are they too small, or too short?",
            )
        length = tensors["input_ids"].shape[1]
        if length > self.limits.prompt:
            raise TooLong(
                prompt.id,
                "prompt",
                f"The prompt has {length} tokens, media included, and the limit is "
                f"{self.limits.prompt}. A prompt is never cut (that would cut its media): set "
                f"loader.max_prompt_tokens={length} or loader.overlong=skip, or make the media smaller.",
            )

    def _response(self, prompt: Prompt, before: str, response: Response) -> Tensor:
        if any(part["type"] != "text" for part in response):
            written = ", ".join(part["type"] for part in response if part["type"] != "text")
            raise ValueError(
                f"row {prompt.id} is answered with {written}, and models of family {self.family.name} write text only: "
                "choose a model= that writes it, or other data="
            )
        self._refuse_control(prompt, response, "response")
        said, end = self.chat.answer(prompt, before, response)
        ids = [*self.tokenizer(said, add_special_tokens=False)["input_ids"], end]
        if len(ids) > self.limits.response and self.limits.overlong != "truncate":
            raise TooLong(
                prompt.id,
                "response",
                f"A response has {len(ids)} tokens and the limit is {self.limits.response}: set "
                f"loader.max_response_tokens={len(ids)}, loader.overlong=truncate or loader.overlong=skip.",
            )
        return torch.tensor(ids[: self.limits.response])

    def part_ends(self, prompt: Prompt, response: Response) -> list[int]:
        """The place of the last token of each part of a response; parts that were cut off have none.

        Raises:
            BadRow: the chat template writes the parts in another way.
        """
        said, _ = self.chat.answer(prompt, self.chat.prompt(prompt), response)
        first = said.find("".join(part["text"] for part in response).rstrip())
        if first < 0:
            raise BadRow(
                prompt.id, "response", "The chat template changes the steps of the answer, so none can be found."
            )
        spans = self.tokenizer(said, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        lengths = [len(part["text"].rstrip()) for part in response]
        starts = accumulate((len(part["text"]) for part in response), initial=first)
        lasts = [start + length - 1 for start, length in zip(starts, lengths, strict=False)]
        ends = [max(i for i, (first, _) in enumerate(spans) if first <= last) for last in lasts]
        return [end for end in ends if end < self.limits.response]

    # ------------------------------------------------------------ many examples

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """P prompts left-padded, their responses right-padded as (P, K, T), with keys (P, K, 16) where asked for."""
        ids, answers = [e.id for e in encoded], [e.answer for e in encoded]
        k = len(encoded[0].responses)
        missing = self._missing(encoded) if k else []
        if missing:
            encoded = [*encoded, self._companion(missing, k)]
        fills = {"input_ids": self.pad, "attention_mask": 0, **self.family.padding}
        keys = dict.fromkeys(key for e in encoded for key in e.prompt)
        prompt, blocks = {}, {}
        for key in keys:
            if key in fills:
                prompt[key] = left_padded([e.prompt for e in encoded], key, fills[key])
            elif key in self.family.per_prompt:
                prompt[key] = stack_ragged(filled([e.prompt for e in encoded], key))
                blocks[key] = [1] * len(encoded)
            else:
                prompt[key] = stack_ragged([e.prompt[key] for e in encoded if key in e.prompt])
                blocks[key] = [len(e.prompt[key]) if key in e.prompt else 0 for e in encoded]
        response = self.pad_responses([e.responses for e in encoded])
        response["mask"][len(ids) :] = 0
        if self.keyed:
            response["key"] = torch.stack([e.keys() for e in encoded[: len(ids)]])
        return Batch(ids=ids, prompt=prompt, response=response, blocks=blocks, answers=answers)

    def with_drawn(self, encoded: Sequence[Encoded], response: dict[str, Tensor]) -> Batch:
        """P prompts with what was drawn to them, (P, K, T) each; companion rows as for rows of the data."""
        said = [torch.tensor([self.end])] * response["mask"].shape[1]
        batch = self.collate([replace(e, responses=said) for e in encoded])
        ids = response["input_ids"].masked_fill(response["mask"] == 0, self.pad)
        companions = len(batch.response["mask"]) - len(encoded)
        filled = {"input_ids": (ids, self.pad), "mask": (response["mask"], 0)}
        batch.response = {
            key: torch.cat([own, own.new_full((companions, *own.shape[1:]), fill)])
            for key, (own, fill) in filled.items()
        }
        return batch

    def _missing(self, encoded: Sequence[Encoded]) -> list[str]:
        """Media that this batch lacks and that other batches pass through the model, and one for each idle tower."""
        if self.companions is None:
            return []
        towers = self.family.towers or ((self.family.media,) if self.family.media else ())
        idle = {tower[0] for tower in towers if not self.companions & set(tower)}
        shown = {key for e in encoded for key in e.prompt}
        return [
            medium
            for medium in self.family.media
            if medium in self.companions | idle and self.family.keys_of(medium)[0] not in shown
        ]

    def _companion(self, media: list[str], responses: int) -> Encoded:
        """A prompt of small media without meaning, with responses of one token."""
        shown = media[:1] if self.family.one_medium else media  # they share a tower
        parts = [processor_inputs.stand_in(medium, self.processor, self.frames) for medium in shown]
        prompt = Prompt(id="companion", messages=[{"role": "user", "content": parts}])
        return Encoded(
            "companion", self._prompt(prompt, self.chat.prompt(prompt)), [torch.tensor([self.end])] * responses, None
        )

    def length(self, encoded: Encoded) -> int:
        """Tokens of the prompt and of the longest response."""
        return encoded.prompt["input_ids"].shape[1] + max((len(r) for r in encoded.responses), default=0)

    def pad_responses(self, responses: list[list[Tensor]]) -> dict[str, Tensor]:
        """Ragged tokens (P lists of K) to input_ids and mask, (P, K, T)."""
        p, k = len(responses), len(responses[0])
        t = max((len(r) for row in responses for r in row), default=0)
        ids = torch.full((p, k, t), self.pad)
        mask = torch.zeros(p, k, t)
        for i, row in enumerate(responses):
            for j, tokens in enumerate(row):
                ids[i, j, : len(tokens)] = tokens
                mask[i, j, : len(tokens)] = 1
        return {"input_ids": ids, "mask": mask}

    def decode(self, tokens: Tensor) -> Response:
        """Decode the tokens (T,) of a response, without control tokens."""
        said = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return [{"type": "text", "text": said.removeprefix(self.opening)}]


def control_tokens(names: Iterable[str]) -> re.Pattern[str]:
    """Compile the pattern that finds control tokens in a text. Tags of thoughts are words of an answer, whatever a tokenizer
    calls them."""
    known = sorted((name for name in names if name and not is_thought_tag(name)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, known)) or r"(?!)")


def _appended(tokenizer: Any) -> int:
    """Count the tokens that a tokenizer's post-processor puts behind a text."""
    bare, whole = (tokenizer(_PROBE, add_special_tokens=special)["input_ids"] for special in (False, True))
    starts = [i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare]
    return len(whole) - len(bare) - starts[0] if starts else 0


def _columns(prompt: Prompt) -> str:
    """The columns that a prompt's media come from; of a text alone, prompt."""
    named = [
        part.get("column", part["type"]) for m in prompt.messages for part in m["content"] if part["type"] != "text"
    ]
    return ", ".join(dict.fromkeys(named)) or "prompt"
