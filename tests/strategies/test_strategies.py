"""Every strategy trains as one process does, gives its weights back whole, and resumes to the bit; two processes with
two rows each are one process with four, where an objective couples the rows of a batch too."""

import json
import os
import sys
from pathlib import Path

import pytest
from torch import nn

from aa_lightning.system.processes import run_workers
from aa_lightning.training.strategies import blocks, check_sharded
from tests.strategies import job
from tests.strategies.coupled import COUPLED, ROWS, held_out, two_steps
from tests.strategies.toy import ToyPolicy

ROOT = Path(__file__).parents[2]
BUILDER = "tests.strategies.toy:build"
STRATEGIES = ["ddp", "fsdp", "zero1", "zero2", "zero3"]


def of_two(output, *names):
    """What `tests/strategies/job.py` found, in two processes."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.strategies.job", str(output), BUILDER, *names]
    run_workers(command, 2, env={"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}, cwd=ROOT, timeout=280)
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    output = tmp_path_factory.mktemp("alone") / "results.json"
    job.main(str(output), BUILDER, "single")
    return json.loads(output.read_text())["single"]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """All strategies one after another in the same two processes: the imports are paid once."""
    return of_two(tmp_path_factory.mktemp("together") / "results.json", *STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_losses_over_five_steps_equal_those_of_one_process(alone, together, name):
    """DPO against a frozen reference, AdamW, clipped; the first loss is log 2, ZeRO-3's too."""
    assert together[name]["adam"] == pytest.approx(alone["adam"], abs=2e-5)
    assert together[name]["adam"][0] == pytest.approx(0.693147, abs=1e-5)
    assert max(alone["adam"]) - min(alone["adam"]) > 0.01


@pytest.mark.parametrize("name", STRATEGIES)
def test_accumulated_micro_batches_equal_those_of_one_process(alone, together, name):
    """SGD without a clip, as Adam and a clip would hide gradients that are too small by a factor."""
    assert together[name]["accumulated"] == pytest.approx(alone["accumulated"], abs=5e-5)


@pytest.mark.parametrize("name", STRATEGIES)
def test_whole_weights_come_back_equal_to_those_of_one_process(alone, together, name):
    assert set(together[name]["weights"]) == set(alone["weights"])
    for key, expected in alone["weights"].items():
        assert together[name]["weights"][key] == pytest.approx(expected, rel=2e-5), key


@pytest.mark.parametrize("name", STRATEGIES)
def test_ranks_may_generate_different_lengths_and_training_goes_on_as_before(alone, together, name):
    """Rank r draws 3 + 5r tokens greedily: rank 1's eight begin as the three of one process do."""
    assert len(together[name]["tokens"]) == 4 + 8
    assert together[name]["tokens"][:7] == alone["tokens"]


@pytest.mark.parametrize("name", ["single", *STRATEGIES])
def test_a_resumed_run_ends_with_the_same_weights_to_the_bit(alone, together, name):
    """Dropout 0.1, each rank with draws of its own; cut at step 5 of 8, in an epoch of 6."""
    found = {"single": alone, **together}[name]
    assert found["straight"] == found["resumed"]
    assert len(found["straight"]) == 32


@pytest.mark.slow
def test_sharded_checkpoints_resume_to_the_bit(tmp_path):
    found = of_two(tmp_path / "results.json", "fsdp_shards")["fsdp_shards"]
    assert found["straight"] == found["resumed"]


def test_weights_that_were_not_sharded_are_refused_and_named():
    with pytest.raises(TypeError, match="network.model.model.embed_tokens.weight.* or type strategy=ddp"):
        check_sharded(ToyPolicy(dropout=0.0))


def test_the_blocks_that_are_gathered_one_at_a_time_are_the_layers():
    found = blocks(ToyPolicy(dropout=0.0).network)
    assert [type(block).__name__ for block in found] == ["LlamaDecoderLayer"] * 2


def test_lists_of_lists_are_no_blocks_since_nothing_calls_them():
    """The upsampling layers of a vocoder; `fully_shard` refuses a list."""
    lists = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2)]), nn.ModuleList([nn.Linear(2, 2)])])
    layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    assert blocks(nn.ModuleDict({"ups": lists, "layers": layers})) == list(layers)


# ---------------------------------------------------------------- objectives that couple the rows of a batch


@pytest.mark.parametrize("name", COUPLED)
def test_two_processes_take_the_steps_of_one(together, name):
    alone = two_steps(name, list(range(ROWS)), lambda value: value)
    for (loss, weight), (theirs, other) in zip(alone, together["coupled"][name], strict=True):
        assert theirs == pytest.approx(loss, abs=1e-12)
        assert other == pytest.approx(weight, abs=1e-12)
    assert alone[0][1] != alone[1][1]


@pytest.mark.parametrize("name", COUPLED)
def test_two_processes_with_three_rows_and_one_measure_what_one_does_with_four(together, name):
    """As held-out batches are, whose sizes differ by one at most."""
    alone = held_out(name, list(range(ROWS)), lambda value: value)
    assert together["coupled"][f"held out {name}"] == pytest.approx(alone, abs=1e-6)


def test_a_process_without_rows_takes_part_all_the_same(together):
    assert together["coupled"]["of none"] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", ["aot", "beta_dpo", "bco_pair"])
def test_the_coupling_matters(name):
    """Two halves by themselves are not the whole: else the test above would show nothing."""
    whole = two_steps(name, list(range(ROWS)), lambda value: value)
    halves = [two_steps(name, half, lambda value: value) for half in ([0, 2], [1, 3])]
    mean = sum(half[0][0] for half in halves) / 2
    assert abs(mean - whole[0][0]) > 1e-9
