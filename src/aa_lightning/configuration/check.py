"""The check of a composed configuration, before anything heavy is imported. Imports neither torch nor Lightning."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.benchmarks import GROUP, mistakes_in_benchmarks
from aa_lightning.configuration.extras import missing_extras
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.nested import dotted_keys, leaves
from aa_lightning.configuration.rewards import mistakes_in_rewards
from aa_lightning.configuration.schema import COMMANDS, PRECISIONS, SECTIONS
from aa_lightning.configuration.signatures import schema_of
from aa_lightning.configuration.strategy import strategy_of
from aa_lightning.configuration.targets import Parameter, named_class, strategy_arguments, trainer_arguments
from aa_lightning.configuration.validation import mistakes_in
from aa_lightning.configuration.wording import ConfigError, Everywhere, is_slip, nearest, show, unknown

_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)[,}]")  # to another key
_ROWS_BELOW = ("data.train.path", "data.val.path")


def check_config(
    cfg: DictConfig, command: str | None = None, groups: Mapping[str, Collection[str]] | None = None
) -> None:
    """Refuse a composed configuration that cannot run.

    Args:
        cfg: what Hydra composed.
        command: whose configuration it is; None: a piece of one, with any top-level keys.
        groups: the configuration groups with their options, which a mistyped key may have meant.

    Raises:
        ConfigError: one line per mistake: what was given, why it cannot work, what to type.
    """
    mistakes = [f"{key} has no value\ntype: {key}=<value>" for key in sorted(missing_keys(cfg))]
    if not mistakes:
        plain = OmegaConf.to_container(cfg, resolve=True)
        everywhere = Everywhere(list(dotted_keys(plain)), groups or {})
        mistakes = _root_mistakes(plain, command, everywhere)
        mistakes += _section_mistakes(plain, everywhere, with_data=not mistakes)
        mistakes = mistakes or [*_contradictions(plain), *missing_extras(plain)]
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def check_sections(cfg: DictConfig) -> None:
    """Refuse values where other keys refer to what is below: they could not be resolved.

    Args:
        cfg: what Hydra composed.

    Raises:
        ConfigError: as `check_config`.
    """
    plain = OmegaConf.to_container(cfg)
    texts = [value for _, value in leaves(plain, elements=True) if isinstance(value, str)]
    wanted = {key for text in texts for key in _REFERENCE.findall(text)}
    flat = dict(found for key in {*wanted, *_ROWS_BELOW} if (found := _value_above(plain, key)) is not None)
    if flat:
        raise ConfigError("\n".join(_no_section(key, flat[key]) for key in sorted(flat)))


def _value_above(plain: Mapping[str, Any], key: str) -> tuple[str, Any] | None:
    """The plain value in which a key is said to lie, with its own key; None: there is none."""
    *sections, _ = key.split(".")
    inner: Any = plain
    for depth, name in enumerate(sections, 1):
        inner = inner.get(name, {})
        if not isinstance(inner, Mapping):
            resolved_later = isinstance(inner, str) and "${" in inner
            return None if inner is None or resolved_later else (".".join(sections[:depth]), inner)
    return None


def _no_section(key: str, value: Any) -> str:
    rows = f"{key}.path" in _ROWS_BELOW and isinstance(value, str)
    advice = f"data=local {key}.path={show(value)}" if rows else f"{key}.<key>=<value>"
    return f"{key}={show(value)} cannot be used: it is a section\ntype: {advice}"


def missing_keys(cfg: DictConfig) -> list[str]:
    """The keys without a value. References are not followed, so that each of these is read once, by who needs its value."""
    return [key for key, value in leaves(OmegaConf.to_container(cfg), elements=True) if value == "???"]


def split_batch(batch_size: int, micro_batch_size: int | None, processes: int) -> tuple[int, int]:
    """Divide a step's prompts: (prompts per forward pass and process, forward passes per step).

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


def _root_mistakes(plain: Mapping[str, Any], command: str | None, everywhere: Everywhere) -> list[str]:
    """Of what stands outside all sections, and of sections that are there or not."""
    if command is None:
        return []
    sections = [*SECTIONS, "algo", "model", "data", "trainer"]
    every = [*sections, "reward", *([GROUP] if command == "evaluate" else [])]  # which may be lacking
    values = {key: value for key, value in plain.items() if key in _keys_outside(command)}
    mistakes = [
        _unknown_root(key, value, [*every, *values], everywhere)
        for key, value in plain.items()
        if key not in {*every, *values}
    ]
    mistakes += [f"{name} is missing: no run can do without this section" for name in sections if name not in plain]
    mistakes += [_no_section(name, plain[name]) for name in every if not isinstance(plain.get(name, {}), Mapping)]
    return mistakes + mistakes_in("", values, COMMANDS[command], everywhere) + _stage_mistakes(plain)


def _keys_outside(command: str) -> list[str]:
    """The keys that a command has outside all sections."""
    return [field.name for field in fields(COMMANDS[command])]


def _unknown_root(key: str, value: Any, known: list[str], everywhere: Everywhere) -> str:
    theirs = [command for command in COMMANDS if key in _keys_outside(command)]
    if theirs and key != "run":
        typed = f"{key}={show(value)}"
        return (
            f"{typed} cannot be used: it belongs to another command\ntype: python -m aa_lightning.{theirs[0]} {typed}"
        )
    others = [name for name in everywhere.keys if name.partition(".")[0] != key]
    return unknown("", key, value, known, Everywhere(others, everywhere.groups))


def _stage_mistakes(plain: Mapping[str, Any]) -> list[str]:
    """A stage to start from that there is not."""
    init = plain.get("init")
    if not isinstance(init, str) or not init.startswith("stage:"):
        return []
    name, stages = init.removeprefix("stage:"), option_names([conf_dir()])["stage"]
    if name in stages:
        return []
    close = nearest(name, stages)
    hint = f"did you mean init=stage:{close}? " if close else ""
    return [f"init={init} cannot be used: there is no stage {name}\n{hint}there is: {', '.join(stages)}"]


def _section_mistakes(plain: Mapping[str, Any], everywhere: Everywhere, with_data: bool) -> list[str]:
    mistakes: list[str] = []
    for name in sorted(plain, key=lambda name: name == "data"):  # the one that takes time to import comes last
        section = plain[name]
        if not isinstance(section, Mapping) or (name == "data" and (mistakes or not with_data)):
            continue
        if name == "reward":
            mistakes += mistakes_in_rewards(section, everywhere)
            continue
        if name == GROUP:
            mistakes += mistakes_in_benchmarks(section, everywhere)
            continue
        schema = section_schema(name, section)
        if schema is None:
            continue
        names = _mistakes_in_names(section, everywhere) if name == "algo" else []
        mistakes += names or mistakes_in(name, section, schema, everywhere)
        if name == "algo" and not names:
            mistakes += _mistakes_in_objectives(name, section, everywhere)
    return mistakes + _trainer_mistakes(plain, everywhere)


def _mistakes_in_objectives(path: str, section: Mapping[str, Any], everywhere: Everywhere) -> list[str]:
    """Of the objectives of a weighted sum, each with a `_target_` of its own: the first one's, whose values others share."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            target = value.get("_target_")
            schema = None if target is None else algorithm_schema(target)
            found = [] if schema is None else mistakes_in(f"{path}.{key}", value, schema, everywhere)
            if found := found or _mistakes_in_objectives(f"{path}.{key}", value, everywhere):
                return found
    return []


def _mistakes_in_names(section: Mapping[str, Any], everywhere: Everywhere) -> list[str]:
    """Names of objectives of a weighted sum, and of their weights, that it does not have."""
    objectives, weights = section.get("objectives"), section.get("weights")
    if not isinstance(objectives, Mapping) or not isinstance(weights, Mapping):
        return []
    known = [name for name in objectives if name in weights]
    others = Everywhere([name for name in everywhere.keys if name.split(".")[2:3] in [[one] for one in known]])
    return [
        unknown(f"algo.{key}", name, value, known, others)
        for key, several in (("objectives", objectives), ("weights", weights))
        for name, value in several.items()
        if name not in known
        and (key == "weights" or "_target_" not in value or any(is_slip(name, one) for one in known))
    ]


def section_schema(name: str, section: Mapping[str, Any]) -> type | None:
    """Return the class of what a section may say; None: anything."""
    if name == "algo":
        return algorithm_schema(section["_target_"])
    if name == "model":
        return model_schema(section["likelihood"])
    if name == "data":
        return data_schema(section)
    return SECTIONS.get(name)


def algorithm_schema(target: str) -> type | None:
    """The arguments of an algorithm's class; None: anything."""
    return schema_of(named_class(target))


def model_schema(likelihood: str) -> type:
    """The options of a model, by the kind of its likelihood.

    Raises:
        ConfigError: no such kind.
    """
    targets = {
        "exact": "aa_lightning.configuration.schema.Model",
        "elbo": "aa_lightning.models.diffusion.options.Diffusion",
    }
    if likelihood not in targets:
        raise ConfigError(f"model.likelihood={likelihood} cannot be used\ntype: one of {', '.join(targets)}")
    return named_class(targets[likelihood])


def data_schema(section: Mapping[str, Any]) -> type:
    """The options of one data set, or of a mixture of several."""
    if "parts" in section:
        return named_class("aa_lightning.data.mixture.MixtureOptions")
    return named_class("aa_lightning.data.options.DataOptions")


def _trainer_mistakes(plain: Mapping[str, Any], everywhere: Everywhere) -> list[str]:
    trainer = plain.get("trainer")
    if not isinstance(trainer, Mapping) or trainer.get("_target_") != "lightning.Trainer":
        return []
    arguments = trainer_arguments()
    mistakes = _mistyped("trainer", trainer, arguments, everywhere)
    mistakes += [
        _unfit(key, value, arguments[key])
        for key, value in trainer.items()
        if key in arguments and not arguments[key].takes_value(value)
    ]
    mistakes += _precision_mistakes(str(trainer.get("precision", PRECISIONS[0])))
    strategy = trainer.get("strategy")
    if isinstance(strategy, Mapping) and strategy.get("_target_", "").startswith("aa_lightning.training.strategies."):
        mistakes += _mistyped("trainer.strategy", strategy, strategy_arguments(strategy["_target_"]), everywhere)
    return mistakes


def _precision_mistakes(given: str) -> list[str]:
    if given in PRECISIONS:
        return []
    if given in ("16-true", "fp16-true"):
        return [
            f"trainer.precision={given} cannot train: in float16 the optimizer.eps of 1e-8 is 0, and so are gradients below "
            "6e-8 and the updates of a small learning rate\ntype: trainer.precision=16-mixed"
        ]
    close = nearest(given, PRECISIONS) or PRECISIONS[0]
    refused = f"trainer.precision={given} cannot be used: there is {', '.join(PRECISIONS)}"
    return [f"{refused}\ndid you mean trainer.precision={close}?"]


def _unfit(key: str, value: Any, argument: Parameter) -> str:
    given = f"trainer.{key}={show(value)}"
    return f"{given} cannot be used: it should be {argument.takes}\ntype: trainer.{key}=<{argument.takes}>"


def _mistyped(path: str, section: Mapping[str, Any], known: Collection[str], everywhere: Everywhere) -> list[str]:
    return [
        unknown(path, key, value, known, everywhere)
        for key, value in section.items()
        if key not in {*known, "_target_"}
    ]


def _contradictions(plain: Mapping[str, Any]) -> list[str]:
    """List mistakes of sections that are well formed and cannot work together."""
    trainer = plain.get("trainer")
    if not isinstance(trainer, Mapping) or "optimizer" not in plain:
        return []
    if (
        trainer.get("precision") == "bf16-true" and not strategy_of(trainer).is_deepspeed
    ):  # which keeps weights in float32 beside
        return [
            "trainer.precision=bf16-true loses the updates of a small learning rate: at lr=1e-6, 98 % of the weights "
            "never moved, since bfloat16 cannot hold the difference\ntype: trainer.precision=bf16-mixed"
        ]
    return []
