"""Values on a command line that are taken as they are typed: prompts and paths are no overrides in Hydra's grammar."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

_PLAIN = re.compile(r"[\w./:+-]+")  # what Hydra takes for a text by itself


def literal(argv: Sequence[str], words: Collection[str], files: Collection[str]) -> list[str]:
    """The command line with such values quoted, so that Hydra hands them on to the character.

    Args:
        argv: what was typed, without the program.
        words: keys whose value is text.
        files: keys whose value is a path, or a list of paths in brackets.
    """
    return [_quoted(item, words, files) for item in argv]


def literal_paths(argv: Sequence[str], keys: Collection[str]) -> list[str]:
    """The command line with the values of these keys quoted where a file or folder has that name: `0_seed=1,algo.beta=1`."""
    named = [item.partition("=")[2] for item in argv]
    return [
        literal([item], (), keys)[0] if value and Path(value).exists() and not _PLAIN.fullmatch(value) else item
        for item, value in zip(argv, named, strict=True)
    ]


def _quoted(item: str, words: Collection[str], files: Collection[str]) -> str:
    typed, _, value = item.partition("=")
    key = typed.lstrip("+")
    if value == "null" or key not in {*words, *files}:
        return item
    if key in files and value.startswith("[") and not Path(value).exists():
        return item
    return f"{typed}={as_string(value)}"


def as_string(value: str) -> str:
    """A string of Hydra's grammar with this value, in which OmegaConf finds no interpolation."""
    from hydra.core.override_parser.types import Quote, QuotedString

    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return QuotedString(text=plain, quote=Quote.single).with_quotes()
