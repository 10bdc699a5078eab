"""The production loader of token models: a folder, a hub id or a tiny offline build, through transformers' Auto classes."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from aa_lightning.configuration.check import Model as ModelOptions
from aa_lightning.models.composed import load as parts
from aa_lightning.models.families.family import Family
from aa_lightning.models.families.table import FAMILIES, family_of, trained_part
from aa_lightning.models.image_tokens.encoder import PictureEncoder
from aa_lightning.models.image_tokens.families import PICTURE_FAMILIES
from aa_lightning.models.image_tokens.load import PictureWriter
from aa_lightning.models.lora import Adapters, adapter_base, add_adapters, merge_saved
from aa_lightning.models.reference import Reference, choose_form, frozen
from aa_lightning.models.reward import classifier
from aa_lightning.models.reward.scorer import Head, Scorer, tied
from aa_lightning.models.speech.load import speech_encoder, speech_network, speech_policy
from aa_lightning.models.state_dict import Weights, below, folder_of, of_checkpoint, reading, take
from aa_lightning.models.token.encoder import Limits, TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.models.token.trial import tried
from aa_lightning.models.whole import check_folder, check_tokenizer, loaded

_HEADS = ("lm_head.weight",)  # that a reward model's export has not
_HEAD = "network.head.weight"  # of a reward model, by its own names


def load_policy(
    options: ModelOptions, limits: Limits, reference: bool, checkpoint: Path | None = None
) -> AutoregressivePolicy:
    """A token policy with the reference that its algorithm needs.

    Args:
        options: the `model` section of the configuration.
        limits: longest prompt and response.
        reference: whether the algorithm compares with a reference.
        checkpoint: of a run, whose weights policy and reference start from.
    """
    model, processor = load(options)
    _check_writes(model, options)
    family = tried(model, processor, _family(model.config, options), options.layout)
    writer = PictureWriter(model, processor, family, options) if "image" in family.writes else None
    if checkpoint is not None:
        _take_backbone(model, of_checkpoint(checkpoint, options.family), checkpoint)
    form = choose_form(options.reference, options.lora.rank, reference)
    copied = frozen(_network(copy.deepcopy(model), family, options, writer)) if form == "frozen" else None
    adapters = prepare_training(model, family, options, _stands_alone(options, checkpoint))
    if writer is not None:
        return writer.policy(model, processor, limits, Reference(form, copied, adapters), adapters)
    if "audio" in family.writes:
        return speech_policy(model, processor, family, options, limits, Reference(form, copied, adapters), adapters)
    network = TokenNetwork(model, family, options.layout)
    encoder = TokenEncoder(processor, family, limits, options.frames)
    return AutoregressivePolicy(network, encoder, Reference(form, copied, adapters), adapters)


def _network(model: nn.Module, family: Family, options: ModelOptions, writer: PictureWriter | None) -> TokenNetwork:
    if writer is not None:
        return writer.network(model)
    if "audio" in family.writes:
        return speech_network(model, family, options)
    return TokenNetwork(model, family, options.layout)


def load_scorer(
    options: ModelOptions, limits: Limits, checkpoint: Path | None = None, heads: int = 1, speaks: int = 0
) -> Scorer:
    """A reward model: the backbone of a token model with a head of scores.

    Args:
        checkpoint: of a run, whose weights it starts from: a reward model's, head included, or a policy's.
        heads: scores of a response.
        speaks: tokens that it may say about a response before it scores it.
    """
    model, processor = load(options)
    family = tried(model, processor, _family(model.config, options), options.layout)
    writer = PictureWriter(model, processor, family, options) if "image" in family.writes else None
    weight = classifier.saved_head(folder_of(options.path, options.tiny), model.config, options.revision)
    if speaks:
        _check_writes(model, options)
    if checkpoint is not None:
        weights = of_checkpoint(checkpoint, options.family)
        _take_backbone(model, weights, checkpoint)
        weight = weights.get(_HEAD)
    head = Head(weight, heads, speaks)
    adapters = prepare_training(model, family, options, _stands_alone(options, checkpoint))
    if writer is not None:
        return writer.scorer(model, processor, limits, head, adapters)
    encoder = TokenEncoder(processor, family, limits, options.frames)
    return Scorer(TokenNetwork(model, family, options.layout), encoder, head, adapters)


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


def _stands_alone(options: ModelOptions, checkpoint: Path | None) -> bool:
    """Whether the weights that training starts from are those that `model.path` holds."""
    if options.path == parts.FROM_PARTS:
        return False
    return checkpoint is None and adapter_base(Path(folder_of(options.path, options.tiny))) is None


def outline(options: ModelOptions) -> nn.Module:
    """The model without memory behind its weights, to count and to plan."""
    config = _config(options, folder_of(options.path, options.tiny))
    with torch.device("meta"):
        return _model_class(config)._from_config(config, dtype=getattr(torch, options.dtype))


def check_training(options: ModelOptions) -> None:
    """Refuse what cannot train, as loading would, without weights.

    Raises:
        ValueError: freeze groups or layers for adapters that the model does not have; a package that is not installed.
    """
    _quantization(options.quantization)
    model = outline(options)
    prepare_training(model, _family(model.config, options), options)


def load_encoder(options: ModelOptions, limits: Limits) -> TokenEncoder:
    """The encoder alone, without weights."""
    folder = folder_of(options.path, options.tiny)
    check_folder(folder)
    config = _config(options, adapter_base(Path(folder)) or folder)
    processor, family = _own_processor(options, folder, config), _family(config, options)
    if "image" in family.writes:
        return PictureEncoder(processor, family, PICTURE_FAMILIES[family.name].spelling(processor, config), limits)
    if "audio" in family.writes:
        return speech_encoder(config, processor, family, options, limits)
    return TokenEncoder(processor, family, limits, options.frames)


def _own_processor(options: ModelOptions, folder: str, config: Any) -> Any:
    """The processor in a folder, whose tokenizer is that of the model there."""
    processor = load_processor(options, folder)
    if options.path != parts.FROM_PARTS:
        check_tokenizer(config, processor, folder, _family(config, options).placeholders)
    return processor


def load_processor(options: ModelOptions, folder: str) -> Any:
    """The processor (tokenizer, for text models) of a folder or hub id.

    Raises:
        ValueError: it needs a package that is not installed.
    """
    if options.path == parts.FROM_PARTS:
        return parts.plan(options).processor
    common = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
    try:
        with reading(folder):
            processor = transformers.AutoProcessor.from_pretrained(folder, **common)
    except ImportError as error:
        raise ValueError(f"The processor of model.family={options.family} cannot be loaded. {error}") from error
    if options.chat_template is not None:
        if not Path(options.chat_template).is_file():
            raise ValueError(f"model.chat_template={options.chat_template} is no file: give the path of a Jinja file")
        processor.chat_template = Path(options.chat_template).read_text(encoding="utf-8")
    elif not processor.chat_template:
        processor.chat_template = _template(processor, options)
    return processor


def _template(processor: Any, options: ModelOptions) -> str | None:
    """What a folder keeps for the tokenizer alone, as classes do whose processor takes no template; or the family's."""
    row = FAMILIES.get(options.family)
    if row is None or not row.media:
        return None
    return processor.tokenizer.chat_template or row.template


def load(options: ModelOptions) -> tuple[nn.Module, Any]:
    """Model and processor, on the CPU, in evaluation mode.

    Raises:
        ValueError: nothing at the path, or a checkpoint of another family than the configuration names.
    """
    if options.path == parts.FROM_PARTS:
        return _from_parts(options)
    folder = folder_of(options.path, options.tiny)
    below_adapter = adapter_base(Path(folder))
    base = below_adapter or folder
    check_folder(folder)
    check_folder(base)
    common = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
    config = _config(options, base)
    _set_dropout(config, options.dropout)
    with _with_attention(options):
        model = loaded(
            _model_class(config),
            base,
            absent=_HEADS if classifier.is_classifier(config) else (),
            config=config,
            dtype=getattr(torch, options.dtype),
            attn_implementation=options.attention,
            quantization_config=_quantization(options.quantization),
            **common,
        )
    if below_adapter is not None:
        model = merge_saved(model, Path(folder))
    return model.eval(), _own_processor(options, folder, config)


@contextmanager
def _with_attention(options: ModelOptions) -> Iterator[None]:
    """Inside, a kind of attention that a class lacks is said with the one that every class has.

    Raises:
        ValueError: there is no such attention for this model.
    """
    try:
        yield
    except ValueError as error:
        if "does not support" not in str(error) or "attention" not in str(error).lower():
            raise
        raise ValueError(
            f"model.attention={options.attention} is not there for model.path={options.path} "
            f"({str(error).splitlines()[0].partition('. ')[0]}): type model.attention=eager"
        ) from error


def _from_parts(options: ModelOptions) -> tuple[nn.Module, Any]:
    planned = parts.plan(options)
    _set_dropout(planned.config, options.dropout)
    return parts.assemble(options, planned, _quantization(options.quantization)).eval(), planned.processor


def _config(options: ModelOptions, folder: str) -> Any:
    """The configuration of the model that trains."""
    if options.path == parts.FROM_PARTS:
        return parts.plan(options).config
    with reading(folder):
        config = transformers.AutoConfig.from_pretrained(
            folder, revision=options.revision, trust_remote_code=options.trust_remote_code
        )
    config = trained_part(config, options.family)
    _check_family(config, options)
    return config


def prepare_training(
    model: nn.Module, family: Family, options: ModelOptions, base_stands_alone: bool = True
) -> Adapters | None:
    """Freeze what shall not train, put adapters in, switch checkpointing on."""
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if options.lora.rank > 0:
        lora = options.lora
        return add_adapters(
            model, family, lora.rank, lora.alpha, lora.dropout, lora.target, base_stands_alone=base_stands_alone
        )
    still = [family.parameters(group) for group in options.freeze]
    unused = family.unused(model.config)
    if unused is not None:
        still.append(re.compile(unused))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(pattern.search(name) for pattern in still))
    return None


def _model_class(config: Any) -> Any:
    """The class that holds the whole model. AutoModelForCausalLM alone would load only the text part of some."""
    for auto in (transformers.AutoModelForMultimodalLM, transformers.AutoModelForCausalLM):
        if type(config) in auto._model_mapping:
            return auto._model_mapping[type(config)]
    return getattr(transformers, config.architectures[0])


def _check_family(config: Any, options: ModelOptions) -> None:
    row = family_of(config)
    if options.family not in (row.name, *row.also):
        raise ValueError(
            f"model.path={options.path} holds a model of type {config.model_type!r}, and model.family says "
            f"{options.family!r}: type model.family={config.model_type}, or another model.path"
        )


def _set_dropout(config: Any, rate: float) -> None:
    """One dropout rate for attention and residual layers, in the model and each of its parts."""
    for section in (config, *(vars(config)[part] for part in config.sub_configs)):
        if section is None:  # a composed model without this tower
            continue
        for key in [k for k in section.to_dict() if k.endswith(("dropout", "dropout_prob", "pdrop"))]:
            setattr(section, key, rate)
        if section is not config:
            _set_dropout(section, rate)


def _quantization(kind: str | None) -> Any:
    if kind is None:
        return None
    if kind == "nf4":
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    return transformers.BitsAndBytesConfig(load_in_8bit=True)
