"""Benchmarks of a configuration: read, put to its model, scored."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.compatibility import check_reads
from aa_lightning.assembly.policy import build_chat_policy
from aa_lightning.assembly.stages import export_of
from aa_lightning.runs.layout import RunFolder
from aa_lightning.system.processes import rank

if TYPE_CHECKING:
    from aa_lightning.benchmarks.questions import Questions
    from aa_lightning.benchmarks.results import Result

_SCORING = ("extract", "score", "aggregate", "main", "group_by", "direction", "chance", "dimension", "source")
_PATIENCE = datetime.timedelta(days=2)  # of a process that has no questions left, for the others


def run_benchmarks(cfg: DictConfig, folder: Path) -> dict[str, Result]:
    """Put all chosen benchmarks to the model of a configuration.

    Args:
        folder: of the run; answers that stand there under the same settings are not asked for again.

    Returns:
        Results by the benchmark and its extractor; empty on other ranks than the first.

    Raises:
        ValueError: rows, parts or a model that do not go together, before weights load.
    """
    from aa_lightning.benchmarks.asking import Asking, ask
    from aa_lightning.benchmarks.kept import KeptAnswers
    from aa_lightning.benchmarks.results import result

    every = read_benchmarks(cfg)
    group = _Group()
    asking = Asking(cfg.loader.eval_batch_size, cfg.loader.overlong == "skip", rank(), group.size)
    kept = {name: KeptAnswers(RunFolder(folder).samples, name, _settings(cfg, name), rank()) for name in every}
    policy = build_chat_policy(cfg).to(group.device)
    found: dict[str, Result] = {}
    for name, questions in every.items():
        ask(policy, questions, kept[name], asking)
        answers = group.gathered(kept[name].read())
        if rank() == 0:
            told, rows = result(questions, answers)
            kept[name].finish(rows)
            found[f"{name}/{questions.options.extract.name}"] = told
    return found


def read_benchmarks(cfg: DictConfig) -> dict[str, Questions]:
    """Read the questions of all chosen benchmarks, and refuse what the model cannot read.

    Raises:
        ValueError: which one, why, and what to type.
    """
    from aa_lightning.benchmarks.options import Benchmark
    from aa_lightning.benchmarks.questions import Questions
    from aa_lightning.benchmarks.results import check

    found: dict[str, Questions] = {}
    for name, said in OmegaConf.to_container(cfg.benchmark, resolve=True).items():
        try:
            found[name] = Questions(Benchmark(**said))
            check_reads(cfg, found[name].prompts.media)
            check(found[name])
        except FileNotFoundError as error:
            where = f"type: benchmark.{name}.data.path=<file or folder>"
            raise FileNotFoundError(f"benchmark={name}: {error}\n{where}") from error
        except ValueError as error:
            raise ValueError(f"benchmark={name}: {error}") from error
    return found


def _settings(cfg: DictConfig, name: str) -> dict[str, Any]:
    """Collect all that decides what is said."""
    asked = OmegaConf.to_container(cfg.benchmark[name], resolve=True)
    export = None if cfg.run is None else export_of(cfg.run)
    files = [] if export is None else [path for path in sorted(Path(export).rglob("*")) if path.is_file()]
    return {
        "benchmark": {key: value for key, value in asked.items() if key not in _SCORING},
        "model": OmegaConf.to_container(cfg.model, resolve=True),
        "run": [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files],
    }


class _Group:
    """The processes of a command, each with a device of its own."""

    def __init__(self):
        import os

        import torch
        from torch import distributed

        self.size = int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", 0))
        self.device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
        if self.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=_PATIENCE)

    def gathered(self, own: dict[str, Any]) -> dict[str, Any]:
        """Bring together what all processes have, on the first one."""
        from torch import distributed

        if self.size == 1:
            return own
        every: list[Any] | None = [None] * self.size if rank() == 0 else None
        distributed.gather_object(own, every)
        return {key: row for told in every or [] for key, row in told.items()}
