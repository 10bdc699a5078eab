"""Each split of a run is opened and read once, whoever asks for its rows."""

import csv
from collections import Counter

import pytest
import torch

from aa_lightning.assembly.build import build_run
from aa_lightning.configuration.compose import compose
from aa_lightning.data.shapes import Shapes
from aa_lightning.data.sources import files
from aa_lightning.data.template.template import Template

SMALL = [
    "trainer.max_steps=2",
    "loader.batch_size=4",
    "init=null",
    "trainer.accelerator=cpu",
    "logger.tensorboard=false",
]
ROWS = ["data.train.size=8", "data.val.size=6", "evaluation.num_examples=6", "evaluation.num_generations=4"]


@pytest.fixture
def reads(monkeypatch):
    """How often each row was read: {(rows of its source, its index): count}."""
    counts: Counter[tuple[int, int]] = Counter()
    read = Shapes.__getitem__

    def counting(self, index):
        counts[len(self), index] += 1
        return read(self, index)

    monkeypatch.setattr(Shapes, "__getitem__", counting)
    return counts


@pytest.fixture
def templated(monkeypatch):
    """How often a template was applied."""
    calls: Counter[str] = Counter()
    apply = Template.__call__

    def counting(self, row, row_id):
        calls["all"] += 1
        return apply(self, row, row_id)

    monkeypatch.setattr(Template, "__call__", counting)
    return calls


def of_split(reads, size):
    return [reads[size, index] for index in range(size)]


def test_each_held_out_row_is_read_and_templated_once_in_a_run(reads, templated, tmp_path):
    """Pairs, generations, the blanked control and the validation loss ask for the same six rows."""
    run = build_run(compose([*SMALL, *ROWS, "trainer.val_check_interval=1"]), tmp_path)
    assert of_split(reads, 6) == [1] * 6
    assert of_split(reads, 8) == [1] * 8
    assert templated["all"] == 6 + 8
    measured = run.suite.run(run.policy, torch.device("cpu"))
    assert {"preference_accuracy", "answer_accuracy", "blank/preference_accuracy"} <= set(measured.measures)
    assert len(list(run.data.val_dataloader())) == 1
    assert of_split(reads, 6) == [1] * 6
    assert templated["all"] == 6 + 8


def test_a_training_row_that_is_kept_is_templated_once_more_and_never_again(reads, templated, tmp_path):
    data = build_run(compose([*SMALL, *ROWS, "evaluation.num_examples=0"]), tmp_path).data
    loader = data.train_dataloader()
    for _ in range(3):
        assert len(list(loader)) == 2
    assert of_split(reads, 8) == [2] * 8
    assert of_split(reads, 6) == [0] * 6
    assert templated["all"] == 2 * 8


def test_a_file_without_a_template_is_opened_once(monkeypatch, tmp_path):
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "chosen", "rejected"], *([f"{i}?", f"{i}", "no"] for i in range(12))])
    opened = []
    monkeypatch.setitem(files.READERS, ".csv", lambda one: opened.append(one) or files.read_csv(one))
    rows = ["data=local", f"data.train.path={path}", "data.val_share=0.3"]
    run = build_run(compose([*SMALL, "model=tiny_qwen2", "modality=t2t", *rows]), tmp_path / "run")
    assert opened == [path]
    assert len(run.data.train_examples) + len(run.data.held_out.examples) == 12
