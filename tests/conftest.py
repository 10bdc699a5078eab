"""Settings of every test: one thread, no network, nothing left of signals; what takes long begins."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

from aa_lightning.system import signals

FIRST = ["strategies", "reliability", "contract", "models", "tests"]  # folders; the others have many short tests


@pytest.fixture(autouse=True)
def forget_signals():
    """Commands that are called in this process leave it as their end would."""
    yield
    signals._asked, signals._kept = None, False


def pytest_collection_modifyitems(items):
    """Begin with the files that take long, so that the short ones even out when workers end."""
    rank = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(Path(item.path).parent.name, len(FIRST)))
