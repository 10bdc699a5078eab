"""metrics.csv says what happened at a step, however often it is written and whoever was killed."""

import csv

import pytest

from aa_lightning.callbacks.metrics import MetricsCsv
from aa_lightning.compose import compose
from aa_lightning.train import train
from tests.reliability.support import TINY


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
