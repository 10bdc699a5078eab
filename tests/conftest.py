"""Settings of every test: one thread, no network, nothing left of signals; what takes long begins."""

import os
from functools import cache
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import yaml

from aa_lightning.configuration import changes
from aa_lightning.system import signals

FIRST = ["strategies", "reliability", "contract", "models", "tests"]  # folders; the others have many short tests

_composed = changes.composed


@cache
def _own_file(algo: str, folders: tuple[Path, ...]):
    return _composed(None, [algo], folders)


# composing takes half of the time with each algorithm's own file composed once, and with the parser in C
changes.composed = lambda _, overrides, folders: _own_file(*overrides, tuple(folders))
yaml.SafeLoader = yaml.CSafeLoader


@pytest.fixture(autouse=True)
def forget_signals():
    """Commands that are called in this process leave it as their end would."""
    yield
    signals._asked, signals._kept = None, False


def pytest_collection_modifyitems(items):
    """Begin with the files that take long, so that the short ones even out when workers end."""
    rank = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(Path(item.path).parent.name, len(FIRST)))
