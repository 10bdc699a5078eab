"""A command that is killed at any moment goes on, and ends with the same files."""

import random
import subprocess
import sys
import time

import pytest

from tests.reliability.support import ROOT

COMMAND = [
    *(sys.executable, "-m", "aa_lightning.evaluate", "benchmark=shapes_t2t", "benchmark.shapes_t2t.limit=256"),
    *("model=tiny_qwen2", "loader.eval_batch_size=4", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
]


def run(folder):
    return subprocess.Popen([*COMMAND, f"hydra.run.dir={folder}"], cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_ten_kills_leave_the_same_files_as_none(tmp_path):
    began = time.monotonic()
    assert run(tmp_path / "whole").wait() == 0
    seconds, draw = time.monotonic() - began, random.Random(0)
    for _ in range(10):
        process = run(tmp_path / "killed")
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.wait()
    assert run(tmp_path / "killed").wait() == 0
    for file in ("evaluation.json", "samples/shapes_t2t.jsonl"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
