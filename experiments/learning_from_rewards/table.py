"""The table of README.md: runs that learn from rewards, with their held-out answers before and after, and their seconds.

    python experiments/learning_from_rewards/table.py outputs/rewards 'modality=ti2t seed=0,1,2' 'modality=t2t' …

Each argument after the folder is a row or several: what is typed behind `algo=grpo`, with values of a sweep by commas. A run
that is there already is not trained again.
"""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path

MEASURES = ("answer_accuracy", "picture_accuracy", "sound_accuracy")


def jobs(line: str) -> list[list[str]]:
    """The command lines of a row: every combination of its values."""
    choices = [
        [f"{key}={value}" for value in values.split(",")] if "[" not in values else [f"{key}={values}"]
        for key, _, values in (item.partition("=") for item in shlex.split(line))
    ]
    return [list(one) for one in itertools.product(*choices)]


def trained(folder: Path, typed: list[str]) -> dict:
    """The summary of a run, which is trained if it is not there."""
    run = folder / "_".join(item.replace("=", "-").replace("/", "-") for item in typed)
    if not (run / "summary.json").is_file():
        command = [sys.executable, "-m", "aa_lightning.train", "algo=grpo", *typed, f"hydra.run.dir={run}"]
        subprocess.run(command, check=True)
    return json.loads((run / "summary.json").read_text())


def row(typed: list[str], summary: dict) -> str:
    name = next(name for name in MEASURES if f"heldout/{name}" in summary["after"])
    before, after = (summary[moment].get(f"heldout/{name}", float("nan")) for moment in ("before", "after"))
    seconds = summary["throughput"]["train_s"]
    return f"| `{' '.join(typed)}` | {summary['steps']} | {before:.3f} | {after:.3f} | {seconds:.0f} |"


def main(folder: str, *lines: str) -> None:
    print("| `algo=grpo` | steps | right before | right after | seconds of training |\n|---|---|---|---|---|")
    for typed in itertools.chain(*map(jobs, lines)):
        print(row(typed, trained(Path(folder), typed)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
