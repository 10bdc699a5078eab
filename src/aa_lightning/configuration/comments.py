"""The comments on the keys of a configuration: of YAML files, and of the classes that check them with their docstrings."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from aa_lightning.configuration.folders import conf_dir, option_file, option_names

MISSING = "???"
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_ATTRIBUTE = re.compile(r"^    (\w+): (.+)$")


@dataclass(frozen=True)
class Written:
    """The file that sets a key, and its comment.

    Attributes:
        comment: beside it, there or in a file that this one builds on.
        file: the last one that sets it, as `algo/dpo`.
        required: whether a value must be typed.
    """

    comment: str
    file: str
    required: bool = False


def head(path: Path) -> list[str]:
    """The comment lines that begin a file, without Hydra's."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    return [line for line in lines if not line.startswith("@package")]


def sentence(lines: Sequence[str]) -> str:
    """The first comment, up to the line that ends it; all lines where none does."""
    end = next((i for i, line in enumerate(lines) if line.endswith((".", ":"))), len(lines))
    return " ".join(lines[: end + 1])


def of_yaml(path: Path, file: str) -> dict[str, Written]:
    """Dotted key → its comment: behind the value, else in the lines above the key; "" where there is none."""
    found = _commented(path.read_text(encoding="utf-8"))
    return {key: Written(comment, file, required) for key, comment, required in found}


@functools.cache  # many files build on the same one
def _commented(text: str) -> tuple[tuple[str, str, bool], ...]:
    node = yaml.compose(text, LOADER)
    return () if node is None else tuple(_comments(node, text.splitlines(), ""))


def _comments(node: yaml.Node, lines: Sequence[str], prefix: str) -> Iterator[tuple[str, str, bool]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        mark = key.end_mark if nested else value.end_mark
        behind = re.match(r"\s*:?\s*#\s*(.*)", lines[mark.line][mark.column :]) if mark.line < len(lines) else None
        comment = behind[1] if behind else _above(lines, key.start_mark.line)
        yield f"{prefix}{key.value}", comment, value.value == MISSING
        yield from _comments(value, lines, f"{prefix}{key.value}.")


def _above(lines: Sequence[str], line: int) -> str:
    """The comment lines right above, but those that begin the file."""
    indent, first = re.match(r"\s*", lines[line])[0], line
    while first > 0 and lines[first - 1].startswith(f"{indent}#"):
        first -= 1
    return " ".join(text.strip("# ") for text in lines[first:line]) if first > 0 else ""


def of_class(schema: type) -> dict[str, str]:
    """Attribute → what its class says of it."""
    found: dict[str, str] = {}
    for cls in reversed(schema.__mro__[:-1]):
        found |= attributes(inspect.getdoc(cls) or "")
        found |= {
            m[1].rstrip("_"): m[2] for m in re.finditer(r"^    (\w+):[^#\n]*#\s*(.+)$", inspect.getsource(cls), re.M)
        }
    return found


def attributes(doc: str) -> dict[str, str]:
    """Name → text, out of the `Attributes:` or `Args:` of a docstring."""
    found: dict[str, str] = {}
    name = None
    for line in re.split(r"^(?:Attributes|Args):\s*$", doc, maxsplit=1, flags=re.M)[-1].splitlines()[1:]:
        if entry := _ATTRIBUTE.match(line):
            name = entry[1]
            found[name] = entry[2].strip()
        elif name and line.startswith("     "):
            found[name] += f" {line.strip()}"
        elif line.strip() and not line.startswith(" "):
            break
    return found


# ---------------------------------------------------------------- which file says what


def written(config_name: str, choices: Mapping[str, str], folders: Sequence[Path]) -> dict[str, Written]:
    """Dotted key → where it gets its value, for all files that make a configuration.

    Args:
        config_name: of the command.
        choices: group, or group@package → option, or [option,…], in the order in which they are merged.
        folders: of configuration groups.
    """
    found: dict[str, Written] = {}
    for name in _commands(config_name):
        _add(found, conf_dir() / f"{name}.yaml", name, "")
    for key, option in choices.items():
        for one in option.strip("[]").split(","):  # of a group of which several may be chosen
            found = _merged(found, written_by(key, one, folders))
    return found


def written_by(key: str, option: str, folders: Sequence[Path]) -> dict[str, Written]:
    """The same of one option and of what it builds on; key: the group, perhaps with a package (`scale@_global_`)."""
    group, _, package = key.partition("@")
    found: dict[str, Written] = {}
    path = option_file(group, option, folders)
    if path is not None:
        _read(found, path, group, option, package.replace("_global_", "") if package else None, folders)
    return found


def elsewhere(name: str, folders: Sequence[Path], groups: Sequence[str]) -> str | None:
    """`group=option` of the plainest option that has a key, if possible one that asks for its value; None: none has it."""
    names, section, found = option_names(folders), name.partition(".")[0], []
    for group in [section] if section in groups else groups:
        for option in names.get(group, []):
            sets = written_by(group, option, folders)
            if name in sets:
                found.append((not sets[name].required, len(sets), f"{group}={option}"))
    return min(found)[2] if found else None


def _read(
    found: dict[str, Written], path: Path, group: str, option: str, package: str | None, folders: Sequence[Path]
) -> None:
    text = path.read_text(encoding="utf-8")
    header = re.match(r"#\s*@package\s+(\S+)", text)
    package = package if package is not None else header[1].replace("_global_", "") if header else group
    for entry in _bases(text):
        name, _, inside = entry.partition("@")
        below = option_file(group, name, folders)
        if below is not None:
            steps = [package, *inside.split(".")] if inside and inside != "_here_" else [package]
            _read(found, below, group, name, ".".join(filter(None, steps)), folders)
    _add(found, path, f"{group}/{option}", package)


@functools.cache
def _bases(text: str) -> tuple[str, ...]:
    """Files of the same group that a file builds on."""
    written = yaml.load(text, LOADER) or {}
    return tuple(entry for entry in written.get("defaults", []) if isinstance(entry, str) and entry != "_self_")


def _commands(config_name: str) -> list[str]:
    """A command's file after those that it builds on."""
    below = _bases((conf_dir() / f"{config_name}.yaml").read_text(encoding="utf-8"))
    return [*(name for base in below for name in _commands(base)), config_name]


def _add(found: dict[str, Written], path: Path, file: str, package: str) -> None:
    prefix, own = f"{package}." if package else "", of_yaml(path, file)
    ours = {f"{prefix}{key}": told for key, told in own.items() if key.partition(".")[0] not in ("defaults", "hydra")}
    found.update(_merged(found, ours))


def _merged(first: Mapping[str, Written], second: Mapping[str, Written]) -> dict[str, Written]:
    """The second one's values; a comment of the first where the second has none."""
    said = {key: one.comment for key, one in first.items()}
    return {**first, **{key: replace(one, comment=one.comment or said.get(key, "")) for key, one in second.items()}}
