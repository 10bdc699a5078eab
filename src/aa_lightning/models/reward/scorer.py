"""Reward models: numbers for a response, read from the hidden state of its last token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from aa_lightning.models.lora import Adapters
from aa_lightning.models.reward import classifier
from aa_lightning.models.state_dict import below
from aa_lightning.models.token import layouts
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.sampling import Except, draw
from aa_lightning.models.whole import take_weights
from aa_lightning.types import Batch, LogLikelihood, Sampling

_TITLE = "# Reward model"
_AS_CLASSIFIER = (
    "`AutoModelForSequenceClassification.from_pretrained` of this folder scores whole conversations, as the chat template "
    "renders them, padded on either side."
)
_BESIDE = (
    "The folder holds the language model, and `score.safetensors` the head beside it (`score.weight`, scores × width): "
    "scores are the last hidden state at the token that ends the answer, times the head."
)
_REWARD = "The reward of an answer is the mean of its scores; larger is better."


@dataclass
class Head:
    """Head of a reward model.

    Attributes:
        weight: (count, width) to start from; None: random.
        count: numbers that a response is given; its reward is their mean.
        speaks: tokens that the model may say about a response before it scores it; its own head then trains too.
    """

    weight: Tensor | None = None
    count: int = 1
    speaks: int = 0


class ScoringNetwork(nn.Module):
    """A backbone with a linear head, read at the last token of each response, never at padding.

    Raises:
        ValueError: the weight to start from gives another number of scores.
    """

    def __init__(self, network: TokenNetwork, head: Head):
        super().__init__()
        self.network = network
        width = network.model.config.get_text_config().hidden_size
        self.head = nn.Linear(width, head.count, bias=False)
        nn.init.normal_(self.head.weight, std=1 / (width + 1))
        if head.weight is not None:
            self._start_from(head.weight)
        if head.speaks == 0 and not tied(network.model):
            network.model.get_output_embeddings().requires_grad_(False)  # never used here

    @torch.no_grad()
    def _start_from(self, weight: Tensor) -> None:
        if len(weight) != len(self.head.weight):
            raise ValueError(
                f"the reward model to start from gives {len(weight)} scores per response, and algo needs "
                f"{len(self.head.weight)}: type init=<a policy>, or init=null"
            )
        self.head.weight.copy_(weight)

    def forward(
        self, batch: Batch, places: Tensor | None = None, spoken: Tensor | None = None
    ) -> tuple[Tensor, LogLikelihood | None]:
        """(P, K, S, count) scores, and log-likelihoods from the same hidden states.

        Args:
            places: (P, K, S) tokens of responses at which scores are read; None: the last ones.
            spoken: (P, K, T) 1 for tokens whose log-probabilities are read; None: none.
        """
        hidden, layout = self.network.hidden(batch)
        mask, real = batch.response["mask"], len(batch)
        if places is None:
            places = (mask.sum(-1).long() - 1).clamp(min=0)[..., None]  # a companion row has no token
        rows, columns = (where[: len(places)].gather(-1, places) for where in (layout.rows, layout.own))
        scores = self.head(hidden[rows, columns].to(self.head.weight.dtype)).float()[:real]
        said = None if spoken is None else self.network.read(hidden, layout, batch.response["input_ids"], spoken)
        return scores + self.network.idle(hidden, batch), said


class Scorer(nn.Module):
    """A trainable reward model over token responses.

    Args:
        network: the backbone.
        encoder: of its batches.
        head: what it reads scores with.
        adapters: those in the backbone, where there are any; the head trains beside them.
    """

    def __init__(self, network: TokenNetwork, encoder: TokenEncoder, head: Head, adapters: Adapters | None = None):
        super().__init__()
        self.network, self.encoder, self.adapters = ScoringNetwork(network, head), encoder, adapters
        self.speaks = head.speaks

    def reference_modules(self) -> list[nn.Module]:
        """A reward model is compared with nothing."""
        return []

    def prepare(self, batch: Batch) -> Batch:
        """Nothing is random in a reward."""
        return batch

    def score(self, batch: Batch) -> Tensor:
        """(P, K) rewards of complete responses, the mean of all heads. A model that speaks criticises each one before."""
        return self.score_criteria(self.criticised(batch) if self.speaks else batch).mean(-1)

    def criticised(self, batch: Batch) -> Batch:
        """The same responses, each with the likeliest words about it behind it."""
        ids, mask = batch.response["input_ids"], batch.response["mask"].bool()
        network, greedy = self.network.network, Sampling(max_new_tokens=self.speaks, temperature=0.0)
        rules = Except(self.encoder.placeholders)
        drawn = draw(network, rules, self.encoder, layouts.complete(batch, network.family), 1, greedy)
        p, k, _ = ids.shape
        words, said = (values[:, 0].unflatten(0, (p, k)) for values in (drawn.tokens, drawn.said.bool()))
        whole = [
            [torch.cat([ids[i, j][mask[i, j]], words[i, j][said[i, j]]]).cpu() for j in range(k)] for i in range(p)
        ]
        response = {name: tensor.to(ids.device) for name, tensor in self.encoder.pad_responses(whole).items()}
        return replace(batch, response=response)

    def score_criteria(self, batch: Batch) -> Tensor:
        """(P, K, heads)."""
        return self.network(batch)[0][:, :, 0]

    def score_steps(self, batch: Batch, ends: Tensor) -> Tensor:
        """(P, K, S) rewards read at the tokens at which steps end."""
        return self.network(batch, ends)[0].mean(-1)

    def score_and_speak(self, batch: Batch, spoken: Tensor) -> tuple[Tensor, LogLikelihood]:
        """(P, K) rewards, and the log-likelihood of those tokens of the same responses that are marked, (P, K, T)."""
        scores, said = self.network(batch, spoken=spoken)
        return scores[:, :, 0].mean(-1), said

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> str | None:
        """Write the classifier that transformers loads by itself, adapters merged, and the processor; where it cannot, the
        language model with the head of scores beside it.

        Args:
            weights: gathered weights by this module's names, where a strategy sharded them; None: its own.

        Returns:
            Why it is no classifier, or what must be known to score with it, in a sentence; None: nothing.
        """
        model, own = self.network.network.model, below("network.network.model.", weights)
        head = self.network.head.weight if weights is None else weights["network.head.weight"]
        head = head.detach().cpu().contiguous()
        whole = model.state_dict() if own is None else own
        if self.adapters is not None:
            whole = self.adapters.merged(own)
            self.adapters.save_beside(folder, own)
        why = classifier.why_not(model, self.encoder, self.speaks)
        if why is None:
            told = classifier.save(model, whole, head, self.encoder, folder)
            remark = None if told is None else f"the export scores conversations, and {told}"
        else:
            model.save_pretrained(folder, state_dict=whole)
            classifier.save_beside(head, folder, self.speaks)
            self.encoder.processor.save_pretrained(folder)
            remark = f"the export is a language model with score.safetensors beside it: {why}"
        card = [_TITLE, _AS_CLASSIFIER if why is None else _BESIDE, _REWARD, *filter(None, [remark])]
        (folder / "README.md").write_text("\n\n".join(card) + "\n", encoding="utf-8")
        return remark

    def restore(self, folder: Path) -> None:
        """Take the weights that `save` wrote."""
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = self.network.network.model
        if self.adapters is not None:
            self.adapters.load(folder)
        else:
            take_weights(model.base_model if classifier.is_classifier(config) else model, folder)
        head = classifier.saved_head(str(folder), config)
        assert head is not None, folder
        with torch.no_grad():
            self.network.head.weight.copy_(head)


def tied(model: nn.Module) -> bool:
    """Tell whether the head of tokens is the embedding of tokens."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight
