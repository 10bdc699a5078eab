"""The layout of a run folder."""

from __future__ import annotations

from pathlib import Path


class _At:
    """A path below the folder."""

    def __init__(self, *names: str):
        self.names = names

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path.joinpath(*self.names)


class RunFolder:
    """The files and folders of a run, whether they are there yet or not.

    Args:
        path: of the folder.
    """

    config = _At("config.yaml")  # the resolved configuration
    summary = _At("summary.json")
    metrics = _At("metrics.csv")
    log = _At("train.log")
    events = _At("tensorboard")
    samples = _At("samples")
    checkpoints = _At("checkpoints")
    export = _At("export")
    report = _At("report.html")
    evaluation = _At("evaluation.json")  # of the command evaluate
    error = _At("error.txt")
    hydra = _At(".hydra")  # what was typed and composed
    typed = _At(".hydra", "overrides.yaml")
    composed = _At(".hydra", "config.yaml")
    settings = _At(".hydra", "hydra.yaml")  # of Hydra itself

    def __init__(self, path: str | Path):
        self.path = Path(path)
