"""Rows of arrow tables: hub data sets, parquet, saved data sets. The only module that imports `datasets`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

try:
    import datasets
except ImportError as error:
    raise ImportError(
        "hub data sets, parquet and arrow files need the package `datasets`: pip install datasets "
        "(.jsonl, .json and .csv files do without)"
    ) from error

from aa_lightning.data.errors import BadRow
from aa_lightning.data.options import Table
from aa_lightning.system.console import shows_bars

if not shows_bars():
    datasets.disable_progress_bars()


class ArrowRows:
    """Rows as they are stored: media stay structs of bytes and path, lists of structs stay lists of structs."""

    def __init__(self, table: datasets.Dataset):
        self.table = table.with_format("arrow")
        self.columns = table.column_names

    def filled(self) -> Counter[str]:
        """By the null counts that the table keeps: reading every medium would take long."""
        table = self.table.data
        return Counter({name: len(self) - table.column(name).null_count for name in self.columns})

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.table[index]
        return {name: self._value(index, name, row.column(name)) for name in self.columns}

    def _value(self, index: int, name: str, column: Any) -> Any:
        try:
            return column[0].as_py()
        except (ValueError, ArithmeticError) as error:  # bytes that are no text, times before all calendars
            raise BadRow(str(index), name, f"The value cannot be read ({error}).") from error


def load_hub(options: Table) -> datasets.Dataset:
    """A data set of the hub. Loading scripts are never run.

    Raises:
        ValueError: it cannot be loaded; the message says what was asked for.
    """
    try:
        return datasets.load_dataset(
            options.path,
            name=options.name,
            split=options.split,
            data_files=options.files,
            data_dir=options.data_dir,
            revision=options.revision,
        )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"the data set {options.path!r} (name={options.name}, split={options.split}) cannot be loaded: {error}. "
            "For a local file give its path with its ending, for example data.train.path=my.jsonl"
        ) from error


def load_file(path: Path) -> datasets.Dataset:
    """A parquet file, an arrow file, or a folder written by `save_to_disk`."""
    try:
        if path.is_dir():
            return datasets.load_from_disk(str(path))
        if path.suffix == ".arrow":
            return datasets.Dataset.from_file(str(path))
        return datasets.Dataset.from_parquet(str(path))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
