"""The production loader of models: policies, reward models and encoders of a `model` section."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.models.families.family import Family
from aa_lightning.models.families.table import FAMILIES, family_of, is_listed
from aa_lightning.models.image_tokens.load import PictureWriter
from aa_lightning.models.lora import Adapters, add_adapters
from aa_lightning.models.reference import Reference, choose_form, frozen
from aa_lightning.models.reward import classifier
from aa_lightning.models.reward.scorer import Head, Scorer, tied
from aa_lightning.models.source import source_of
from aa_lightning.models.speech.load import SpeechWriter
from aa_lightning.models.state_dict import Weights, below, folder_of, of_checkpoint, take
from aa_lightning.models.token.critic import OwnCritic, ValueHead
from aa_lightning.models.token.encoder import Limits, TokenEncoder
from aa_lightning.models.token.features import features_store
from aa_lightning.models.token.kept import KeptReference, Unread, store_of
from aa_lightning.models.token.last_layer import shorten
from aa_lightning.models.token.lean import slim
from aa_lightning.models.token.load import TextWriter
from aa_lightning.models.token.neftune import add_noise
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.models.token.towers import frozen_towers, keep_towers
from aa_lightning.models.token.trial import tried

if TYPE_CHECKING:
    from aa_lightning.models.diffusion.encoder import PixelEncoder
    from aa_lightning.models.diffusion.options import Diffusion
    from aa_lightning.models.diffusion.policy import DiffusionPolicy

_HEAD = "network.head.weight"  # of a reward model, by its own names
_WRITERS = {"text": TextWriter, "image": PictureWriter, "audio": SpeechWriter}  # by the richest medium that is written


def load_policy(
    options: ModelOptions | Diffusion,
    limits: Limits,
    reference: bool,
    checkpoint: Path | None = None,
    noise: float = 0.0,
    weightless: bool = False,
    critics: int = 0,
    process_reward: bool = False,
) -> AutoregressivePolicy | DiffusionPolicy:
    """Load a policy with the reference that its algorithm needs.

    Args:
        options: the `model` section of the configuration.
        limits: longest prompt and response.
        reference: whether the algorithm compares with a reference.
        checkpoint: of a run, whose weights policy and reference start from.
        noise: α of the noise on token embeddings in training.
        weightless: whether its weights are on the meta device, to count and to plan; token models alone.
        critics: how many the algorithm learns with; of token models alone.
        process_reward: whether the critic is a model of likelihoods, whatever `model.critic` says.
    """
    if options.likelihood == "elbo":
        from aa_lightning.models.diffusion.policy import load_diffusion

        return load_diffusion(options, reference, checkpoint)
    model, writer, stands_alone = _loaded(options, limits, weightless)
    _check_writes(model, options)
    if checkpoint is not None:
        _take_backbone(model, of_checkpoint(checkpoint, options.family), checkpoint)
    form = choose_form(options.reference, options.lora.rank, reference)
    copied = frozen(writer.network(copy.deepcopy(model))) if form == "frozen" else None
    if process_reward:
        critic = _likelihoods(options, model, writer)
    else:
        critic = _critic(options, limits, model, writer, critics, weightless) if critics else None
    store = store_of(model, writer.beside, options) if form == "kept" and not weightless else None
    adapters = prepare_training(model, writer.family, options, stands_alone and checkpoint is None)
    if not weightless:  # what towers have read is found again by its numbers
        _keep_frozen(model, copied, writer.family, options)
    if form == "kept":
        stays = KeptReference(store, adapters) if store is not None else Unread(adapters)
    else:
        stays = Reference(form, copied, adapters)
    policy = writer.policy(model, stays, adapters)
    policy.critic = critic
    if noise:
        add_noise(policy.network.writer, noise)
        policy.network.prefix_sharing = "never"  # noise is scaled by the length of padded rows
    return policy


def load_scorer(
    options: ModelOptions,
    limits: Limits,
    checkpoint: Path | None = None,
    heads: int = 1,
    speaks: int = 0,
    weightless: bool = False,
) -> Scorer:
    """Load a reward model: the backbone of a token model with a head of scores.

    Args:
        checkpoint: of a run, whose weights it starts from: a reward model's, head included, or a policy's.
        heads: scores of a response.
        speaks: tokens that it may say about a response before it scores it.
        weightless: as for `load_policy`.
    """
    model, writer, stands_alone = _loaded(options, limits, weightless)
    weight = classifier.saved_head(folder_of(options.path, options.tiny), model.config, options.revision)
    if speaks:
        _check_writes(model, options)
    if checkpoint is not None:
        weights = of_checkpoint(checkpoint, options.family)
        _take_backbone(model, weights, checkpoint)
        weight = weights.get(_HEAD)
    adapters = prepare_training(model, writer.family, options, stands_alone and checkpoint is None)
    if not weightless:
        _keep_frozen(model, None, writer.family, options)
    return writer.reward_model(model, Head(weight, heads, speaks), adapters)


def _likelihoods(options: ModelOptions, model: nn.Module, writer: TextWriter) -> nn.Module:
    """Make a second network of the policy's weights, which trains as the policy does."""
    model = copy.deepcopy(model)
    network = writer.network(model)
    prepare_training(model, writer.family, options)
    return network


def _critic(
    options: ModelOptions, limits: Limits, model: nn.Module, writer: TextWriter, count: int, weightless: bool
) -> ValueHead | OwnCritic:
    """Make a head on the policy's states, or a network of its own: of the policy's weights, or of a reward model's."""
    start, weight, own = options.critic_init, None, options.critic == "own"
    if start is not None and start.endswith(".ckpt"):
        weight = of_checkpoint(Path(start), options.family).get(_HEAD)
    elif start is not None:
        beginning = replace(options, path=start)
        weight = classifier.saved_head(folder_of(start, {}), source_of(beginning).config, options.revision)
    if own and start is not None and not start.endswith(".ckpt"):
        model, writer, _ = _loaded(beginning, limits, weightless)
    elif own:
        model = copy.deepcopy(model)
        if start is not None:
            _take_backbone(model, of_checkpoint(Path(start), options.family), Path(start))
    network = writer.network(model)
    head = ValueHead(network.width, count)
    if weight is not None:
        head.start_from(weight)
    if not own:
        return head
    prepare_training(model, writer.family, options)
    return OwnCritic(network, head)


def load_encoder(options: ModelOptions | Diffusion, limits: Limits) -> TokenEncoder | PixelEncoder:
    """Load the encoder alone, without weights."""
    if options.likelihood == "elbo":
        from aa_lightning.models.diffusion.policy import load_pixel_encoder

        return load_pixel_encoder(options)
    source = source_of(options)
    family = _family(source.config, options)
    return _WRITERS[family.writes[-1]].encoder(source.config, source.processor(), family, options, limits)


def outline(options: ModelOptions) -> nn.Module:
    """Make the model without memory behind its weights, to count and to plan."""
    return source_of(options).outline(options.dtype)


def check_training(options: ModelOptions | Diffusion) -> None:
    """Refuse what cannot train, as loading would, without weights.

    Raises:
        ValueError: freeze groups or layers for adapters that the model does not have.
    """
    if options.likelihood == "elbo":  # it has no freeze groups, and its pipeline is loaded whole
        return
    model = outline(options)
    prepare_training(model, _family(model.config, options), options)


def _loaded(options: ModelOptions, limits: Limits, weightless: bool = False) -> tuple[nn.Module, TextWriter, bool]:
    """The model, what makes it a policy, and whether its weights are those that `model.path` holds."""
    source = source_of(options)
    model = source.outline(options.dtype) if weightless else source.model()
    processor, family = source.processor(), _family(model.config, options)
    if not weightless:  # what is tried are numbers
        family = tried(model, processor, family, options.prefix_sharing)
    if is_listed(model.config):
        slim(model)
        if "audio" not in family.writes:  # a talker reads prompts too
            shorten(model.get_decoder())
    writer = _WRITERS[family.writes[-1]](model, processor, family, options, limits)
    return model, writer, source.stands_alone


def _check_writes(model: nn.Module, options: ModelOptions) -> None:
    """Refuse a reward model where words are to be written or read.

    Raises:
        ValueError: its export has no head of tokens.
    """
    if classifier.is_classifier(model.config) and not tied(model):
        raise ValueError(
            f"{options.path} holds a reward model ({model.config.architectures[0]}), which has a head of scores and none of "
            "tokens, so it gives words no probabilities: type init=<a run that trained a policy>, or init=<file>.ckpt with a "
            "checkpoint of the reward model's run, which holds both heads"
        )


def _take_backbone(model: nn.Module, weights: Weights, checkpoint: Path) -> None:
    """Weights of a policy's checkpoint, or of a reward model's without its head."""
    prefix = "network.network.model." if _HEAD in weights else "network.model."
    take(model, below(prefix, weights), checkpoint)


def _family(config: Any, options: ModelOptions) -> Family:
    """The model's row; one put together from parts answers to the freeze groups of all such models, whatever its shape."""
    row = family_of(config)
    return replace(row, groups=FAMILIES[options.family].groups) if options.family in row.also else row


def _keep_frozen(model: nn.Module, copied: nn.Module | None, family: Family, options: ModelOptions) -> None:
    """Let towers that do not train look up what they have read, those of a frozen reference among what the policy's read."""
    store, towers = features_store(options.keep_features), frozen_towers(model, family)
    for one in [model] if copied is None else [model, copied.model]:
        keep_towers(one, towers, store)


def prepare_training(
    model: nn.Module, family: Family, options: ModelOptions, base_stands_alone: bool = True
) -> Adapters | None:
    """Freeze what shall not train, put adapters in, switch checkpointing on."""
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if options.lora.rank > 0:
        return add_adapters(model, family, options.lora, base_stands_alone)
    still = [family.parameters(group) for group in options.freeze]
    unused = family.unused(model.config)
    if unused is not None:
        still.append(re.compile(unused))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(pattern.search(name) for pattern in still))
    return None
