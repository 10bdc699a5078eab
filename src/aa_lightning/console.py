"""What the user reads in the terminal; other ranks stay silent."""

from __future__ import annotations

import logging
import os
import warnings

import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers.utils import logging as hugging_face

_EXPECTED = (  # said at every run, and nothing to act on
    "does not have many workers",
    "treespec, LeafSpec",
    "module\\(s\\) in eval mode",
    "transfer_batch_to_device",
    "No device id is provided",
)
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


@rank_zero_only
def paint(text: Text) -> None:
    """Text with colours, and an empty line after it."""
    _console.print(text)
    _console.print()


def quiet() -> None:
    """Lightning's and transformers' own chatter away; warnings that concern a user's data or model stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed warns that it found nothing else
    hugging_face.disable_progress_bar()
    hugging_face.set_verbosity_error()
    for part in _EXPECTED:
        warnings.filterwarnings("ignore", message=f".*{part}.*")
