"""Many answers to one prompt, read by this build and by an earlier one: forward and backward, each in a process of its own.

git worktree add ../before <commit>; python -m benchmarks.earlier ../before
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks import machine

KINDS = ((48, False), (128, False), (512, False), (0, True))  # words of the prompt, and whether it has a picture
RESPONSES, RIVALS = (32, 128), (8, 16)
# what a build does with one line of its input, by the names that both builds have
_SERVER = """
import json, os, sys, time, torch
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries talk on their first import
from benchmarks import layouts, subject
torch.set_num_threads(1)
policy = subject.make_policy(sizes=layouts.SIZES)
for line in sys.stdin:
    batch = layouts.make_batch(policy, *json.loads(line))
    start = time.process_time()
    total = policy.log_likelihood(batch).total.sum()
    total.backward()
    print(json.dumps([time.process_time() - start, total.item()]), file=answers, flush=True)
    policy.zero_grad()
"""


class Build:
    """A checkout, whose code reads batches in a process of its own."""

    def __init__(self, folder: Path):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder)])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], cwd=folder, env=environment, text=True, **pipes
        )

    def read(self, cell: tuple[int, int, int, bool]) -> tuple[float, float]:
        """Processor seconds, and the log-likelihood of all answers."""
        self._process.stdin.write(json.dumps(cell) + "\n")
        self._process.stdin.flush()
        return tuple(json.loads(self._process.stdout.readline()))


def compare(before: Build, now: Build, cell: tuple[int, int, int, bool], repeats: int) -> tuple[float, float]:
    """Seconds of this build, and the median over alternated rounds of the earlier one's ÷ this one's.

    Raises:
        SystemExit: the two builds do not compute the same.
    """
    rounds = [(before.read(cell), now.read(cell)) for _ in range(repeats + 1)][1:]
    if any(abs(a - b) > 1e-5 * abs(a) for (_, a), (_, b) in rounds):
        raise SystemExit(f"the log-likelihoods of {cell} differ: {rounds}")
    ours = [here for _, (here, _) in rounds]
    return statistics.median(ours), machine.median_ratio([there for (there, _), _ in rounds], ours)


def main(argv: list[str] | None = None) -> None:
    parser = machine.arguments(__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of the earlier build")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    before, now = Build(options.folder.resolve()), Build(Path.cwd())
    rows = []
    for (prompt, media), response, k in itertools.product(KINDS, RESPONSES, RIVALS):
        seconds, ratio = compare(before, now, (prompt, response, k, media), options.repeats)
        shown = "picture" if media else f"{prompt} words"
        rows.append(f"| {shown} | {response} | {k} | {seconds:.3f} | {ratio:.2f} |")
        print(rows[-1], flush=True)
    show = ["git", "-C", str(options.folder), "log", "-1", "--format=%h (%s)"]
    commit = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
    head = [
        "# Many answers to one prompt, against an earlier build\n",
        machine.described("cpu"),
        f"* before: {commit}\n",
    ]
    columns = ["| prompt | answer | K | now, s | before ÷ now |", "|---|---|---|---|---|"]
    machine.write("earlier", "cpu", "\n".join([*head, *columns, *rows, ""]))


if __name__ == "__main__":
    main()
