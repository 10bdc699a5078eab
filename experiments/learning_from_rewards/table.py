"""The table of README.md: runs that learn from rewards, with their held-out measures before and after, and their seconds.

    python experiments/learning_from_rewards/table.py outputs/rewards
    python experiments/learning_from_rewards/table.py outputs/rewards 'algo=ppo modality=ti2t seed=0,1,2' …

Each argument after the folder is a row or several: what is typed behind `train`, with values of a sweep by commas; without
any, all rows of README.md. A run that is there already is not trained again.
"""

from __future__ import annotations

import itertools
import json
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

MEASURES = ("answer_accuracy", "picture_accuracy", "sound_accuracy")
ROWS = (
    "algo=grpo modality=ti2t,t2t,ta2t,tv2t,any2t,t2a,ti2ti,t2i seed=0,1,2",
    "algo=ppo modality=ti2t seed=0,1,2",
    "experiment=safe_rlhf_v modality=ti2t seed=0,1,2",
)


def jobs(line: str) -> list[list[str]]:
    """The command lines of a row: every combination of its values."""
    choices = [
        [f"{key}={value}" for value in values.split(",")] if "[" not in values else [f"{key}={values}"]
        for key, _, values in (item.partition("=") for item in shlex.split(line))
    ]
    return [list(one) for one in itertools.product(*choices)]


def trained(folder: Path, typed: list[str]) -> tuple[dict, dict]:
    """The summary of a run, which is trained if it is not there, and what it took: with the stage that it starts from
    where the cache lacks it, and with all measuring."""
    run = folder / "_".join(item.replace("=", "-").replace("/", "-") for item in typed)
    took = run / "took.json"
    if not took.is_file():
        start, used = time.monotonic(), _processor_seconds()
        subprocess.run([sys.executable, "-m", "aa_lightning.train", *typed, f"hydra.run.dir={run}"], check=True)
        seconds = {"processor": _processor_seconds() - used, "wall": time.monotonic() - start}
        took.write_text(json.dumps(seconds))
    return json.loads((run / "summary.json").read_text()), json.loads(took.read_text())


def _processor_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def row(typed: list[str], summary: dict, took: dict) -> str:
    """A line of the table."""
    name = next(name for name in MEASURES if f"heldout/{name}" in summary["after"])
    before, after = (summary[moment].get(f"heldout/{name}", float("nan")) for moment in ("before", "after"))
    numbers = f"{before:.3f} | {after:.3f} | {after - before:+.3f} | {took['processor']:.0f} | {took['wall']:.0f}"
    return f"| `{' '.join(typed)}` | {summary['steps']} | {numbers} |"


def main(folder: str, *lines: str) -> None:
    """Print the table, a row as soon as its run has ended."""
    print("| run | steps | right before | right after | gain | processor seconds | seconds |\n|---|---|---|---|---|---|---|")
    for typed in itertools.chain(*map(jobs, lines or ROWS)):
        print(row(typed, *trained(Path(folder), typed)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
