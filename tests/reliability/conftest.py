"""Runs that several files read, trained once."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aa_lightning.configuration.compose import compose
from aa_lightning.system.cache import made_once
from aa_lightning.train import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Callable[[list[str]], Path]:
    """Gives the folder of a run with these overrides, which nobody changes: all workers of a session share it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def run(overrides: list[str]) -> Path:
        name = hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:16]
        folder = shared / "trained" / name
        (shared / "whole").mkdir(exist_ok=True)
        made_once(shared / "whole" / name, lambda _: train(compose(overrides), folder))
        return folder

    return run
