"""Sources of a token model: a folder, a hub id or a tiny offline build, perhaps an adapter on one; or parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.models.composed import load as parts
from aa_lightning.models.families.table import FAMILIES, family_of, trained_part
from aa_lightning.models.lora import adapter_base, merge_saved
from aa_lightning.models.reward.classifier import is_classifier
from aa_lightning.models.state_dict import folder_of, reading
from aa_lightning.models.whole import check_folder, check_tokenizer, loaded

_HEADS = ("lm_head.weight",)  # that a reward model's export has not


class Source(ABC):
    """A model before its weights.

    Attributes:
        config: of the model that trains.
        stands_alone: whether the weights are those that a folder or a hub id holds.
    """

    config: Any
    stands_alone: bool

    @abstractmethod
    def processor(self) -> Any:
        """Load the processor (tokenizer, for text models)."""

    @abstractmethod
    def model(self) -> nn.Module:
        """Load the model, on the CPU, in evaluation mode."""

    def outline(self, dtype: str) -> nn.Module:
        """Make the model without memory behind its weights, to count and to plan."""
        with torch.device("meta"):
            return _model_class(self.config)._from_config(self.config, dtype=getattr(torch, dtype))


def source_of(options: ModelOptions) -> Source:
    """Find out where the model of a configuration comes from.

    Raises:
        ValueError: nothing at the path, or a checkpoint of another family than the configuration names.
    """
    return FromParts(options) if options.path == parts.FROM_COMPONENTS else Saved(options)


class FromParts(Source):
    """The components that `model.components` names, put together."""

    stands_alone = False

    def __init__(self, options: ModelOptions):
        self._options, self._plan = options, parts.plan(options)
        self.config = self._plan.config
        _set_dropout(self.config, options.dropout)

    def processor(self) -> Any:
        return self._plan.processor

    def model(self) -> nn.Module:
        return parts.assemble(self._options, self._plan, _quantization(self._options.quantization)).eval()


class Saved(Source):
    """A folder or hub id, which may hold an adapter on another."""

    def __init__(self, options: ModelOptions):
        self._options = options
        self._folder = folder_of(options.path, options.tiny)
        check_folder(self._folder)
        base = adapter_base(Path(self._folder))
        self.stands_alone, self._base = base is None, base or self._folder
        check_folder(self._base)
        self._common = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
        with reading(self._base):
            config = transformers.AutoConfig.from_pretrained(self._base, **self._common)
        self.config = trained_part(config, options.family)
        self._row = family_of(self.config)
        if options.family not in (self._row.name, *self._row.also):
            raise ValueError(
                f"model.path={options.path} holds a model of type {self.config.model_type!r}, and model.family says "
                f"{options.family!r}: type model.family={self.config.model_type}, or another model.path"
            )
        _set_dropout(self.config, options.dropout)

    def processor(self) -> Any:
        """Load the processor, whose tokenizer is that of the model.

        Raises:
            ValueError: it needs a package that is not installed, or belongs to another model.
        """
        family = self._options.family
        try:
            with reading(self._folder):
                processor = transformers.AutoProcessor.from_pretrained(self._folder, **self._common)
        except ImportError as error:
            raise ValueError(f"The processor of model.family={family} cannot be loaded. {error}") from error
        self._give_template(processor)
        check_tokenizer(self.config, processor, self._folder, self._row.placeholders)
        return processor

    def _give_template(self, processor: Any) -> None:
        """The chat template that is asked for; else its own; else what a folder keeps for the tokenizer alone, as classes do
        whose processor takes no template; else the family's."""
        path, row = self._options.chat_template, FAMILIES.get(self._options.family)
        if path is not None:
            if not Path(path).is_file():
                raise ValueError(f"model.chat_template={path} is no file: give the path of a Jinja file")
            processor.chat_template = Path(path).read_text(encoding="utf-8")
        elif not processor.chat_template and row is not None and row.media:
            processor.chat_template = processor.tokenizer.chat_template or row.template

    def model(self) -> nn.Module:
        options = self._options
        with _with_attention(options):
            model = loaded(
                _model_class(self.config),
                self._base,
                absent=_HEADS if is_classifier(self.config) else (),
                config=self.config,
                dtype=getattr(torch, options.dtype),
                attn_implementation=options.attention,
                quantization_config=_quantization(options.quantization),
                **self._common,
            )
        return (model if self.stands_alone else merge_saved(model, Path(self._folder))).eval()


def _quantization(kind: str | None) -> Any:
    if kind is None:
        return None
    if kind == "nf4":
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    return transformers.BitsAndBytesConfig(load_in_8bit=True)


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


def _model_class(config: Any) -> Any:
    """The class that holds the whole model. AutoModelForCausalLM alone would load only the text part of some."""
    for auto in (transformers.AutoModelForMultimodalLM, transformers.AutoModelForCausalLM):
        if type(config) in auto._model_mapping:
            return auto._model_mapping[type(config)]
    return getattr(transformers, config.architectures[0])


def _set_dropout(config: Any, rate: float) -> None:
    """One dropout rate for attention and residual layers, in the model and each of its parts."""
    for section in (config, *(vars(config)[part] for part in config.sub_configs)):
        if section is None:  # a composed model without this tower
            continue
        for key in [k for k in section.to_dict() if k.endswith(("dropout", "dropout_prob", "pdrop"))]:
            setattr(section, key, rate)
        if section is not config:
            _set_dropout(section, rate)
