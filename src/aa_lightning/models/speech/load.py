"""A model that answers with speech, made what trains: its encoder, the functions that a user brings, its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.configuration.targets import named_object
from aa_lightning.models.families.family import Family
from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Reference
from aa_lightning.models.speech.encoder import SpeechEncoder
from aa_lightning.models.speech.policy import SpeechNetwork, SpeechPolicy
from aa_lightning.models.speech.qwen2_5_omni import Qwen25Talker
from aa_lightning.models.speech.qwen3_omni import Qwen3Talker
from aa_lightning.models.speech.talker import Talker
from aa_lightning.models.token.encoder import Limits
from aa_lightning.models.token.load import TextWriter

TALKERS: dict[str, type[Talker]] = {"qwen2_5_omni_speech": Qwen25Talker, "qwen3_omni_speech": Qwen3Talker}


class SpeechWriter(TextWriter):
    """Makes policies of a model that writes text and speaks it."""

    @staticmethod
    def encoder(
        config: Any, processor: Any, family: Family, options: ModelOptions, limits: Limits | None
    ) -> SpeechEncoder:
        """Make the encoder, without weights."""
        vocabulary = config.thinker_config.get_text_config().vocab_size
        codec, known = function("encoder", options.speech.encoder), TALKERS[family.name].codes_of(config)
        return SpeechEncoder(processor, family, limits, options.frames, vocabulary, known, codec)

    def network(self, model: nn.Module) -> SpeechNetwork:
        """Put thinker and talker into the (P, K) layout."""
        talker, speaker = TALKERS[self.family.name], self.options.speech.speaker
        return SpeechNetwork(model, self.family, self.options.prefix_sharing, talker, speaker)

    def policy(self, model: nn.Module, reference: Reference, adapters: Adapters | None) -> SpeechPolicy:
        """Make the policy around the model."""
        speech = self.options.speech
        decoder = function("decoder", speech.decoder)
        return SpeechPolicy(self.network(model), self.own_encoder, reference, adapters, decoder, speech.max_steps)


def function(option: str, path: str | None) -> Callable | None:
    """The function that an option of `model.speech` names; None stays None."""
    return None if path is None else named_object(f"model.speech.{option}", path, "a function", callable)
