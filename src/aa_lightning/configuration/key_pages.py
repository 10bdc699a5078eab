"""The pages of `--help` of an option, of a key and of a section."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from aa_lightning.configuration.benchmarks import GROUP
from aa_lightning.configuration.catalogue import data_set
from aa_lightning.configuration.comments import LOADER, MISSING, head, written_by
from aa_lightning.configuration.folders import file_of, option_names
from aa_lightning.configuration.keys import Configuration, Key
from aa_lightning.configuration.typed import chosen_groups
from aa_lightning.configuration.wording import shell_word, typed_value

WIDTH = 118
_MADE_OF_CHOICES = ("recipe/", "scale/", "experiment/")  # files that nobody typed, or that hold many keys


def option_page(word: str, composed: Configuration) -> str:
    """Describe an option: its comment, the keys that it sets, a command with it.

    Args:
        word: `group=option`.
        composed: with that option.
    """
    key, _, option = word.partition("=")
    group = key.partition("@")[0]
    path = file_of(group, option, composed.folders)
    keys = list(_keys_of(group, option, composed))
    example = _example(group, option, keys, composed)
    about = [
        line for line in head(path) if not line.startswith("python -m") and line.rstrip("\\").strip() not in example
    ]
    chooses = [f"chooses {' '.join(_overridden(path))}"] if _overridden(path) else []
    rows = table([assigned(one) for one in keys], [_said(one, f"{group}/") for one in keys])
    return "\n".join([word, *about, *chooses, "", *rows, "", f"type: {example}"])


def key_page(name: str, composed: Configuration) -> str | None:
    """The page of a key, or the keys of a section; None: there is no such key."""
    key = composed.key(name)
    if key is None:
        return None
    inner = [one for one in composed.leaves(name) if one.name != name] if isinstance(key.value, Mapping) else []
    rows = table([assigned(one) for one in inner], [_said(one, "/") for one in inner])
    if name in composed.plain and rows:
        return "\n".join([name, *rows])
    lines = [f"{key.name}: {key.comment}" if key.comment else key.name]
    lines += table([title for title, _ in _facts(key, composed)], [text for _, text in _facts(key, composed)])
    if key.parts:
        lines += ["", "its parts", *table([part.takes for part in key.parts], [part.about for part in key.parts])]
    return "\n".join([*lines, *(["", *rows] if rows else [])])


def assigned(key: Key) -> str:
    """A key with its value; … where it has none."""
    return f"{key.name}={typed_value(key.value) if key.file and key.value != MISSING else '…'}"


def table(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """Two columns; what is too long for the first stands in lines of its own."""
    width = min(max((len(cell) for cell in left), default=0), 44) + 2
    lines: list[str] = []
    for cell, said in zip(left, right, strict=True):
        rows = textwrap.wrap(said, WIDTH - width - 2, break_on_hyphens=False) or [""]
        if len(cell) > width - 2:
            lines += textwrap.wrap(f"  {cell}", WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        else:
            lines.append(f"  {cell:<{width}}{rows.pop(0)}".rstrip())
        lines += [f"  {'':<{width}}{row}" for row in rows if row]
    return lines


# ---------------------------------------------------------------- an option


def _keys_of(group: str, option: str, composed: Configuration) -> Iterator[Key]:
    """All keys of a group's own section; else those that the option's file sets."""
    if group in composed.plain:
        yield from composed.leaves(f"{group}.{option}" if group == GROUP else group)
        return
    names = written_by(chosen_groups(composed.config_name).get(group, group), option, composed.folders)
    for name in names:
        inside = any(other.startswith(f"{name}.") for other in names)
        if not inside and "_target_" not in name and (key := composed.key(name)) is not None:
            yield key


def _overridden(path: Path) -> list[str]:
    """List what else an option chooses."""
    entries = (yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}).get("defaults", [])
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    chosen = [(key.removeprefix("override /"), value) for key, value in pairs if key.startswith("override /")]
    return [f"'{key}=[{','.join(value)}]'" if isinstance(value, list) else f"{key}={value}" for key, value in chosen]


def _said(key: Key, group: str) -> str:
    """Comment, what may be typed, and the file of another group that sets the value."""
    takes = f"({key.takes})" if key.takes and key.takes.removesuffix(" | null") not in key.comment else ""
    takes = f"(its parts: --help {key.name})" if key.parts else takes
    other = key.file.startswith(_MADE_OF_CHOICES) and not key.file.startswith(group)
    return " ".join(filter(None, [key.comment, takes, f"[set by {key.file}]" if other else ""]))


def _example(group: str, option: str, keys: Sequence[Key], composed: Configuration) -> str:
    """A command with an option: what its file says, else one that fits the group."""
    comments = "\n".join(head(file_of(group, option, composed.folders)))
    said = re.search(r"^python -m (?:.*\\\n)*.*$", comments, re.M)
    if said is not None:
        return re.sub(r"\s*\\\n\s*", " ", said[0])
    start = "python -m aa_lightning.train"
    if group == "data":
        return _data_example(option, composed)
    if group == "model":
        return f"{start} {_modality_of(composed)}algo=dpo model={option} data=local data.train.path=my.jsonl"
    numbers = [key for key in keys if isinstance(key.value, float) and key.example is not None and group == "algo"]
    more = [f"{key.name}={typed_value(key.example)}" for key in numbers[:1]]
    return " ".join([start, f"{chosen_groups('train').get(group, group)}={option}", *more])


def _data_example(option: str, composed: Configuration) -> str:
    told = data_set(option, composed.folders)
    algo = {"demonstration": "algo=sft ", "rating": "algo=kto ", "preference": "algo=dpo "}.get(told.kind, "")
    modality = f"modality={told.modality} " if told.modality in option_names(composed.folders)["modality"] else ""
    needs = "".join(f" {key}={'my.jsonl' if key.endswith('path') else 'pictures'}" for key in told.needs)
    missing = composed.plain["data"].get("parts") == MISSING
    parts = " 'data.parts=[rlaif_v,ultrafeedback_binarized]'" if missing else ""
    return f"python -m aa_lightning.{'train' if algo else 'check'} {algo}{modality}data={option}{needs}{parts}"


def _modality_of(composed: Configuration) -> str:
    """`modality=…` whose own model is of the same family; "" where none is."""
    for name in option_names(composed.folders)["modality"]:
        if f"model=tiny_{composed.plain['model']['family']}" in _overridden(
            file_of("modality", name, composed.folders)
        ):
            return f"modality={name} "
    return ""


# ---------------------------------------------------------------- a key


def _facts(key: Key, composed: Configuration) -> Iterator[tuple[str, str]]:
    section = key.name.partition(".")[0]
    chosen = f" with {section}={composed.choices[section]}" if section in composed.choices else ""
    if key.value == MISSING:
        yield "default", f"none{chosen}: it must be typed (conf/{key.file}.yaml)"
    elif key.file:
        yield "default", f"{typed_value(key.value)}{chosen} (conf/{key.file}.yaml)"
    else:
        yield "default", f"none{chosen}"
    yield "takes", key.takes or "anything"
    start = " ".join([f"python -m aa_lightning.{composed.config_name}", *composed.overrides])
    yield "example", f"{start} {shell_word(_typed(key, composed))}"


def _typed(key: Key, composed: Configuration) -> str:
    """The key with another value, as it is typed; inside a part that is not there, the whole part."""
    above = composed.key(key.name.rpartition(".")[0]) if "." in key.name else None
    if not key.file and above is not None and above.parts:
        part = next(part for part in above.parts if key.name.rpartition(".")[2] in part.keys)
        return f"{above.name}={typed_value(part.example)}"
    if key.name.endswith(".path") and "text" in key.takes:
        return f"{key.name}={'my.jsonl' if key.name.startswith('data.') else '<folder or hub id>'}"
    other = "<value>" if key.example is None or key.example == key.value else typed_value(key.example)
    return f"{'' if key.file else '+'}{key.name}={other}"
