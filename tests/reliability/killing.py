"""The real command, killed at chosen moments and resumed; what must be equal afterwards."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file

from aa_lightning.runs.checkpoints import newest, step_of
from tests.reliability.forked import Command

STEPS, EVERY = 24, 3
RUN = [  # everything that a resume has to find again: order, dropout, schedule, moments, accumulation, epochs
    "modality=ti2t",
    "model=tiny_llava",
    "algo=dpo",
    "init=null",
    "model.dropout=0.1",
    "data.train.size=22",
    "data.val.size=8",
    "loader.batch_size=4",
    "loader.micro_batch_size=1",
    "optimizer.lr=1e-3",
    "optimizer.schedule=cosine",
    "optimizer.warmup_ratio=0.2",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=20",  # micro-batches: in the middle of a checkpoint interval
    "trainer.enable_progress_bar=false",
    "evaluation.num_examples=8",
    "evaluation.num_generations=2",
    "evaluation.max_new_tokens=4",
    "evaluation.samples=0",
    "evaluation.blank_media_control=false",
    "logger.tensorboard=false",
    f"checkpoint.every_n_steps={EVERY}",
]
TIMED = ("time/", "throughput/", "memory/")  # differ from run to run


@dataclass
class Life:
    """What a killed process left behind."""

    code: int
    logged: int  # last step in metrics.csv
    checkpoint: int  # step of the newest finished checkpoint, 0 without one
    rows: dict[int, dict[str, str]]
    stderr: str


def rows_of(folder: Path) -> list[dict[str, str]]:
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def live_until(folder: Path, arguments: list[str], step: int, delay: float, number: signal.Signals) -> Life:
    """Run the command until a step stands in metrics.csv and some seconds more, then send a signal to it alone: what it has
    started must end as well."""
    process = Command("aa_lightning.train", arguments)
    while process.poll() is None and len(rows_of(folder)) <= step:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(number)
    return _left(process, folder)


def live_into(folder: Path, arguments: list[str], what: str, count: int) -> Life:
    """Run the command until it is killed in the midst of what it begins the n-th time (`tests/reliability/dying.py`)."""
    return _left(Command("tests.reliability.dying", arguments, env={"DIES": f"{what} {count}"}), folder)


def _left(process: Command, folder: Path) -> Life:
    _, err = process.communicate(timeout=120)
    rows = {int(row["step"]): row for row in rows_of(folder)}
    at = newest(folder)
    return Life(process.returncode, max(rows, default=-1), 0 if at is None else step_of(at), rows, err)


def ranks_of(pid: int) -> list[int]:
    """The ranks of a command: its children that lead a process group of their own."""
    return [child.pid for child in psutil.Process(pid).children() if os.getpgid(child.pid) == child.pid]


def moments(seed: int, count: int) -> list[tuple[int, float]]:
    """(step, seconds after it): anywhere between the first step and the last."""
    draw = random.Random(seed)
    return [(draw.randrange(STEPS - 2), draw.uniform(0, 0.15)) for _ in range(count)]


def finish(folder: Path, timeout: float = 300) -> None:
    process = Command("aa_lightning.train", [f"resume={folder}"])
    _, err = process.communicate(timeout)
    assert process.returncode == 0, err


def check_same(resumed: Path, whole: Path) -> None:
    """Weights to the bit, every step once, every logged number the same."""
    ours, theirs = (load_file(folder / "export" / "model.safetensors") for folder in (resumed, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    ours, theirs = rows_of(resumed), rows_of(whole)
    assert [row["step"] for row in ours] == [str(step) for step in range(STEPS + 1)]
    for one, other in zip(ours, theirs, strict=True):
        assert untimed(one) == untimed(other)


def check_not_repeated(life: Life, folder: Path) -> None:
    """At most an interval is lost, and rows of steps before the checkpoint are the old ones, their times included."""
    assert life.logged - life.checkpoint < EVERY + 1
    after = {int(row["step"]): row for row in rows_of(folder)}
    for step, row in life.rows.items():
        if step < life.checkpoint:
            assert {key: value for key, value in after[step].items() if value} == {k: v for k, v in row.items() if v}


def untimed(row: dict[str, str]) -> dict[str, str]:
    """A row of metrics.csv without what differs from run to run."""
    return {key: value for key, value in row.items() if value and not key.startswith(TIMED)}
