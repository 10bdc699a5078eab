"""The keys of a configuration, each with its value, its comment and what it takes. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from aa_lightning.configuration.benchmarks import GROUP, benchmark_schema
from aa_lightning.configuration.check import section_schema
from aa_lightning.configuration.comments import MISSING, Written, of_class, written
from aa_lightning.configuration.composed import composed
from aa_lightning.configuration.folders import option_file
from aa_lightning.configuration.nested import dotted_keys
from aa_lightning.configuration.rewards import SETTINGS, schema_of_reward
from aa_lightning.configuration.schema import COMMANDS, PRECISIONS, RewardSettings
from aa_lightning.configuration.schema_words import Schema, in_words, sample, values_of
from aa_lightning.configuration.targets import named_class, strategy_arguments, trainer_arguments
from aa_lightning.configuration.typed import chosen_groups
from aa_lightning.configuration.wording import dataclasses_in


@dataclass(frozen=True)
class Told:
    """A key as the class that checks it tells of it; the names are those of `Key`."""

    takes: str = ""
    about: str = ""
    parts: tuple[NamedPart, ...] = ()
    example: Any = None


@dataclass(frozen=True)
class NamedPart:
    """One of the parts among which a key chooses: what is typed, what it does, its own keys, and a value."""

    takes: str
    about: str
    keys: tuple[str, ...]
    example: Any


@dataclass(frozen=True)
class Key:
    """A key as its help page shows it.

    Attributes:
        value: in the composed configuration; None too where there is no such key.
        comment: what is said of it.
        takes: what may be typed, in words.
        file: which file sets the value; "": it is not set.
        parts: of a key that takes one of several named parts.
        example: a value other than this one.
    """

    name: str
    value: Any
    comment: str
    takes: str
    file: str
    parts: tuple[NamedPart, ...]
    example: Any


class Configuration:
    """A composed configuration, with what is known of its keys.

    Args:
        config_name: of the command.
        overrides: as they are typed.
        folders: of configuration groups.
    """

    def __init__(self, config_name: str, overrides: Sequence[str], folders: Sequence[Path]):
        self.config_name, self.overrides, self.folders = config_name, [*overrides], folders
        plain = OmegaConf.to_container(composed(config_name, overrides, folders, with_choices=True))
        choices = plain.pop("hydra")["runtime"]["choices"]
        self.plain: dict[str, Any] = plain
        order = chosen_groups(config_name)
        several = [key for key in [*order.values(), *choices] if key in choices and not key.startswith("hydra/")]
        chosen = {key: choices[key] for key in several}
        self.choices: dict[str, str] = {key: option for key, option in chosen.items() if option is not None}
        if rewards := [name for name in plain.get("reward", {}) if option_file("reward", name, folders)]:
            self.choices["reward"] = f"[{','.join(rewards)}]"  # Hydra keeps no list of options
        if several := [name for name in plain.get(GROUP, {}) if option_file(GROUP, name, folders)]:
            self.choices[GROUP] = f"[{','.join(several)}]"
        self.written = written(config_name, self.choices, folders)
        self.names = list(dotted_keys(plain))

    def key(self, name: str) -> Key | None:
        """Describe a key that is set, or that may be; None: there is no such key."""
        told = self.written.get(name, Written("", ""))
        ours = self._told(name.split("."))
        if name not in self.names and not ours.takes:
            return None
        return Key(name, self._value(name), told.comment or ours.about, ours.takes, told.file, ours.parts, ours.example)

    def leaves(self, prefix: str) -> Iterator[Key]:
        """The keys below a section that hold no section themselves; a part of an objective is one value."""
        value = self._value(prefix)
        if isinstance(value, Mapping) and value and "name" not in value:
            for name in value:
                if name != "_target_":
                    yield from self.leaves(f"{prefix}.{name}")
        elif (key := self.key(prefix)) is not None:
            yield key

    def _value(self, name: str) -> Any:
        value: Any = self.plain
        for step in name.split("."):
            value = value[step] if isinstance(value, Mapping) and step in value else None
        return value

    def _told(self, steps: list[str]) -> Told:
        """Ask the class that checks a key."""
        if steps[0] == "trainer" and len(steps) > 1:
            return self._of_trainer(steps)
        schema, below = self._schema(steps)
        shared = steps[0] == "reward"  # its section holds the keys of two classes
        above = self._value(".".join(steps[: -len(below)])) if len(below) < len(steps) and not shared else None
        found = None if schema is None else _field(schema, below, above)
        if found is None:
            return Told()
        holder, name = found
        field = holder.__pydantic_fields__[name]
        described = TypeAdapter(field.rebuild_annotation()).json_schema()
        defs = described.get("$defs", {})
        if name != steps[-1].rstrip("_"):
            return Told(in_words(values_of(described), defs))
        several = [one for one in dataclasses_in(get_type_hints(holder)[name]) if "name" in get_type_hints(one)]
        example = _another(self._value(".".join(steps)), field, described)
        about = of_class(holder).get(name, "")
        return Told(in_words(described, defs), about, tuple(_part(one) for one in several), example)

    def _schema(self, steps: list[str]) -> tuple[type | None, list[str]]:
        """The class that checks a key's section, and the key's steps inside it."""
        section = self.plain.get(steps[0])
        if len(steps) == 1:
            return COMMANDS[self.config_name], steps
        if not isinstance(section, Mapping):
            return None, steps
        if steps[:2] == ["algo", "objectives"] and len(steps) > 3 and steps[2] in section.get("objectives", {}):
            return named_class(section["objectives"][steps[2]]["_target_"]), steps[3:]
        if steps[0] == "reward":
            return self._of_reward(steps)
        if steps[0] == GROUP:
            return (benchmark_schema(), steps[2:]) if len(steps) > 2 else (None, steps)
        return section_schema(steps[0], section), steps[1:]

    def _of_reward(self, steps: list[str]) -> tuple[type | None, list[str]]:
        said = self.plain["reward"].get(steps[1])
        if steps[2:] and steps[2] in SETTINGS:
            return RewardSettings, steps[2:]
        named = isinstance(said, Mapping) and said.get("_target_", MISSING) != MISSING and steps[2:]
        return schema_of_reward(f"reward.{steps[1]}", said["_target_"]) if named else None, steps[2:]

    def _of_trainer(self, steps: list[str]) -> Told:
        strategy = self.plain["trainer"].get("strategy")
        if steps[1] == "strategy" and len(steps) == 3 and isinstance(strategy, Mapping):
            known = strategy_arguments(strategy["_target_"])
        else:
            known = trainer_arguments() if len(steps) == 2 else {}
        found, value = known.get(steps[-1]), self._value(".".join(steps))
        if found is None:
            return Told()
        example = not value if isinstance(value, bool) else value * 2 if isinstance(value, int | float) else value
        example = 8 if value is None and found.takes.startswith("whole number") else example
        takes = " | ".join(PRECISIONS) if steps == ["trainer", "precision"] else found.takes
        return Told(takes or "see Lightning", found.about.partition(". ")[0], example=example)


# ---------------------------------------------------------------- classes and types in words


def _field(schema: type, steps: Sequence[str], values: Any) -> tuple[type, str] | None:
    """The class that has a field, and the field, among the classes that the fields before it may hold; those that the values
    beside it do not fit are left out. Of a key that users name, the field whose values these are."""
    holders, mapping = [schema], None
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if mapping is not None:  # a key of the user's own
            if last:
                return mapping
            mapping, values = None, _inside(values, step)
            continue
        fitting = [one for one in holders if step in get_type_hints(one) and _fits(one, values)]
        if not fitting:
            return None
        if last:
            return fitting[0], step
        hint = get_type_hints(fitting[0])[step]
        holders, values = dataclasses_in(hint), _inside(values, step)
        mapping = (fitting[0], step) if dict in (get_origin(hint), *map(get_origin, get_args(hint))) else None
    return None


def _inside(values: Any, step: str) -> Any:
    return values.get(step) if isinstance(values, Mapping) else None


def _fits(holder: type, values: Any) -> bool:
    """Tell whether a class may hold what stands there, by its names and the name of a part."""
    if not isinstance(values, Mapping) or not values:
        return True
    hints = get_type_hints(holder)
    names = get_args(hints["name"]) if get_origin(hints.get("name")) is Literal else ()
    named = not names or values.get("name", names[0]) in names
    return named and set(values) <= {"_target_", *(name.rstrip("_") for name in hints)}


def _part(part: type) -> NamedPart:
    described = TypeAdapter(part).json_schema()
    defs = described.get("$defs", {})
    options = {key: in_words(one, defs) for key, one in described["properties"].items()}
    takes = f"{{{', '.join(f'{key}: {words}' for key, words in options.items())}}}"
    about = (part.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
    return NamedPart(takes, about, tuple(options), sample(described, defs))


def _another(value: Any, field: FieldInfo, schema: Schema) -> Any:
    """A value other than the default."""
    numbers = [value * 2, value / 2] if isinstance(value, int | float) and not isinstance(value, bool) else []
    options = [not value] if isinstance(value, bool) else [*numbers, *schema.get("enum", [])]
    adapter = TypeAdapter(field.rebuild_annotation())
    for option in [*options, sample(schema, schema.get("$defs", {}))]:
        with contextlib.suppress(ValidationError):
            if adapter.validate_python(option) != value:
                return option
    return value
