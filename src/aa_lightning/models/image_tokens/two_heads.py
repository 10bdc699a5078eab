"""Janus: pictures are read through a tower, and written as codes with embeddings and a head of their own (2410.13848).

Codes stand behind the words: code c is token V + c, where V is the number of words. The places of a picture are those of
the head of codes, all others those of the head of words; which is which is fixed by the spelling, so that a response of
words and pictures has an exact likelihood.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aa_lightning.models.image_tokens.policy import PictureNetwork
from aa_lightning.models.token.logprobs import Reduction, reduce_distribution
from aa_lightning.models.token.multi_head import KindHeads, marked


class SplitNetwork(PictureNetwork):
    """A model with one head for words and one for codes, without its VQ model."""

    @property
    def words(self) -> int:
        """V, how many words there are."""
        return self.model.get_output_embeddings().out_features

    def logprobs(self, states: Tensor, ids: Tensor, own: Tensor, temperature: float) -> Tensor:
        """(N,) log-probabilities: of words among all words, of codes among all codes.

        Raises:
            ValueError: words are read in the places of a picture, or codes in those of a text.
        """
        codes = own >= self.words
        if not torch.equal(ids >= self.words, codes):
            raise ValueError(
                "tokens of other responses are read here in the places of this one's, and its images stand elsewhere: "
                "models that write images with a head of their own cannot do this. Choose another algo="
            )
        return self._by_kind.logprobs(marked(states, codes), ids, temperature)

    def reduce_distribution(self, states: Tensor, own: Tensor, of: Reduction) -> Tensor:
        """(N, …) `of` over words in the places of words, over codes in those of codes."""
        return reduce_distribution(marked(states, own >= self.words), self._by_kind, of)

    @property
    def head(self) -> nn.Module:
        """(…, H) → (…, V + C) logits of words and codes."""
        return _Both(self.model.get_output_embeddings(), self._of_codes)

    @property
    def _by_kind(self) -> KindHeads:
        return KindHeads([self.model.get_output_embeddings(), self._of_codes], [0, self.words])

    @property
    def _of_codes(self) -> nn.Module:
        head = self.backbone.generation_head
        return _Sized(head, self.model.get_output_embeddings().in_features, head.vision_head.out_features)


class _Sized(nn.Module):
    """A head that says how wide states are, and how many logits it gives."""

    def __init__(self, head: nn.Module, in_features: int, out_features: int):
        super().__init__()
        self.head, self.in_features, self.out_features = head, in_features, out_features

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)


class _Both(nn.Module):
    """Logits of words, and behind them those of codes."""

    def __init__(self, words: nn.Linear, codes: _Sized):
        super().__init__()
        self.words, self.codes = words, codes
        self.out_features = words.out_features + codes.out_features

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.cat([self.words(hidden), self.codes(hidden)], -1)
