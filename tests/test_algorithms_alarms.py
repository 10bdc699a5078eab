"""What a run warns of while it goes on, on streams of metrics made by hand, and in its report."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aa_lightning.report.findings import findings
from aa_lightning.runs.reader import Run
from aa_lightning.training.callbacks.warnings import WINDOW, Alarms
from run_folders import make_run

HEALTHY = {"logp/chosen": -12.0, "length/chosen": 10.0, "reward/margin": 0.1, "length/correlation": 0.0}


def follow(callback: Alarms, *steps: dict[str, float]) -> None:
    """As a trainer calls it: with the metrics of each step, of which some are none of its business."""
    for step in steps:
        logged = {f"train/{name}": torch.tensor(value) for name, value in step.items()} | {
            "train/lr": torch.tensor(1e-3)
        }
        callback.on_train_batch_end(SimpleNamespace(callback_metrics=logged), None, None, None, 0)


def told(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.split("\n") if line]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"logp/chosen": -22.5}, ["1.1 nats per token", "from -1.20 to -2.25", "algo.nll=1.0", "algo=dpop"]),
        ({"reward/margin": 14.0}, ["from 0.1 to 14.0", "algo=ipo", "algo=cdpo"]),
        ({"length/correlation": 0.9}, ["correlation 0.90, 0.00 at the start", "prefer longer responses", "algo=r_dpo"]),
        ({"length/correlation": -0.9}, ["correlation -0.90", "prefer shorter responses"]),
    ],
)
def test_each_warning_comes_once_with_its_numbers_and_what_to_try(changed, words, capsys):
    callback = Alarms()
    follow(callback, *[HEALTHY] * (3 * WINDOW))
    assert told(capsys) == []
    follow(callback, *[{**HEALTHY, **changed}] * (3 * WINDOW))
    (line,) = told(capsys)
    assert line.startswith("warning: ") and all(word in line for word in words)


def test_what_is_still_healthy_is_not_warned_of(capsys):
    """0.9 nats per token lost, a margin of 9, a correlation of 0.7; longer answers with as much per token."""
    callback = Alarms()
    follow(callback, *[HEALTHY] * WINDOW)
    follow(callback, *[{**HEALTHY, "logp/chosen": -21.0, "reward/margin": 9.0, "length/correlation": 0.7}] * WINDOW)
    follow(callback, *[{**HEALTHY, "logp/chosen": -36.0, "length/chosen": 30.0}] * WINDOW)
    assert told(capsys) == []


def test_a_large_margin_that_shrinks_and_a_denoising_error_are_no_alarm(capsys):
    callback = Alarms()
    follow(callback, *[{"reward/margin": 30.0, "logp/chosen": -0.5, "length/chosen": 1.0}] * WINDOW)
    follow(callback, *[{"reward/margin": 20.0, "logp/chosen": -3.0, "length/chosen": 1.0}] * WINDOW)
    assert told(capsys) == []


def test_a_single_noisy_step_is_no_alarm(capsys):
    callback = Alarms()
    follow(callback, *[HEALTHY] * WINDOW, {**HEALTHY, "reward/margin": 60.0}, *[HEALTHY] * (WINDOW - 1))
    assert told(capsys) == []


def test_steps_are_compared_and_not_the_forward_passes_they_are_made_of(capsys):
    """Of three passes the last one brings the step's numbers; what stands there before is the step before, or nothing."""
    callback = Alarms(accumulate=3)
    within = [{}, {**HEALTHY, "reward/margin": 1e6}]
    follow(callback, *[*within, HEALTHY] * (2 * WINDOW))
    assert told(capsys) == []
    follow(callback, *[*within, {**HEALTHY, "reward/margin": 14.0}] * WINDOW)
    (line,) = told(capsys)
    assert "from 0.1 to 14.0" in line


def test_a_resumed_run_compares_with_its_own_start_and_does_not_repeat_itself(capsys):
    first, bad = Alarms(), {**HEALTHY, "reward/margin": 14.0}
    follow(first, *[HEALTHY] * WINDOW, *[bad] * WINDOW)
    assert len(told(capsys)) == 1
    second = Alarms()
    second.load_state_dict(first.state_dict())
    follow(second, *[{**bad, "logp/chosen": -30.0}] * WINDOW)
    (line,) = told(capsys)
    assert "1.8 nats per token" in line


def test_the_report_says_what_the_run_was_warned_of_and_nothing_twice(tmp_path: Path):
    """60 rows: logp −40 − 5x over 2 tokens loses 2.25 nats per token between its first and last six rows (5 · 54/60 / 2);
    the margin of 2x becomes 12x."""
    run = Run(make_run(tmp_path / "run"))
    lines = (run.folder / "metrics.csv").read_text().split("\n")
    header, *rows = [line.split(",") for line in lines if line]
    margin = header.index("train/reward/margin")
    for row in rows[:60]:
        row[margin] = str(float(row[margin]) * 6)
    text = [",".join([*header, "train/length/chosen"]), *(",".join([*row, "2"]) for row in rows)]
    (run.folder / "metrics.csv").write_text("\n".join(text) + "\n")
    found = [line for line in findings(Run(run.folder)) if "start" in line or "margin" in line]
    assert len(found) == 2
    assert "lost 2.2 nats per token" in found[0] or "lost 2.3 nats per token" in found[0]
    assert "from 0.5 to 11.3" in found[1]


DRAWN = {"reward": 0.3, "length": 20.0, "cut": 0.1, "equal": 0.3, "entropy": 0.5, "kl": 0.0}


def follow_drawn(callback: Alarms, steps: int, right: float = 0.5, **changed: float) -> SimpleNamespace:
    """Steps of a run that learns from what it draws, and answers held-out prompts."""
    logged = {f"rollout/{name}": torch.tensor(value) for name, value in {**DRAWN, **changed}.items()}
    logged["val/answer_accuracy"] = torch.tensor(right)
    trainer = SimpleNamespace(callback_metrics=logged, should_stop=False)
    for _ in range(steps):
        callback.on_train_batch_end(trainer, None, None, None, 0)
    return trainer


@pytest.mark.parametrize(
    ("changed", "words", "stops"),
    [
        ({"reward": 0.6, "right": 0.4}, ["from 0.3 to 0.6", "fell from 50% to 40%", "the reward is gamed"], True),
        ({"length": 60.0, "cut": 0.7}, ["from 20 to 60 actions", "70% of them are cut", "algo.overlong"], True),
        ({"kl": 25.0}, ["25 nats from the reference (0.0 at the start)", "algo.loss_kl"], True),
        ({"equal": 0.9}, ["In 90% of the groups", "rollout.refill=4"], False),
        ({"entropy": 0.04}, ["from 0.5 to 0.04 nats per action", "algo=dapo"], False),
    ],
    ids=["gamed", "longer", "divergence", "equal", "entropy"],
)
def test_drawn_responses_that_get_out_of_hand_are_warned_of_and_end_a_run_on_request(changed, words, stops, capsys):
    told_only, ending = Alarms(), Alarms(stops=True)
    for callback in (told_only, ending):
        follow_drawn(callback, WINDOW)
        assert told(capsys) == []
        trainer = follow_drawn(callback, 2 * WINDOW, **changed)
        line, *ended = told(capsys)
        assert line.startswith("warning: ") and all(word in line for word in words)
        assert trainer.should_stop is (callback is ending and stops)
        assert bool(ended) is trainer.should_stop


def test_answers_that_get_right_sure_and_short_are_no_alarm(capsys):
    callback = Alarms(stops=True)
    follow_drawn(callback, WINDOW)
    trainer = follow_drawn(callback, WINDOW, reward=0.9, right=0.9, entropy=0.02, length=8.0, equal=0.7)
    assert told(capsys) == [] and not trainer.should_stop
