"""Output in the terminal; other ranks stay silent."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from aa_lightning.system.processes import rank
from aa_lightning.system.shown import one_line, printable

_EXPECTED = (  # said at every run, and nothing to act on
    "does not have many workers",
    "treespec, LeafSpec",
    "module\\(s\\) in eval mode",
    "transfer_batch_to_device",
    "No device id is provided",
    "smaller than the logging interval",
)
_console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
_progress = True  # whether the user wants to see how far things are


def say(message: str) -> None:
    """One line."""
    if rank() == 0:
        _console.print(printable(message))


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table; the first column is a name, the others are numbers."""
    table = Table(title=one_line(title), title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(one_line(column), justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*map(one_line, row))
    if rank() == 0:
        _console.print(table)


def paint(pieces: Iterable[tuple[str, str]]) -> None:
    """Pieces of text, each with its style, and an empty line after them."""
    if rank() == 0:
        _console.print(Text.assemble(*((printable(text), style) for text, style in pieces)))
        _console.print()


# ---------------------------------------------------------------- how far things are


def show_progress(wanted: bool) -> None:
    """Set whether bars, and lines in their place, are shown from now on."""
    global _progress
    _progress = wanted


def in_terminal() -> bool:
    """Tell whether a bar can be drawn where it would be written; in a file or a pipe it would be a heap of fragments."""
    return sys.stderr.isatty()


def shows_bars() -> bool:
    """Tell whether there are bars: they are wanted, there is a terminal, and no other process draws them."""
    return _progress and in_terminal() and rank() == 0


def bar(
    items: Iterable | None,
    what: str,
    unit: str,
    *,
    delay: float = 1.0,
    leave: bool = False,
    total: int | None = None,
    initial: int = 0,
) -> tqdm:
    """A progress bar over items, in a terminal alone.

    Args:
        items: what is gone through; None: `update` is called.
        what: is done.
        unit: of one item.
        delay: seconds before it appears.
        leave: whether it stays when it ends.
        total: how many items there are, where they do not say it.
        initial: how many are done already.
    """
    options = {"desc": what, "unit": unit, "delay": delay, "leave": leave, "total": total, "initial": initial}
    return tqdm(items, **options, disable=not shows_bars())


def tell_progress(line: str) -> None:
    """A line where there is no terminal for a bar."""
    if _progress and not in_terminal():
        say(line)


# ---------------------------------------------------------------- what libraries say


def quiet() -> None:
    """Chatter of libraries away; warnings that concern a user's data or model stay."""
    import torch
    from transformers.utils import logging as hugging_face

    root = logging.getLogger()
    if root.level == logging.INFO:  # Hydra's, under which every library would speak; hydra.verbose=true asks for it
        root.setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed warns that it found nothing else
    hugging_face.disable_progress_bar()
    hugging_face.set_verbosity_error()
    for part in _EXPECTED:
        warnings.filterwarnings("ignore", message=f".*{part}.*")
    for of_libraries in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):  # about calls among themselves
        warnings.filterwarnings("ignore", category=of_libraries)
