"""Results of benchmarks in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aa_lightning.system.console import show_table

_COLUMNS = ["benchmark", "value", "95 %", "chance", "n", "missing", "unparsed"]


def show(results: Mapping[str, Mapping[str, Any]]) -> None:
    """A row for each benchmark; then the groups of each.

    Args:
        results: by the benchmark and its extractor.
    """
    show_table("benchmarks", _COLUMNS, [_row(name, told) for name, told in results.items()])
    for name, told in results.items():
        for column, groups in told["groups"].items():
            rows = [
                [group, _number(numbers[told["main"]]), str(numbers["n"]), str(numbers["n_unparsed"])]
                for group, numbers in groups.items()
            ]
            show_table(f"{name.partition('/')[0]} by {column}", [column, told["main"], "n", "unparsed"], rows)


def _row(name: str, told: Mapping[str, Any]) -> list[str]:
    low, high = told["interval"]
    return [
        f"{name.partition('/')[0]} {told['main']} {'↓' if told['direction'] == 'lower' else '↑'}",
        _number(told["value"]),
        f"{_number(low)} {_number(high)}",
        "" if told["chance"] is None else _number(told["chance"]),
        *(str(told[key]) for key in ("n", "n_missing", "n_unparsed")),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}"
