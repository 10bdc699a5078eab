"""Objectives that couple the rows of a batch: two processes with two rows each are one process with four."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.strategies.coupled import ROWS, held_out, two_steps

ROOT = Path(__file__).parents[2]
COUPLED = ["aot", "aot_paired", "kto", "kto_batch", "bco", "bco_pair", "beta_dpo", "dpo"]


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    store = tmp_path_factory.mktemp("rendezvous") / "store"
    command = [sys.executable, "-m", "tests.strategies.coupled"]
    ranks = [
        subprocess.Popen([*command, str(rank), str(store), *COUPLED], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for rank in range(2)
    ]
    told = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    return json.loads(told[0].splitlines()[-1])


@pytest.mark.parametrize("name", COUPLED)
def test_two_processes_take_the_steps_of_one(of_two_processes, name):
    alone = two_steps(name, list(range(ROWS)), lambda value: value)
    for (loss, weight), (theirs, other) in zip(alone, of_two_processes[name], strict=True):
        assert theirs == pytest.approx(loss, abs=1e-12)
        assert other == pytest.approx(weight, abs=1e-12)
    assert alone[0][1] != alone[1][1]


@pytest.mark.parametrize("name", COUPLED)
def test_two_processes_with_three_rows_and_one_measure_what_one_does_with_four(of_two_processes, name):
    """As held-out batches are, whose sizes differ by one at most."""
    alone = held_out(name, list(range(ROWS)), lambda value: value)
    assert of_two_processes[f"held out {name}"] == pytest.approx(alone, abs=1e-6)


def test_a_process_without_rows_takes_part_all_the_same(of_two_processes):
    assert of_two_processes["of none"] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", ["aot", "beta_dpo", "bco_pair"])
def test_the_coupling_matters(name):
    """Two halves by themselves are not the whole: else the test above would show nothing."""
    whole = two_steps(name, list(range(ROWS)), lambda value: value)
    halves = [two_steps(name, half, lambda value: value) for half in ([0, 2], [1, 3])]
    mean = sum(half[0][0] for half in halves) / 2
    assert abs(mean - whole[0][0]) > 1e-9
