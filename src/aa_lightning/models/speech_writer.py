"""The parts of a model that answers with speech, put together: its encoder, the functions that a user brings, its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from aa_lightning.config import Model as ModelOptions
from aa_lightning.models.adapters import Adapters
from aa_lightning.models.encoding import Limits
from aa_lightning.models.family import Family
from aa_lightning.models.named import named
from aa_lightning.models.reference import Reference
from aa_lightning.models.speech import SpeechNetwork, SpeechPolicy
from aa_lightning.models.speech_encoding import SpeechEncoder


def speech_network(model: nn.Module, family: Family, options: ModelOptions) -> SpeechNetwork:
    """Thinker and talker in the (P, K) layout."""
    return SpeechNetwork(model, family, options.layout, options.speech.speaker)


def speech_encoder(
    config: Any, processor: Any, family: Family, options: ModelOptions, limits: Limits | None
) -> SpeechEncoder:
    """The encoder, from configuration and processor alone."""
    vocabulary = config.thinker_config.get_text_config().vocab_size
    end = config.talker_config.tts_codec_end_token_id
    codec = function("encoder", options.speech.encoder)
    return SpeechEncoder(processor, family, limits, options.frames, vocabulary, end, codec)


def speech_policy(
    model: nn.Module,
    processor: Any,
    family: Family,
    options: ModelOptions,
    limits: Limits,
    reference: Reference,
    adapters: Adapters | None,
) -> SpeechPolicy:
    """The policy around the model."""
    encoder = speech_encoder(model.config, processor, family, options, limits)
    decoder = function("decoder", options.speech.decoder)
    network, speech = speech_network(model, family, options), options.speech
    return SpeechPolicy(network, encoder, reference, adapters, decoder, speech.speaker, speech.longest)


def function(option: str, path: str | None) -> Callable | None:
    """The function that an option of `model.speech` names; None stays None."""
    return None if path is None else named(f"model.speech.{option}", path, "a function", callable)
