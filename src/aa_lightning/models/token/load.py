"""A model that writes text, made what trains: its network, its encoder, its policy, its reward model."""

from __future__ import annotations

from typing import Any

from torch import nn

from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.models.families.family import Family
from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Reference
from aa_lightning.models.reward.scorer import Head, Scorer
from aa_lightning.models.token.encoder import Limits, TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.policy import AutoregressivePolicy


class TextWriter:
    """Makes policies and reward models of a model that writes text.

    Args:
        model: loaded, with its processor.
        family: its row.
        options: the `model` section of the configuration.
        limits: longest prompt and response.

    Attributes:
        beside: networks outside of the model that make what it reads.
    """

    def __init__(self, model: nn.Module, processor: Any, family: Family, options: ModelOptions, limits: Limits | None):
        self.family, self.options = family, options
        self.beside: list[nn.Module] = []
        self.own_encoder = self.encoder(model.config, processor, family, options, limits)

    @staticmethod
    def encoder(
        config: Any, processor: Any, family: Family, options: ModelOptions, limits: Limits | None
    ) -> TokenEncoder:
        """Make the encoder, without weights."""
        return TokenEncoder(processor, family, limits, options.frames)

    def network(self, model: nn.Module) -> TokenNetwork:
        """Put a model into the (P, K) layout."""
        return TokenNetwork(model, self.family, self.options.prefix_sharing)

    def policy(self, model: nn.Module, reference: Reference, adapters: Adapters | None) -> AutoregressivePolicy:
        """Make the policy around the model."""
        return AutoregressivePolicy(self.network(model), self.own_encoder, reference, adapters)

    def reward_model(self, model: nn.Module, head: Head, adapters: Adapters | None) -> Scorer:
        """Make a reward model around the model."""
        return Scorer(self.network(model), self.own_encoder, head, adapters)
