"""The vocabulary of the project: examples, batches, log-likelihoods, and the three nouns of the seam.

Axis letters are the same everywhere: P prompts, K responses per prompt, T terms of a response, A actions. A term is one
summand of a response's log-likelihood: a token, or one (timestep, noise) draw. Preference data has K = 2 in the order
(chosen, rejected).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Part = dict[str, Any]  # {"type": "text" | "image" | "audio" | "video", <the type>: content}
Message = dict[str, Any]  # {"role": "system" | "user" | "assistant", "content": list[Part]}
Response = list[Part]
Kind = Literal["prompt", "demonstration", "rating", "preference", "feedback"]


def text(content: str) -> Part:
    """A text part."""
    return {"type": "text", "text": content}


# ---------------------------------------------------------------- examples, poorest to richest


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is asked, ending before the answer. `answer` is a checkable reference answer where the data has one."""

    id: str
    messages: list[Message]
    answer: str | None = None
    keep: dict[str, Any] = field(default_factory=dict)  # columns carried along untouched

    @property
    def responses(self) -> list[Response]:
        return []


@dataclass(frozen=True, kw_only=True)
class Demonstration(Prompt):
    response: Response

    @property
    def responses(self) -> list[Response]:
        return [self.response]


@dataclass(frozen=True, kw_only=True)
class Rating(Prompt):
    """One response and whether it is desirable (KTO and kin)."""

    response: Response
    desirable: bool

    @property
    def responses(self) -> list[Response]:
        return [self.response]


@dataclass(frozen=True, kw_only=True)
class Preference(Prompt):
    """Two responses, the first preferred. `margin` is by how much, in the data's own unit."""

    chosen: Response
    rejected: Response
    margin: float | None = None

    @property
    def responses(self) -> list[Response]:
        return [self.chosen, self.rejected]


@dataclass(frozen=True, kw_only=True)
class Feedback(Preference):
    """A preference with language feedback: critiques of (chosen, rejected), refinements, scores per dimension."""

    critique: tuple[str | None, str | None] = (None, None)
    refinement: tuple[Response | None, Response | None] = (None, None)
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)


Example = Prompt  # any of the five; the richer kinds are subclasses

_RICHNESS: dict[str, type] = {
    "prompt": Prompt,
    "demonstration": Demonstration,
    "rating": Rating,
    "preference": Preference,
    "feedback": Feedback,
}


def kind_of(example: Example) -> Kind:
    """The kind's name of an example."""
    return next(name for name, cls in _RICHNESS.items() if type(example) is cls)


def can_serve(kind: Kind, wanted: Kind) -> bool:
    """Whether data of `kind` weakens to `wanted`: feedback > preference > rating > demonstration > prompt."""
    order = list(_RICHNESS)
    return order.index(kind) >= order.index(wanted)


def weaken(example: Example, wanted: Kind) -> list[Example]:
    """Turn an example into the poorer kind that an algorithm asks for.

    A preference becomes two ratings (chosen desirable, rejected not), or one demonstration of the chosen response; a
    rating becomes a demonstration only if it is desirable.

    Raises:
        ValueError: the example is poorer than what is asked for.
    """
    if not can_serve(kind_of(example), wanted):
        raise ValueError(
            f"row {example.id} is a {kind_of(example)} and cannot serve as a {wanted}: "
            f"choose a data set that has {wanted} rows, or an algorithm that needs less"
        )
    if kind_of(example) == wanted:
        return [example]
    base = {"id": example.id, "messages": example.messages, "answer": example.answer, "keep": example.keep}
    if wanted == "prompt":
        return [Prompt(**base)]
    if isinstance(example, Rating):
        return [Demonstration(**base, response=example.response)] if example.desirable else []
    if not isinstance(example, Preference):
        return [Demonstration(**base, response=example.responses[0])]
    if wanted == "preference":
        return [Preference(**base, chosen=example.chosen, rejected=example.rejected, margin=example.margin)]
    if wanted == "rating":
        return [
            Rating(**base, response=example.chosen, desirable=True),
            Rating(**{**base, "id": f"{example.id}/rejected"}, response=example.rejected, desirable=False),
        ]
    return [Demonstration(**base, response=example.chosen)]


# ---------------------------------------------------------------- batches


@dataclass
class Batch:
    """P prompts with K responses each, as tensors.

    `prompt` holds what a model reads (token models: input_ids and attention_mask (P, L), left-padded, and the media
    tensors of all prompts one after another); `blocks[key][p]` says how many rows of a media tensor belong to prompt p.
    `response` holds what it wrote (token models: input_ids and mask (P, K, T), right-padded; diffusion: pixels
    (P, K, ...)). `draws` is filled by `Policy.prepare`. `normalizer` is the number of supervised terms that a token mean
    divides by; None means those of this batch alone. `branches` are the same rows in another light: `corrupted` prompts,
    responses to other prompts (`mismatched`), demonstrations of other rows (`auxiliary`). `memory` holds the running
    statistics of an algorithm that has some; what it writes there lasts.

    `len` counts the prompts. Tensors may have one row more, a companion: a masked prompt with a medium, put into batches
    without one so that all processes pass through the same modules in the same order.
    """

    ids: list[str]
    prompt: dict[str, Tensor]
    response: dict[str, Tensor]
    blocks: dict[str, list[int]] = field(default_factory=dict)
    supervision: dict[str, Tensor] = field(default_factory=dict)  # margin (P,), desirable (P, K)
    draws: dict[str, Tensor] = field(default_factory=dict)
    answers: list[str | None] = field(default_factory=list)
    normalizer: Tensor | None = None
    branches: dict[str, Batch] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """A copy on another device."""
        move = {
            name: {k: v.to(device, non_blocking=True) for k, v in getattr(self, name).items()}
            for name in ("prompt", "response", "supervision", "draws")
        }
        normalizer = None if self.normalizer is None else self.normalizer.to(device)
        branches = {name: branch.to(device) for name, branch in self.branches.items()}
        return replace(self, **move, normalizer=normalizer, branches=branches)


@dataclass
class LogLikelihood:
    """Per-term log-likelihoods of responses.

    `terms` (P, K, T) are nats for an exact likelihood, minus mean squared errors for a bound. `mask` (P, K, T) weighs
    them: 1 for a counted token, 0 for padding; 1/T for each of T draws. `statistic` is a further
    number of each term, where it was asked for.
    """

    terms: Tensor
    mask: Tensor
    statistic: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """(P, K): the sum over counted terms."""
        return (self.terms * self.mask).sum(-1)

    @property
    def size(self) -> Tensor:
        """(P, K): how many terms count."""
        return self.mask.sum(-1)

    @property
    def mean(self) -> Tensor:
        """(P, K): the length-normalised log-likelihood."""
        return self.total / self.size.clamp(min=1e-9)


@dataclass
class Rollout:
    """Responses drawn from a policy, with the log-probability of each action at the time of drawing.

    `batch` holds the prompts and the drawn responses in the (P, K) layout, `logprobs` and `mask` are (P, K, A),
    `responses[p][k]` is the decoded response.
    """

    batch: Batch
    responses: list[list[Response]]
    logprobs: Tensor
    mask: Tensor


# ---------------------------------------------------------------- the seam

LikelihoodKind = Literal["exact", "bound"]
Metrics = dict[str, "Tensor"]


class Encoder(Protocol):
    """Turns examples into tensors; holds a processor, never weights, so that data workers can carry it."""

    def encode(self, prompt: Prompt, responses: list[Response]) -> Any: ...

    def collate(self, encoded: Sequence[Any]) -> Batch: ...

    def length(self, encoded: Any) -> int: ...


class Likelihood(Protocol):
    """What a reference offers, and the part of a policy that most algorithms need."""

    def log_likelihood(self, batch: Batch) -> LogLikelihood: ...


class Policy(Likelihood, Protocol):
    """A trainable model of p(response | prompt). It hides everything about families and media."""

    likelihood: LikelihoodKind
    encoder: Encoder

    def prepare(self, batch: Batch) -> Batch: ...

    def sample(self, batch: Batch, n: int) -> Rollout: ...

    def action_logprobs(self, rollout: Rollout) -> Tensor: ...

    def as_reference(self) -> AbstractContextManager[Likelihood]: ...


class RewardModel(Protocol):
    """A policy-like model that scores responses: (P, K) rewards."""

    encoder: Encoder

    def prepare(self, batch: Batch) -> Batch: ...

    def score(self, batch: Batch) -> Tensor: ...


class Algorithm(Protocol):
    """Hyperparameters and a loss.

    Attributes:
        supervision: the kind of rows that it learns from.
        accepts: the likelihoods that it is defined for.
        wants: what a batch must bring besides responses: `margin`, `changed`, `media` in its prompts, or a branch.
        remembers: the running statistics that it keeps in `Batch.memory`.
    """

    supervision: Kind
    accepts: tuple[LikelihoodKind, ...]
    trains: Literal["policy", "reward_model"]
    uses_reference: bool
    wants: tuple[str, ...]
    remembers: tuple[str, ...]

    def __call__(self, policy: Any, batch: Batch) -> tuple[Tensor, Metrics]: ...


class Reward(Protocol):
    """Scores decoded responses: (P, K)."""

    def __call__(self, prompts: list[Prompt], responses: list[list[Response]]) -> Tensor: ...
