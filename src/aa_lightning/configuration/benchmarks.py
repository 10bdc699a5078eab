"""The section `benchmark`: benchmarks by name; and the page that lists them by what they tell of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from aa_lightning.configuration.comments import LOADER, head, sentence
from aa_lightning.configuration.folders import file_of, option_names
from aa_lightning.configuration.targets import named_class
from aa_lightning.configuration.validation import mistakes_in
from aa_lightning.configuration.wording import Everywhere, is_base, show, unknown

GROUP = "benchmark"  # of the command evaluate alone


def benchmark_schema() -> type:
    """The class that checks a benchmark."""
    return named_class("aa_lightning.benchmarks.options.Benchmark")


def mistakes_in_benchmarks(section: Mapping[str, Any], everywhere: Everywhere) -> list[str]:
    """List what benchmarks say that they cannot mean.

    Args:
        section: benchmark → what its file says.
        everywhere: what a mistyped key may have meant.
    """
    whole = [name for name, said in section.items() if isinstance(said, Mapping) and "template" in said]
    mistakes: list[str] = []
    for name, said in section.items():
        if name in whole:
            mistakes += mistakes_in(f"{GROUP}.{name}", said, benchmark_schema(), everywhere)
        elif name in everywhere.groups.get(GROUP, ()):
            mistakes.append(f"{GROUP}.{name} is not chosen\ntype: {GROUP}=[{','.join([*whole, name])}]")
        elif whole:
            mistakes.append(unknown(GROUP, name, said, whole, everywhere))
        else:
            mistakes.append(f"{GROUP}.{name}={show(said)} cannot be used: it names no benchmark\ntype: --help {GROUP}")
    return mistakes


def listed(folders: Sequence[Path]) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each dimension with its benchmarks: what is typed, the modality, the first comment of the file."""
    told = []
    for name in option_names(folders).get(GROUP, []):
        if not is_base(GROUP, name):
            path = file_of(GROUP, name, folders)
            said = (yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}).get(name, {})
            about = sentence([line for line in head(path) if not line.startswith("python -m ")])
            told.append((said.get("dimension", "as its base says"), said.get("modality", ""), name, about))
    for dimension, several in groupby(sorted(told), key=lambda one: one[0]):
        yield dimension, [(f"{GROUP}={name}", modality, about) for _, modality, name, about in several]
