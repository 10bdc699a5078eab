"""How long a run takes to know its rows: of a large file of JSON lines, at first and whenever it is asked for again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.configuration.compose import compose
from aa_lightning.types import Example
from benchmarks import machine

PICTURES = 1000  # files that the rows share in turns, so that each row's is looked for
FIRST, LATER, MEMORY = 80, 3, 60  # goals: seconds, seconds, MiB
_ASKED = "Which of the two shapes in the picture is the larger one, and where does it stand? "


def write_rows(folder: Path, count: int) -> Path:
    """Write pairs of about 630 bytes, each with one of the pictures beside the file."""
    (folder / "pictures").mkdir(exist_ok=True)
    for number in range(PICTURES):
        Image.new("RGB", (32, 32)).save(folder / "pictures" / f"{number}.png")
    path = folder / f"{count}.jsonl"
    with path.open("w") as file:
        for number in range(count):
            row = {
                "prompt": f"{number}: {_ASKED * 2}",
                "image": f"pictures/{number % PICTURES}.png",
                "chosen": f"{number} {'the larger one is red ' * 9}",
                "rejected": f"{number} {'the larger one is blue ' * 8}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def splits(path: Path) -> list[Sequence[Example]]:
    """Read the rows to train on and those held out, as a run does."""
    data = data_options(compose(["algo=dpo", "data=local", f"data.train.path={path}", "data.val_share=0.05"]))
    return [read_examples(data, split, "preference") for split in ("train", "val")]


def start(path: Path) -> dict[str, float]:
    """Processor and wall seconds of reading all splits, and MiB above what a few rows take."""
    few = splits(write_rows(path.parent, 100))
    before = machine.memory_in_use("cpu")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    began, asked = time.process_time(), time.perf_counter()
    many = splits(path)
    taken, wall = time.process_time() - began, time.perf_counter() - asked
    assert all(map(len, [*few, *many]))
    return {"seconds": taken, "wall": wall, "mib": (machine.peak_memory("cpu") - before) / 2**20}


def measured(path: Path, cache: Path, processes: int = 1) -> dict[str, float]:
    """The same in processes of their own, with their own cache: the sum of their work, and the longest wait of one."""
    command = [sys.executable, "-m", "benchmarks.start", "--read", str(path)]
    given = {"env": {**os.environ, "AA_LIGHTNING_CACHE": str(cache)}, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, stderr=subprocess.DEVNULL, **given) for _ in range(processes)]
    told = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in started]
    work = sum(one["seconds"] for one in told)
    return {"seconds": work, "wall": max(one["wall"] for one in told), "mib": max(one["mib"] for one in told)}


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown of the starts."""
    rows = [
        f"| {name} | {told['seconds']:.2f} | {told['wall']:.2f} | {told['mib']:.0f} |" for name, told in found.items()
    ]
    goals = f"The goals are {FIRST} s at first, {LATER} s later, {MEMORY} MiB, and eight processes no slower than one."
    columns = "| start | processor seconds, of all | seconds, of the slowest | MiB above a run on 100 rows |"
    return "\n".join([columns, "|---|---|---|---|", *rows, "", goals, ""])


def main(argv: list[str] | None = None) -> None:
    parser = machine.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", type=Path, help="only print what one start on this file takes")
    options = parser.parse_args(argv)
    if options.read:
        print(json.dumps(start(options.read)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path, cache = write_rows(Path(folder), options.rows), Path(folder) / "cache"
        size = path.stat().st_size / 2**20
        found = {name: measured(path, cache) for name in ("first", "second", "third")}
        found["first, of eight processes"] = measured(path, Path(folder) / "another", 8)
    heading = (
        f"# A start on {options.rows:,} rows\n\nOne file of {size:.0f} MiB, a picture for each row, no template.\n"
    )
    machine.write("start", options.device, "\n".join([heading, machine.described(options.device), table(found)]))


if __name__ == "__main__":
    main()
