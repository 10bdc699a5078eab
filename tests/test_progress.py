"""The lines of a run's progress, with a clock of one's own."""

from types import SimpleNamespace

import pytest
import torch

from aa_lightning.system import console
from aa_lightning.training.callbacks import progress
from aa_lightning.training.callbacks.progress import Progress

ROWS = (["a", "b"], None)  # a batch, and how many terms its step has


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    monkeypatch.setattr(console, "_progress", True)  # whatever runs in this process wanted
    return now


def test_speed_and_time_left_are_those_of_steps_of_several_passes(clock, tmp_path, capsys):
    """Two passes of 2 rows on 2 processes make a step of 8 rows; a step takes 2 s: 4 prompts/s. Ten seconds of measuring
    before the first step, and five before the third row of the log, count for neither or for that row alone: 8 rows in
    7 s are 1.14 prompts/s, and three steps in 11 s leave 3.67 s for the last one."""
    trainer = SimpleNamespace(
        estimated_stepping_batches=4, global_step=0, world_size=2, log_every_n_steps=1, is_global_zero=True
    )
    callback = Progress(tmp_path / "train.log")
    callback.on_train_start(trainer, None)
    clock.seconds += 10
    for step in (1, 2, 3):
        clock.seconds += 5 if step == 3 else 0
        for part in (0, 1):
            callback.on_train_batch_start(trainer, None, ROWS, part)
            clock.seconds += 1
            trainer.global_step = step - 1 + part
            trainer.callback_metrics = {"train/loss": torch.tensor(0.5), "train/lr": torch.tensor(1.0)}
            callback.on_train_batch_end(trainer, None, None, ROWS, part)
    expected = [
        "step 1/4  loss 0.5  4 prompts/s  00:06 left",
        "step 2/4  loss 0.5  4 prompts/s  00:04 left",
        "step 3/4  loss 0.5  1.14 prompts/s  00:03 left",
    ]
    assert (tmp_path / "train.log").read_text().splitlines() == expected
    assert capsys.readouterr().out.splitlines() == expected
