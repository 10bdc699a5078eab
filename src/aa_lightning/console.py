"""What the user reads in the terminal; other ranks stay silent."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

_console = Console(highlight=False, soft_wrap=True)


@rank_zero_only
def say(message: str) -> None:
    """One line."""
    _console.print(message, markup=False)


@rank_zero_only
def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table; the first column is a name, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _console.print(table)
