"""The vocabulary of the project: examples, batches, log-likelihoods, and the three nouns of the seam.

Axis letters are the same everywhere: P prompts, K responses per prompt, T terms of a response, A actions. A term is one
summand of a response's log-likelihood: a token, or one (timestep, noise) draw. Preference data has K = 2 in the order
(chosen, rejected).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# {"type": "text" | "image" | "audio" | "video", <the type>: content}, media with the "column" that they come from; a text
# of an answer may have "tool_calls" and "reasoning_content" beside it, which chat templates write
Part = dict[str, Any]
# {"role": "system" | "user" | "assistant" | "tool", "content": list[Part]}, with "name" and "tool_call_id" of a tool's turn
Message = dict[str, Any]
Response = list[Part]
RowKind = Literal["prompt", "demonstration", "rating", "preference", "ranking", "feedback"]
Kind = Literal[RowKind, "critique"]  # critiques are made of feedback; no row is one
Check = Literal["exact", "number", "choice", "contains", "math", "shapes"]  # verifiers of rewards/answers.py


def text(content: str) -> Part:
    """A text part."""
    return {"type": "text", "text": content}


# ---------------------------------------------------------------- examples, poorest to richest


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A conversation that ends before the answer. `answer` is a checkable reference answer where the data has one, and
    `check` the verifier that compares it; `tools` are what the model may call, as its chat template reads them."""

    id: str
    messages: list[Message]
    answer: str | None = None
    check: Check = "exact"
    tools: list[dict[str, Any]] | None = None
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
    """One response and whether it is desirable (KTO and kin). `steps` says which of its parts are right."""

    response: Response
    desirable: bool
    steps: tuple[bool, ...] | None = None

    @property
    def responses(self) -> list[Response]:
        return [self.response]


@dataclass(frozen=True, kw_only=True)
class Preference(Prompt):
    """Two responses, the first preferred, unless it is a tie. `margin` is by how much, in the data's own unit; `safe`
    says of both whether they are harmless."""

    chosen: Response
    rejected: Response
    margin: float | None = None
    safe: tuple[bool, bool] | None = None
    tie: bool = False

    @property
    def responses(self) -> list[Response]:
        return [self.chosen, self.rejected]


@dataclass(frozen=True, kw_only=True)
class Feedback(Preference):
    """A preference with language feedback: critiques of (chosen, rejected), refinements, scores per dimension."""

    critique: tuple[str | None, str | None] = (None, None)
    refinement: tuple[Response | None, Response | None] = (None, None)
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ranking(Prompt):
    """K ≥ 2 responses, the best first, and a score of each, the larger the better; equal scores are ties."""

    ranked: list[Response]
    scores: list[float]

    @property
    def responses(self) -> list[Response]:
        return self.ranked


@dataclass(frozen=True, kw_only=True)
class Critique(Demonstration):
    """A critique of an answer; the prompt ends with the answer and the request to judge it."""


Example = Prompt  # any of these; the richer kinds are subclasses


# ---------------------------------------------------------------- batches


@dataclass
class Batch:
    """P prompts with K responses each, as tensors.

    `prompt` holds what a model reads (token models: input_ids and attention_mask (P, L), left-padded, and the media
    tensors of all prompts one after another); `blocks[key][p]` says how many rows of a media tensor belong to prompt p.
    `response` holds what it wrote (token models: input_ids and mask (P, K, T), right-padded, and the key (P, K, 16) under
    which a kept reference finds it; diffusion: pixels (P, K, ...)). `draws` is filled by `Policy.prepare`. `branches` are
    alternative inputs of the same rows: `corrupted` prompts, responses to other prompts (`mismatched`), demonstrations of
    other rows (`auxiliary`), the refined response (`gold`).

    `len` counts prompts. Tensors may have one row more, a companion: a masked prompt with a medium, put into batches without
    one so that all processes pass through the same modules in the same order.
    """

    ids: list[str]
    prompt: dict[str, Tensor]
    response: dict[str, Tensor]
    blocks: dict[str, list[int]] = field(default_factory=dict)
    # margin, tie (P,), desirable, scores, safe (P, K), ratings (P, K, criteria), critique (P, K, T), steps (P, K, S)
    supervision: dict[str, Tensor] = field(default_factory=dict)
    draws: dict[str, Tensor] = field(default_factory=dict)
    answers: list[str | None] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)  # of the answers
    branches: dict[str, Batch] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """A copy on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """A copy in memory that a GPU fetches by itself; torch's loaders call it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        held = {"prompt": self.prompt, "response": self.response, "supervision": self.supervision, "draws": self.draws}
        changed = {name: {key: change(tensor) for key, tensor in tensors.items()} for name, tensors in held.items()}
        branches = {name: branch._each(change) for name, branch in self.branches.items()}
        return replace(self, **changed, branches=branches)


@dataclass
class LogLikelihood:
    """Per-term log-likelihoods of responses.

    `terms` (P, K, T) are nats for an exact likelihood, minus mean squared errors for a bound. `mask` (P, K, T) weighs them:
    1 for a counted token, 0 for padding; 1/T for each of T draws. `statistic` is another number of each term, `measures` are
    constants of each by the names of metrics. `scale` is how many nats an error of 1 is taken for; 1 for an exact likelihood.
    """

    terms: Tensor
    mask: Tensor
    statistic: Tensor | None = None
    measures: dict[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0

    @property
    def total(self) -> Tensor:
        """(P, K): the sum over counted terms."""
        return (self.terms * self.mask).sum(-1)

    @property
    def nats(self) -> Tensor:
        """(P, K): the total as objectives compare it, so that their β is the same for both kinds of likelihood."""
        return self.scale * self.total

    @property
    def size(self) -> Tensor:
        """(P, K): how many terms count."""
        return self.mask.sum(-1)

    @property
    def mean(self) -> Tensor:
        """(P, K): the length-normalised log-likelihood."""
        return self.total / self.size.clamp(min=1e-9)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Options of sampling responses; what a kind of policy has no use for is not looked at.

    A text has `max_new_tokens` at most. `temperature` divides the logits; 0 takes the likeliest token every time. Draws to
    each of P prompts follow from its own of the `seeds`, whatever is drawn beside them; without, from the global generator.
    `reference` is the share s of the reference in what is drawn from, π^(1−s) π_ref^s; at 1 it is the reference itself.
    """

    max_new_tokens: int = 64
    temperature: float = 1.0
    seeds: tuple[int, ...] = ()
    reference: float = 0.0


SAMPLING = Sampling()


@dataclass
class Rollout:
    """Responses drawn from a policy, with the log-probability of each action at the time of drawing.

    `batch` holds prompts and drawn responses in the (P, K) layout, `logprobs` and `mask` are (P, K, A), `responses[p][k]`
    is decoded, `ended` (P, K) tells whether it said its end and was not cut at the limit.
    """

    batch: Batch
    responses: list[list[Response]]
    logprobs: Tensor
    mask: Tensor
    ended: Tensor


# ---------------------------------------------------------------- the seam

Statistic = Literal["collision", "divergence", "entropy", "argmax", "distribution"]  # of a token's whole distribution
LikelihoodKind = Literal["exact", "elbo"]
Metrics = dict[str, "Tensor"]


class Encoder(Protocol):
    """Turns examples into tensors; holds a processor, never weights, so that data workers can carry it."""

    def encode(self, prompt: Prompt, responses: list[Response]) -> Any: ...

    def collate(self, encoded: Sequence[Any]) -> Batch: ...

    def with_drawn(self, encoded: Sequence[Any], response: dict[str, Tensor]) -> Batch: ...

    def length(self, encoded: Any) -> int: ...

    def part_ends(self, prompt: Prompt, response: Response) -> list[int]: ...

    def with_companions(self, media: frozenset[str]) -> Encoder: ...


class Likelihood(Protocol):
    """The protocol of references, and the part of a policy that most algorithms need."""

    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """Log-likelihoods of the responses of a batch.

        Args:
            tokens: (P, K, T) other tokens, read in the places of the response's.
            statistic: of each token's whole distribution, (P, K, T): log Σ_v p_v² (`collision`), KL(reference ‖ policy)
                (`divergence`), `entropy` in nats, the likeliest (`argmax`); or (N, V) at the counted (`distribution`).
            measure: whether what only metrics need comes along as `measures`, where the likelihood is of tokens.
        """

    def action_logprobs(self, rollout: Rollout) -> Tensor: ...  # (P, K, A), of the distribution that drew


class Policy(Likelihood, Protocol):
    """A trainable model of p(response | prompt). It hides everything about families and media."""

    likelihood: LikelihoodKind
    encoder: Encoder

    def prepare(self, batch: Batch) -> Batch: ...

    def sample(self, batch: Batch, n: int, sampling: Sampling = SAMPLING) -> Rollout: ...

    def as_reference(self) -> AbstractContextManager[Likelihood]: ...


class RewardModel(Protocol):
    """A policy-like model that scores responses: (P, K) rewards."""

    encoder: Encoder
    speaks: int  # tokens that it may say about a response before it scores it

    def prepare(self, batch: Batch) -> Batch: ...

    def score(self, batch: Batch) -> Tensor: ...

    def score_criteria(self, batch: Batch) -> Tensor: ...

    def score_steps(self, batch: Batch, ends: Tensor) -> Tensor: ...

    def score_and_speak(self, batch: Batch, spoken: Tensor) -> tuple[Tensor, LogLikelihood]: ...


class Algorithm(Protocol):
    """Hyperparameters and a loss. A class of the user's own needs `__call__` alone, which gets a step too where it has a
    parameter `step` (`algos/step.py`); `algos/plain.py` has the rest.

    Attributes:
        supervision, accepts: the kind of rows that it learns from; the likelihoods that it is defined for.
        uses_reference, of_reference: whether it reads `policy.as_reference()`; of which branches with responses, None: more.
        wants: what a batch must bring besides responses: `margin`, `safe`, `tie`, `ratings`, `critique`, `steps`,
            `changed`, `media` in its prompts, or a branch.
        corruption, criteria: what makes the `corrupted` branch, or None; what the `ratings` are of.
        remembers, ref_sync: running statistics that it keeps from step to step; how the reference follows, or None.
        noise, heads, speaks: α of the noise on a policy's token embeddings in training (NEFTune, 2310.05914); numbers that a
            reward model gives a response, and tokens that it may say before.
        draws_responses: whether it learns from what the policy draws, by `credit(experience)`. Then `critics` read it (one of
            likelihoods is a `process_reward`), `needs_greedy` ones beside, `needs_group` of several, `reads_equal` ones.
        rivals: share of the reference in what draws the second half of each group (`Sampling.reference`); 0: there is none.
    """

    supervision: Kind
    accepts: tuple[LikelihoodKind, ...]
    trains: Literal["policy", "reward_model"]
    uses_reference: bool
    of_reference: tuple[str, ...] | None
    wants: tuple[str, ...]
    corruption: Any
    criteria: Collection[str]
    remembers: tuple[str, ...]
    ref_sync: Any
    noise: float
    heads: int
    speaks: int
    critics: int
    process_reward: bool
    draws_responses: bool
    needs_greedy: bool
    needs_group: bool
    reads_equal: bool
    rivals: float

    def normalizer(self, batch: Batch) -> float | list[float]: ...

    def __call__(self, policy: Any, batch: Batch) -> tuple[Tensor, Metrics]: ...
