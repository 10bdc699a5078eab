"""Rewards that models give: reward models of this project, classifiers, likeness of texts and media.

A model is loaded when its reward is built, once in each process, and never trains.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.facts import with_facts
from aa_lightning.types import Message, Prompt, Response, text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from aa_lightning.models.reward.scorer import Scorer

model = dataclass(kw_only=True, config=STRICT)
Responses = Sequence[Sequence[Response]]
Dtype = Literal["float32", "bfloat16", "float16"]


class OfModel:
    """A reward that is ready once its model is loaded."""

    @abstractmethod
    def load(self) -> None:
        """Load the model.

        Raises:
            ValueError: there is none, or one that cannot give this reward.
        """


@model
class RewardModel(OfModel):
    """A reward model that a run has trained: reward, cost, process or multi-head models, those that criticise too.

    Attributes:
        path: a run folder, an export, or a hub id.
        revision: of a hub id.
        dtype: of the weights.
        device: auto: the GPU of the process, where there is one; else as torch names it.
        facts: what the data keeps that it is told behind the question, and the policy is not (`facts.py`); null: nothing.
        batch_size: prompts in a forward pass, each with all its responses.
        heads: weight of each head; null: their mean.
        steps: of a process reward model: what of the rewards of steps, from 0 to 1, counts; null: the reward of the whole.
        split: what stands between two steps.
    """

    path: str
    revision: str | None
    dtype: Dtype
    device: str
    facts: str | None
    batch_size: PositiveInt
    heads: list[float] | None
    steps: Literal["last", "min", "mean", "product"] | None
    split: str

    def load(self) -> None:
        from aa_lightning.models.reward.saved import load_saved

        self._device = device_of(self.device)
        self._scorer: Scorer = load_saved(self.path, self.revision, self.dtype, self._device)
        count = self._scorer.network.head.out_features
        if self.heads is not None and len(self.heads) != count:
            raise ValueError(
                f"reward.model.heads has {len(self.heads)} weights, and the reward model {self.path} has {count} heads: type "
                f"reward.model.heads=[{','.join(['1'] * count)}], or null for their mean"
            )

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Tensor:
        """(P, K) rewards."""
        import torch

        prompts = prompts if self.facts is None else [with_facts(prompt, self.facts) for prompt in prompts]
        encoder = self._scorer.encoder
        said = [[self._as_steps(encoder.without_control(one)) for one in group] for group in responses]
        found = []
        for first in range(0, len(prompts), self.batch_size):
            some = slice(first, first + self.batch_size)
            encoded = [encoder.encode(prompt, group) for prompt, group in zip(prompts[some], said[some], strict=True)]
            batch = self._scorer.prepare(encoder.collate(encoded).to(self._device))
            if self.steps is not None:
                found.append(self._of_steps(batch, prompts[some], said[some]))
            elif self.heads is not None:
                whole = self._scorer.criticised(batch) if self._scorer.speaks else batch
                found.append(self._scorer.score_criteria(whole) @ torch.tensor(self.heads, device=self._device))
            else:
                found.append(self._scorer.score(batch))
        return torch.cat(found)

    def _as_steps(self, response: Response) -> Response:
        if self.steps is None:
            return response
        pieces = re.split(f"(?<={re.escape(self.split)})(?!$)", spoken(response))
        return [text(piece) for piece in pieces if piece.strip()] or [text("")]

    def _of_steps(self, batch: Any, prompts: Sequence[Prompt], said: Responses) -> Tensor:
        """(P, K) of a process reward model; a response without steps has the reward of its end."""
        import torch

        ends = [
            [self._scorer.encoder.part_ends(prompt, one) or [0] for one in group]
            for prompt, group in zip(prompts, said, strict=True)
        ]
        most = max(len(places) for group in ends for places in group)
        padded = torch.tensor([[[*places, *[places[-1]] * (most - len(places))] for places in group] for group in ends])
        right = self._scorer.score_steps(batch, padded.to(self._device)).sigmoid().cpu()
        rows = [
            [self._reduced(right[p, k, : len(places)]) for k, places in enumerate(group)]
            for p, group in enumerate(ends)
        ]
        return torch.tensor(rows)

    def _reduced(self, right: Tensor) -> float:
        """Reduce the rewards (S,) of steps."""
        reduce = {"last": right[-1], "min": right.min(), "mean": right.mean(), "product": right.prod()}
        return reduce[self.steps or "last"].item()


@model
class Classifier(OfModel):
    """A sequence classifier of transformers: rewards, sentiments, toxicities.

    Attributes:
        path: a folder or hub id.
        revision: of a hub id.
        dtype: of the weights.
        device: as of `model`.
        batch_size: responses in a forward pass.
        max_tokens: of what it reads; the beginning is left out of longer ones.
        reads: conversation: prompt and response by its chat template; pair: both as two texts; response: that alone; auto: a
            conversation where it has a chat template, else a pair.
        label: name or number of the label whose score counts; null: the only one.
        score: logit, or the label's probability.
    """

    path: str
    revision: str | None
    dtype: Dtype
    device: str
    batch_size: PositiveInt
    max_tokens: PositiveInt
    reads: Literal["auto", "conversation", "pair", "response"]
    label: str | int | None
    score: Literal["logit", "probability"]

    def load(self) -> None:
        import transformers

        self._device = device_of(self.device)
        loader = transformers.AutoModelForSequenceClassification
        self._model, self._tokenizer = loaded(self.path, self.revision, self.dtype, loader, transformers.AutoTokenizer)
        self._model = self._model.to(self._device)
        self._tokenizer.truncation_side = "left"
        self._label = self._number()
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if self._model.config.pad_token_id is None:
            self._model.config.pad_token_id = self._tokenizer.pad_token_id
        if self.reads == "auto":
            self.reads = "conversation" if self._tokenizer.chat_template else "pair"

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Tensor:
        """(P, K) scores of the label."""
        import torch

        pairs = [(prompt, one) for prompt, group in zip(prompts, responses, strict=True) for one in group]
        logits = torch.cat([self._logits(some) for some in chunks(pairs, self.batch_size)])
        if self.score == "probability":
            several = logits.shape[-1] > 1
            logits = logits.softmax(-1) if several else logits.sigmoid()
        return logits[:, self._label].unflatten(0, (len(prompts), -1))

    def _logits(self, pairs: Sequence[tuple[Prompt, Response]]) -> Tensor:
        """(N, labels) of N pairs of a prompt and a response."""
        how = {"padding": True, "truncation": True, "max_length": self.max_tokens, "return_tensors": "pt"}
        if self.reads == "conversation":
            texts = [self._tokenizer.apply_chat_template(conversation(*pair), tokenize=False) for pair in pairs]
            made = self._tokenizer(texts, add_special_tokens=False, **how)
        elif self.reads == "pair":
            asked, said = [asked_of(prompt) for prompt, _ in pairs], [spoken(one) for _, one in pairs]
            made = self._tokenizer(asked, said, **how)
        else:
            made = self._tokenizer([spoken(one) for _, one in pairs], **how)
        return self._model(**made.to(self._device)).logits.float()

    def _number(self) -> int:
        names = {str(name): int(number) for number, name in self._model.config.id2label.items()}
        if self.label is None and len(names) == 1:
            return 0
        if self.label in names:
            return names[str(self.label)]
        if isinstance(self.label, int) and 0 <= self.label < len(names):
            return self.label
        raise ValueError(
            f"{self.path} has the labels {', '.join(names)}, and the label {self.label} is none of them: type "
            f"reward.classifier.label={next(iter(names))}"
        )


@model
class Likeness(OfModel):
    """Cosine of the embeddings of a text and a medium: CLIP, SigLIP and their kin (2103.00020), CLAP (2211.06687).

    Where responses hold the medium, their text is the prompt's; where the prompt shows it, the response's.

    Attributes:
        path: a folder or hub id with `get_text_features` and those of the medium.
        revision: of a hub id.
        dtype: of the weights.
        device: as of `model`.
        batch_size: responses in a forward pass.
        medium: image or audio.
        scale: of the cosine: the model's own temperature, as PickScore has it (2305.01569), or none.
    """

    path: str
    revision: str | None
    dtype: Dtype
    device: str
    batch_size: PositiveInt
    medium: Literal["image", "audio"]
    scale: Literal["none", "model"]

    def load(self) -> None:
        import transformers

        self._device = device_of(self.device)
        found = loaded(self.path, self.revision, self.dtype, transformers.AutoModel, transformers.AutoProcessor)
        self._model, self._processor = found[0].to(self._device), found[1]
        needed = f"get_{self.medium}_features"
        if not callable(vars(type(self._model)).get(needed)):
            raise ValueError(
                f"{self.path} holds a {type(self._model).__name__}, which embeds no {self.medium} beside texts: name a model "
                f"such as {'openai/clip-vit-base-patch32' if self.medium == 'image' else 'laion/clap-htsat-unfused'}"
            )

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Tensor:
        """(P, K) cosines; −1 for a response without the medium that it should have."""
        import torch

        pairs = [self._pair(prompt, one) for prompt, group in zip(prompts, responses, strict=True) for one in group]
        there = [pair for pair in pairs if pair[1] is not None]
        likeness = iter(
            torch.cat([self._cosines(some) for some in chunks(there, self.batch_size)]).tolist() if there else []
        )
        found = torch.tensor([-1.0 if medium is None else next(likeness) for _, medium in pairs])
        if self.scale == "model":
            found = found * self._model.logit_scale.exp().item()
        return found.unflatten(0, (len(prompts), -1))

    def _pair(self, prompt: Prompt, response: Response) -> tuple[str, Any]:
        """The text and the medium that are compared; None: there is no medium."""
        drawn = [part[self.medium] for part in response if part["type"] == self.medium]
        shown = [
            part[self.medium]
            for message in prompt.messages
            for part in message["content"]
            if part["type"] == self.medium
        ]
        if shown and not drawn and spoken(response):
            return spoken(response), shown[-1]
        return asked_of(prompt), drawn[0] if drawn else None

    def _cosines(self, pairs: Sequence[tuple[str, Any]]) -> Tensor:
        """(N,) of N pairs."""
        from torch.nn.functional import cosine_similarity

        most = self._model.config.text_config.max_position_embeddings
        roberta = self._model.config.model_type == "clap"  # its positions begin behind that of padding
        texts = self._processor.tokenizer(
            [said for said, _ in pairs],
            padding=True,
            truncation=True,
            max_length=most - 2 if roberta else most,
            return_tensors="pt",
        )
        media = self._media([medium for _, medium in pairs])
        told = self._model.get_text_features(**texts.to(self._device)).pooler_output
        features = self._model.get_image_features if self.medium == "image" else self._model.get_audio_features
        return cosine_similarity(
            told.float(), features(**media.to(self._device, self._model.dtype)).pooler_output.float()
        )

    def _media(self, media: Sequence[Any]) -> Any:
        if self.medium == "image":
            return self._processor.image_processor([one.convert("RGB") for one in media], return_tensors="pt")
        from aa_lightning.media.audio import resampled

        rate = self._processor.feature_extractor.sampling_rate
        samples = [resampled(one, rate).samples for one in media]
        return self._processor.feature_extractor(samples, sampling_rate=rate, return_tensors="pt")


def device_of(name: str) -> torch.device:
    """Return the device that an option names; auto: the GPU of this process, where there is one."""
    import torch

    if name != "auto":
        return torch.device(name)
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def loaded(path: str, revision: str | None, dtype: str, model: Any, processor: Any) -> tuple[Any, Any]:
    """Load a model of transformers and its processor, in evaluation mode; no code that lies beside it runs.

    Raises:
        ValueError: nothing is there, or nothing of this kind.
    """
    import torch

    from aa_lightning.models.state_dict import folder_of, reading
    from aa_lightning.models.whole import check_folder

    path = folder_of(path, {})
    check_folder(path)
    with reading(path):
        common = {"revision": revision, "trust_remote_code": False}
        found = model.from_pretrained(path, dtype=getattr(torch, dtype), use_safetensors=True, **common)
        return found.eval().requires_grad_(False), processor.from_pretrained(path, **common)


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut a sequence into pieces of at most so many items."""
    return (items[first : first + size] for first in range(0, len(items), size))


def asked_of(prompt: Prompt) -> str:
    """Join the texts of the last turn of a prompt."""
    return spoken(prompt.messages[-1]["content"]) if prompt.messages else ""


def conversation(prompt: Prompt, response: Response) -> list[Message]:
    """A prompt and a response as turns of plain text, as tokenizers render them."""
    turns = [{"role": message["role"], "content": spoken(message["content"])} for message in prompt.messages]
    return [*turns, {"role": "assistant", "content": spoken(response)}]  # type: ignore[list-item]
