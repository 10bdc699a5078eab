"""The parts of a model that answers with speech, put together: its encoder, the functions that a user brings, its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from aa_lightning.configuration.check import Model as ModelOptions
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

TALKERS: dict[str, type[Talker]] = {"qwen2_5_omni_speech": Qwen25Talker, "qwen3_omni_speech": Qwen3Talker}


def speech_network(model: nn.Module, family: Family, options: ModelOptions) -> SpeechNetwork:
    """Thinker and talker in the (P, K) layout."""
    return SpeechNetwork(model, family, options.layout, TALKERS[family.name], options.speech.speaker)


def speech_encoder(
    config: Any, processor: Any, family: Family, options: ModelOptions, limits: Limits | None
) -> SpeechEncoder:
    """The encoder, from configuration and processor alone."""
    vocabulary = config.thinker_config.get_text_config().vocab_size
    codec, known = function("encoder", options.speech.encoder), TALKERS[family.name].codes_of(config)
    return SpeechEncoder(processor, family, limits, options.frames, vocabulary, known, codec)


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
    network = speech_network(model, family, options)
    return SpeechPolicy(network, encoder, reference, adapters, decoder, options.speech.longest)


def function(option: str, path: str | None) -> Callable | None:
    """The function that an option of `model.speech` names; None stays None."""
    return None if path is None else named_object(f"model.speech.{option}", path, "a function", callable)
