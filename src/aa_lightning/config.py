"""What a configuration may say, checked before anything heavy is imported. Imports neither torch nor Lightning.

The defaults stand in conf/, once; the classes here only name the keys, their types and their bounds.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
STRICT = ConfigDict(extra="forbid")


class ConfigError(ValueError):
    """What was typed cannot work; the message is the whole story, no traceback needed."""


@dataclass(config=STRICT, kw_only=True)
class Loader:
    batch_size: PositiveInt
    micro_batch_size: PositiveInt | None
    eval_batch_size: PositiveInt
    workers: NonNegativeInt
    keep: NonNegativeInt  # MiB
    max_prompt_tokens: PositiveInt
    max_response_tokens: PositiveInt
    on_long: Literal["error", "skip", "truncate"]
    bucket: bool

    @property
    def kept_bytes(self) -> int:
        """How much of a data set each process that reads it may keep: data workers share the bound."""
        return self.keep * 2**20 // max(self.workers, 1)


@dataclass(config=STRICT, kw_only=True)
class Optimizer:
    lr: NonNegativeFloat
    betas: tuple[Share, Share]
    weight_decay: NonNegativeFloat
    eps: NonNegativeFloat
    schedule: Literal["constant", "linear", "cosine"]
    warmup: Share
    final_lr: Share


@dataclass(config=STRICT, kw_only=True)
class Evaluation:
    before: bool
    size: NonNegativeInt
    generate: NonNegativeInt
    max_new_tokens: PositiveInt
    samples: NonNegativeInt
    blank_control: bool


@dataclass(config=STRICT, kw_only=True)
class Checkpoint:
    every_n_steps: PositiveInt
    keep: PositiveInt


@dataclass(config=STRICT, kw_only=True)
class Lora:
    rank: NonNegativeInt
    alpha: NonNegativeFloat
    dropout: Share
    target: str


@dataclass(config=STRICT, kw_only=True)
class Speech:
    encoder: str | None
    decoder: str | None
    speaker: str | None
    longest: PositiveInt


@dataclass(config=STRICT, kw_only=True)
class Parts:
    language: str | None
    vision: str | None
    audio: str | None
    projector: Literal["mlp", "linear"]
    vision_layer: int | None
    audio_layer: int | None
    sound_stack: PositiveInt
    clips: bool
    seed: int


@dataclass(config=STRICT, kw_only=True)
class Model:
    likelihood: Literal["exact"]
    family: str
    path: str
    tiny: dict[str, Any]
    parts: Parts | None
    revision: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    attention: Literal["sdpa", "eager", "flash_attention_2"]
    layout: Literal["auto", "shared", "plain"]
    trust_remote_code: bool
    gradient_checkpointing: bool
    quantization: Literal["nf4", "int8"] | None
    freeze: list[Literal["vision", "audio", "projector", "language", "talker"]]
    dropout: Share
    chat_template: str | None
    frames: PositiveInt | None
    image_size: PositiveInt | None
    image_decoder: str | None
    speech: Speech
    lora: Lora
    reference: Literal["auto", "frozen", "adapter", "none"]


@dataclass(config=STRICT, kw_only=True)
class Logger:
    csv: bool
    tensorboard: bool
    others: list[dict[str, Any]]


SECTIONS: dict[str, type] = {
    "loader": Loader,
    "optimizer": Optimizer,
    "evaluation": Evaluation,
    "checkpoint": Checkpoint,
    "logger": Logger,
}


# ---------------------------------------------------------------- the check


def check_config(cfg: DictConfig, root: Iterable[str] | None = None) -> None:
    """Refuse a composed configuration that cannot run.

    Args:
        cfg: what Hydra composed.
        root: the top-level keys that the command's own YAML file and its groups give; None: any.

    Raises:
        ConfigError: one line per mistake: what was given, why it cannot work, what to type.
    """
    mistakes = [_missing(key) for key in sorted(OmegaConf.missing_keys(cfg))]
    if not mistakes:
        plain = OmegaConf.to_container(cfg, resolve=True)
        mistakes = [*_unknown_root(plain, root), *_section_mistakes(plain)] or _contradictions(plain)
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def split_batch(batch_size: int, micro_batch_size: int | None, processes: int) -> tuple[int, int]:
    """How a step's prompts are divided: (prompts per forward pass and process, forward passes per step).

    Raises:
        ConfigError: they do not divide.
    """
    micro = micro_batch_size or max(batch_size // processes, 1)
    passes, rest = divmod(batch_size, micro * processes)
    if passes and not rest:
        return micro, passes
    whole = max(round(batch_size / (micro * processes)), 1) * micro * processes
    raise ConfigError(
        f"loader.batch_size={batch_size} cannot be divided into forward passes of {micro} prompts on each of "
        f"{processes} process(es), since it is no multiple of {micro * processes}\n"
        f"type: loader.batch_size={whole}"
    )


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option that a mistyped word most likely meant, or None."""
    known = {option.lower(): option for option in options}
    found = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return known[found[0]] if found else None


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")


def _missing(key: str) -> str:
    return f"{key} has no value\ntype: {key}=<value>"


def _unknown_root(plain: Mapping[str, Any], root: Iterable[str] | None) -> list[str]:
    known = list(plain if root is None else root)
    return [_unknown("", key, value, known) for key, value in plain.items() if key not in known]


def _section_mistakes(plain: Mapping[str, Any]) -> list[str]:
    mistakes: list[str] = []
    for name in sorted(plain, key=lambda name: name == "data"):  # the one that takes time to import comes last
        section = plain[name]
        if not isinstance(section, Mapping) or (mistakes and name == "data"):
            continue
        schema = _schema(name, section)
        if schema is None:
            continue
        mistakes += _mistakes_in(name, section, schema)
        if name == "algo":
            mistakes += _mistakes_in_parts(name, section)
    return mistakes + _trainer_mistakes(plain)


def _mistakes_in(path: str, section: Mapping[str, Any], schema: type) -> list[str]:
    given = {key: value for key, value in section.items() if key != "_target_"}
    try:
        TypeAdapter(schema).validate_python(given)
    except ValidationError as error:
        return [_explain(path, schema, details) for details in error.errors()]
    return []


def _mistakes_in_parts(path: str, section: Mapping[str, Any]) -> list[str]:
    """Of the objectives inside a mixture, each with a `_target_` of its own: the first one's, whose values others share."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            target = value.get("_target_")
            schema = None if target is None else algorithm_schema(target)
            found = [] if schema is None else _mistakes_in(f"{path}.{key}", value, schema)
            if found := found or _mistakes_in_parts(f"{path}.{key}", value):
                return found
    return []


def _schema(name: str, section: Mapping[str, Any]) -> type | None:
    """What a section may say; None: anything."""
    if name == "algo":
        return algorithm_schema(section["_target_"])
    if name == "model":
        return model_schema(section["likelihood"])
    if name == "data":
        return data_schema(section)
    return SECTIONS.get(name)


def algorithm_schema(target: str) -> type | None:
    """The arguments of an algorithm's class; None: anything."""
    from aa_lightning.signatures import schema_of

    return schema_of(named_class(target))


def model_schema(likelihood: str) -> type:
    """The options of a model, by the kind of its likelihood.

    Raises:
        ConfigError: no such kind.
    """
    targets = {
        "exact": "aa_lightning.config.Model",
        "bound": "aa_lightning.models.diffusion_options.Diffusion",
    }
    if likelihood not in targets:
        raise ConfigError(f"model.likelihood={likelihood} cannot be used\ntype: one of {', '.join(targets)}")
    return named_class(targets[likelihood])


def data_schema(section: Mapping[str, Any]) -> type:
    """The options of one data set, or of a mixture of several."""
    if "parts" in section:
        return named_class("aa_lightning.data.mixture.MixtureOptions")
    return named_class("aa_lightning.data.options.DataOptions")


def named_class(target: str) -> type:
    """Import the class that a `_target_` names.

    Raises:
        ConfigError: there is no such module or no such class in it.
    """
    module, _, name = target.rpartition(".")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"_target_: {target} cannot be imported ({error})\n"
            f"make sure that its folder is on the Python path: PYTHONPATH=<folder> or pip install -e <folder>"
        ) from error
    if found is None:
        raise ConfigError(f"_target_: {target} cannot be imported: the module {module} has no {name}")
    return found


def _trainer_mistakes(plain: Mapping[str, Any]) -> list[str]:
    trainer = plain.get("trainer")
    if not isinstance(trainer, Mapping) or trainer.get("_target_") != "lightning.Trainer":
        return []
    known = ["_target_", *trainer_arguments()]
    return [_unknown("trainer", key, value, known) for key, value in trainer.items() if key not in known]


def trainer_arguments() -> list[str]:
    """The arguments of Lightning's Trainer, read from its source, since importing it takes seconds."""
    spec = importlib.util.find_spec("lightning")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent / "pytorch" / "trainer" / "trainer.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    trainer = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Trainer")
    init = next(node for node in trainer.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return [argument.arg for argument in init.args.kwonlyargs]


def _contradictions(plain: Mapping[str, Any]) -> list[str]:
    """What is well formed, section by section, and still cannot work together."""
    trainer = plain.get("trainer")
    if not isinstance(trainer, Mapping) or "optimizer" not in plain:
        return []
    strategy = trainer.get("strategy")
    keeps_masters = isinstance(strategy, Mapping) and "DeepSpeed" in strategy["_target_"]
    if trainer.get("precision") == "bf16-true" and not keeps_masters:
        return [
            "trainer.precision=bf16-true loses the updates of a small learning rate: at lr=1e-6, 98 % of the weights "
            "never moved, since bfloat16 cannot hold the difference\ntype: trainer.precision=bf16-mixed"
        ]
    return []


# ---------------------------------------------------------------- the words

_EXPECTED = {
    "float_parsing": "<number>",
    "float_type": "<number>",
    "int_parsing": "<whole number>",
    "int_type": "<whole number>",
    "int_from_float": "<whole number>",
    "bool_parsing": "true or =false",
    "bool_type": "true or =false",
}


def _explain(section: str, schema: type, details: Mapping[str, Any]) -> str:
    if not details["loc"]:
        return f"{section}: {details['msg'].removeprefix('Value error, ')}"
    *parents, last = details["loc"]
    holder, path = _walk(schema, section, parents)
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return _unknown(path, last, details["input"], [field.name for field in fields(holder)])
    if details["type"] in ("missing", "missing_argument"):
        return f"{path}.{last} is missing from the configuration\ntype: +{path}.{last}=<value>"
    _, key = _walk(schema, section, details["loc"])
    if details["type"] == "union_tag_invalid":
        return _unknown_tag(key, details["ctx"]["tag"], details["ctx"]["expected_tags"])
    reason = details["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if isinstance(details["input"], Mapping):
        return f"{key}: {reason}"
    return f"{key}={show(details['input'])} cannot be used: {reason}\n{_advice(key, details)}"


def _walk(schema: type, path: str, steps: Sequence[str | int]) -> tuple[type, str]:
    """The dataclass that holds the last step, and the dotted key. Steps that name a branch of a union are no keys."""
    schemas, hint = [schema], None
    for step in steps:
        holder = next((one for one in schemas if step in get_type_hints(one)), None)
        if isinstance(step, int):
            path = f"{path}[{step}]"
        elif get_origin(hint) is dict:  # a key that the user chose
            path, hint = f"{path}.{step}", None
        elif holder is not None:
            path, hint = f"{path}.{step}", get_type_hints(holder)[step]
            schema, schemas = holder, _dataclasses(hint) or [holder]
    return schemas[0] if is_dataclass(schemas[0]) else schema, path


def _dataclasses(hint: Any) -> list[type]:
    """The dataclasses that an annotation allows, inside unions and Annotated too."""
    return [hint] if is_dataclass(hint) else [found for part in get_args(hint) for found in _dataclasses(part)]


def _unknown_tag(key: str, given: str, expected: str) -> str:
    names = [name.strip(" '") for name in expected.split(",")]
    close = nearest(given, names)
    hint = f"did you mean {key}.name={close}? " if close else ""
    return f"{key}.name={given} cannot be used: there is no such part\n{hint}there is: {', '.join(names)}"


def _advice(key: str, details: Mapping[str, Any]) -> str:
    if details["type"] == "literal_error":
        options = [option.strip("'") for option in details["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"did you mean {key}={nearest(show(details['input']), options) or options[0]}?"
    return f"type: {key}={_EXPECTED.get(details['type'], '<value>')}"


def _unknown(path: str, key: str, value: Any, known: Iterable[str]) -> str:
    prefix = f"{path}." if path else ""
    close = nearest(key, known)
    hint = f"did you mean {prefix}{close}={show(value)}?" if close else f"there is: {', '.join(sorted(known))}"
    return f"{prefix}{key}={show(value)} cannot be used: there is no key {prefix}{key}\n{hint}"
