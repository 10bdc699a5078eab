"""metrics.csv says what happened at a step, however often it is written and whoever was killed."""

import csv
import json
import tracemalloc

import pytest
from PIL import Image

from aa_lightning.configuration.compose import compose
from aa_lightning.train import train
from aa_lightning.training.callbacks.csv_logger import MetricsCsv
from tests.reliability import forked
from tests.reliability.support import SHAPES, SHORT, TINY


def rows(path):
    with path.open(newline="") as file:
        return {int(row["step"]): row for row in csv.DictReader(file)}


def test_a_row_holds_the_numbers_of_its_own_step_also_when_every_third_is_written(tmp_path):
    for every in (1, 3):
        typed = ["modality=t2t", "algo=dpo", *TINY, "trainer.max_steps=6", f"trainer.log_every_n_steps={every}"]
        train(compose([*typed, "optimizer.lr=1e-2"]), tmp_path / str(every))
    each, third = (rows(tmp_path / str(every) / "metrics.csv") for every in (1, 3))
    assert [step for step in third if third[step]["train/loss"]] == [2, 5]
    for step in (2, 5):
        for name in ("train/loss", "train/grad_norm", "train/lr", "train/reward/margin"):
            assert float(third[step][name]) == pytest.approx(float(each[step][name]), rel=1e-6), name
    assert len({each[step]["train/grad_norm"] for step in range(6)}) == 6


STEP = [*SHORT, "modality=ti2t", "model=tiny_llava", "trainer.max_steps=1"]


def step_of(folder, *typed):
    """What stands in metrics.csv of a run's first step, but for what a clock says."""
    train(compose([*STEP, "loader.batch_size=4", *typed]), folder)
    return {name: float(value) for name, value in rows(folder / "metrics.csv")[0].items() if value}


def on_its_own(found):
    return {name: value for name, value in found.items() if name.startswith("train/")}


ALIKE = {
    "dpo": ["algo=dpo"],
    "rated": ["algo=kto", "algo.baseline=mismatched"],
    "steps": ["algo=prm"],
    "ties": ["algo=reward_model_ties"],
    "criteria": ["algo=reward_multihead"],
}


SOON = ("dpo", "rated")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in SOON else pytest.mark.slow) for name in ALIKE])
def test_a_row_is_of_the_whole_step_however_it_is_divided(name, tmp_path):
    typed = [*ALIKE[name], "data.train.kinds=null", "data.train.max_shapes=3", "data.train.size=16", "data.val.size=8"]
    whole = step_of(tmp_path / "whole", *typed)
    for micro in (2, 1):
        parts = step_of(tmp_path / str(micro), *typed, f"loader.micro_batch_size={micro}")
        assert on_its_own(parts) == pytest.approx(on_its_own(whole), rel=1e-4, abs=1e-5)
        assert parts["throughput/prompts_per_s"] == pytest.approx(4 / parts["time/step_s"], rel=1e-6)
    assert len(on_its_own(whole)) > 5


@pytest.mark.parametrize("algo", ["dpo", pytest.param("apo_zero_unpaired", marks=pytest.mark.slow)])
def test_two_processes_write_the_rows_of_one(algo, tmp_path):
    """Rated rows too, of which each process has other numbers of right ones; the validation loss is over all rows."""
    typed = [*STEP, *SHAPES, f"algo={algo}", "trainer.val_check_interval=1", "loader.eval_batch_size=3"]
    train(compose([*typed, "loader.batch_size=4"]), tmp_path / "one")
    two = [
        *typed,
        "loader.batch_size=4",
        "loader.micro_batch_size=1",
        "strategy=ddp",
        "trainer.devices=2",
        "trainer.precision=32-true",
    ]
    code, _, err = forked.call("aa_lightning.train", *two, f"hydra.run.dir={tmp_path / 'two'}")
    assert code == 0, err
    one, other = (rows(tmp_path / name / "metrics.csv")[0] for name in ("one", "two"))
    names = [name for name in one if name.startswith(("train/", "val/")) and one[name]]
    assert {"train/loss", "val/loss", "train/reward/accuracy", "val/reward/accuracy"} <= set(names)
    for name in names:
        assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-4, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["aot", "bco", "beta_dpo"])
def test_two_processes_with_four_held_out_rows_and_three_measure_what_one_does(algo, tmp_path):
    """Objectives with statistics over all rows of a batch, on all processes."""
    typed = [
        *SHORT,
        "modality=t2t",
        f"algo={algo}",
        "data.train.size=16",
        "data.val.size=7",
        "evaluation.num_examples=0",
    ]
    typed += ["trainer.val_check_interval=1", "trainer.precision=32-true", "optimizer.eps=1e-4"]
    train(compose([*typed, "loader.eval_batch_size=7"]), tmp_path / "one")
    two = [*typed, "loader.eval_batch_size=4", "strategy=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    code, _, err = forked.call("aa_lightning.train", *two, f"hydra.run.dir={tmp_path / 'two'}")
    assert code == 0, err
    one, other = (rows(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    for step in (0, 1):
        for name in ("val/loss", "val/reward/accuracy"):
            assert float(other[step][name]) == pytest.approx(float(one[step][name]), rel=1e-4, abs=1e-5), name


def test_pairs_of_four_questions_have_the_loss_of_the_step_in_two_halves(tmp_path):
    cut = write_pairs(tmp_path, 16)
    typed = ["algo=dpo", "data=local", f"data.train.path={cut}", "data.val_share=0.25"]
    whole = step_of(tmp_path / "whole", *typed)
    halves = step_of(tmp_path / "halves", *typed, "loader.micro_batch_size=2")
    assert halves["train/loss"] == pytest.approx(whole["train/loss"], abs=1e-5)
    assert halves["train/length/correlation"] == pytest.approx(whole["train/length/correlation"], abs=1e-5)


def write_pairs(folder, count):
    """Rows with a picture each and answers of different lengths, as a file of the user's."""
    Image.new("RGB", (32, 32), "red").save(folder / "r.png")
    answers = [f"Red {'very ' * (number % 3)}{number}." for number in range(count)]
    pairs = [
        {"prompt": f"Which {n}?", "image": "r.png", "chosen": a, "rejected": "Blue."} for n, a in enumerate(answers)
    ]
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, pairs)))
    return path


def test_what_is_measured_twice_at_a_step_stands_in_one_row(tmp_path):
    log = MetricsCsv(tmp_path / "metrics.csv")
    log.log_metrics({"heldout/margin": 0.5}, 0)
    log.log_metrics({"train/loss": 0.7, "epoch": 0}, 0)
    log.log_metrics({"train/loss": 0.6, "epoch": 0}, 1)
    found = rows(tmp_path / "metrics.csv")
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 3
    assert found[0]["heldout/margin"] == "0.5" and found[0]["train/loss"] == "0.7"
    assert log.latest("train/") == {"train/loss": 0.6}


def test_a_resumed_run_goes_over_the_rows_that_its_checkpoint_does_not_know(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCsv(path)
    for step in range(6):
        log.log_metrics({"train/loss": float(step)}, step)
    resumed = MetricsCsv(path)
    resumed.log_metrics({"train/loss": 30.0}, 3)
    assert [row["train/loss"] for row in rows(path).values()] == ["0", "1", "2", "30"]
    resumed.log_metrics({"train/loss": 40.0}, 4)
    assert list(rows(path)) == [0, 1, 2, 3, 4]


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCsv(path)
    log.log_metrics({"train/loss": 1.0, "train/lr": 0.1}, 0)
    log.log_metrics({"train/loss": 2.0, "train/lr": 0.1}, 1)
    path.write_text(path.read_text()[:-6])
    resumed = MetricsCsv(path)
    resumed.log_metrics({"train/loss": 2.0, "train/lr": 0.1}, 1)
    resumed.log_metrics({"train/loss": 3.0, "train/lr": 0.1}, 2)
    assert [(row["train/loss"], row["train/lr"]) for row in rows(path).values()] == [
        ("1", "0.1"),
        ("2", "0.1"),
        ("3", "0.1"),
    ]


def test_a_long_log_is_not_kept_in_memory(tmp_path):
    """Two thousand rows of twenty numbers, some of them rewritten, would be megabytes."""
    log = MetricsCsv(tmp_path / "metrics.csv")
    names = [f"train/{number}" for number in range(20)]
    tracemalloc.start()
    for step in range(2000):
        log.log_metrics(dict.fromkeys(names, step / 3), step)
        if step % 500 == 0:
            log.log_metrics({"val/loss": step / 3}, step)
    log.log_metrics({"val/loss": 1.0}, 1999)
    assert log.latest("val/") == {"val/loss": 1.0}
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200_000  # also while it is rewritten
    assert len(log.path.read_text().splitlines()) == 2001
