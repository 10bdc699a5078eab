"""python -m aa_lightning.evaluate: held-out numbers of a trained run or of any checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from aa_lightning.launch.command import command
from aa_lightning.launch.job import run_folder
from aa_lightning.runs.layout import RunFolder

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("evaluate", reads="run")
def main(cfg: DictConfig) -> float:
    """
    Measure a model: on held-out data (preference accuracy, likelihood, greedy answers, rewards), or by benchmarks.

      python -m aa_lightning.evaluate run=outputs/<date>/<run>             a trained run, against what it started from
      python -m aa_lightning.evaluate model=llava_1_5_7b data=align_anything_ti2t
      python -m aa_lightning.evaluate run=outputs/<date>/<run> data=rlaif_v evaluation.num_examples=1000
      python -m aa_lightning.evaluate run=outputs/<date>/<run> benchmark=[pope,mme]      --help benchmark lists them
    """
    from aa_lightning.evaluation.catalogue import objective

    if cfg.get("benchmark"):
        return evaluate_benchmarks(cfg, run_folder())
    return objective(evaluate(cfg, run_folder()))


def evaluate(cfg: DictConfig, folder: Path) -> dict[str, float]:
    """Held-out measures of the model that the configuration names.

    Args:
        cfg: composed from conf/evaluate.yaml.
        folder: for evaluation.json and samples/.

    Returns:
        Measures by name.
    """
    from aa_lightning.assembly.evaluation import load_trained
    from aa_lightning.evaluation.catalogue import NOTHING_MEASURED
    from aa_lightning.evaluation.samples import save_samples
    from aa_lightning.system.atomic import write_text
    from aa_lightning.system.console import quiet, say, show_progress, show_table

    quiet()
    show_progress(cfg.trainer.enable_progress_bar)
    policy, suite, device = load_trained(cfg)
    measured = suite.run(policy, device)
    if not measured.measures:
        say(NOTHING_MEASURED)
    named = {f"heldout/{key}": value for key, value in measured.measures.items()}
    place = RunFolder(folder)
    write_text(place.evaluation, json.dumps(named, indent=1))
    if measured.responses:
        shown = [suite.sets.examples[i] for i in range(min(cfg.evaluation.samples, len(measured.responses)))]
        said = {"policy": [measured.responses[example.id] for example in shown]}
        save_samples(place.samples, "evaluation", shown, said, measured.verdicts)
    counts = {f"heldout/{key}": str(count) for key, count in measured.examples.items()}
    rows = [[name, f"{value:.3f}", counts[name]] for name, value in sorted(named.items())]
    show_table("held out", ["measure", "value", "examples"], rows)
    say(f"numbers  {place.evaluation}")
    return named


def evaluate_benchmarks(cfg: DictConfig, folder: Path) -> float:
    """Results of the benchmarks that the configuration names.

    Args:
        cfg: composed from conf/evaluate.yaml.
        folder: for evaluation.json and samples/.

    Returns:
        The main number of the first one, or NaN on other ranks.
    """
    from aa_lightning.assembly.benchmarks import run_benchmarks
    from aa_lightning.benchmarks.tables import show
    from aa_lightning.system.atomic import write_text
    from aa_lightning.system.console import quiet, say, show_progress

    quiet()
    show_progress(cfg.trainer.enable_progress_bar)
    found, place = run_benchmarks(cfg, folder), RunFolder(folder)
    if not found:
        return math.nan
    write_text(place.evaluation, json.dumps({"benchmarks": found}, indent=1))
    show(found)
    say(f"numbers  {place.evaluation}")
    say(f"answers  {place.samples}/<benchmark>.jsonl")
    return next(iter(found.values()))["value"]


if __name__ == "__main__":
    main()
