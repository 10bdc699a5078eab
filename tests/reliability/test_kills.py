"""A run that is killed at any moment and resumed is the run that was never killed."""

import json
import math
import random
import shutil
import signal

import pytest
from lightning.pytorch.callbacks import Callback

from aa_lightning.assembly.build import build_run
from aa_lightning.configuration.compose import compose
from aa_lightning.runs.checkpoints import newest
from tests.reliability.forked import Command
from tests.reliability.killing import (
    EVERY,
    RUN,
    STEPS,
    check_not_repeated,
    check_same,
    finish,
    live_into,
    live_until,
    moments,
    rows_of,
)
from tests.reliability.support import TINY, TRAIN, call

SEEDS = {"single": 0, "ddp": 1, "fsdp": 2, "deepspeed_zero2": 3, "single-drawn": 4, "ddp-drawn": 5}
DRAWN = [  # drawings of two steps, each taken twice; most kills fall into the midst of one
    *(item for item in RUN if item != "algo=dpo"),
    "algo=grpo",
    "algo.loss_kl={coefficient:0.1,estimator:k3,corrected:false}",
    "reward=near",
    "reward.near.unit=characters",
    "rollout.responses=4",
    "rollout.prompts=8",
    "rollout.epochs=2",
    "rollout.max_new_tokens=8",
    "rollout.skip_equal=true",
]


def arguments(kind):
    strategy, _, drawn = kind.partition("-")
    run = DRAWN if drawn else RUN
    if strategy == "single":
        return run
    return [*run, f"strategy={strategy}", "trainer.precision=32-true", "trainer.strategy.timeout_minutes=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nobody stops, once for each strategy."""
    made = {}

    def run(strategy):
        if strategy not in made:
            made[strategy] = tmp_path_factory.mktemp("whole") / strategy
            process = Command("aa_lightning.train", [*arguments(strategy), f"hydra.run.dir={made[strategy]}"])
            _, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
        return made[strategy]

    return run


def survives(strategy, folder, whole, deaths):
    """Killed at each of these moments in turn, resumed after each; how much was lost each time."""
    typed, lost = [*arguments(strategy), f"hydra.run.dir={folder}"], []
    for step, delay, number in deaths:
        life = live_until(folder, typed, step, delay, number)
        if life.code == 0:
            break
        assert life.code == (-9 if number == signal.SIGKILL else 128 + number), life.stderr
        lost.append((life, folder))
        typed = [f"resume={folder}"]
        if number != signal.SIGKILL:
            assert ("stopped. " in life.stderr and "resume=" in life.stderr) or life.checkpoint == 0
            assert "Traceback" not in life.stderr
    finish(folder)
    for life, _ in lost:
        check_not_repeated(life, folder)
    check_same(folder, whole(strategy))
    return lost


def test_a_run_killed_in_its_middle_ends_with_the_weights_and_the_log_of_one_that_never_was(whole, tmp_path):
    (lost,) = survives("single", tmp_path / "run", whole, [(13, 0.02, signal.SIGKILL)])
    assert 0 < lost[0].checkpoint < STEPS


def test_a_checkpoint_that_a_kill_left_half_written_is_passed_over_and_goes(whole, tmp_path):
    """Step 23 was being written when the run died; 21 is the newest whole one. No temporary file is left at the end."""
    folder = tmp_path / "run"
    shutil.copytree(whole("single"), folder)
    checkpoints = folder / "checkpoints"
    newest(folder).unlink()
    last = newest(folder)
    last.with_name("step_00000023.partial").write_bytes(last.read_bytes()[:1000])
    for name in ("export", "summary.json", "report.html"):
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    assert last.name == f"step_{STEPS - EVERY:08d}.ckpt"
    finish(folder)
    check_same(folder, whole("single"))
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step_00000021.ckpt", "step_00000024.ckpt"]


@pytest.mark.slow
def test_a_run_that_ended_is_left_alone(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole("single"), folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "export").iterdir()}
    code, out, err = call(TRAIN, f"resume={folder}")
    assert code == 0, err
    assert f"the run has ended: add trainer.max_steps=<more than {STEPS}> to train on" in out
    assert {path: path.stat().st_mtime_ns for path in (folder / "export").iterdir()} == before


def test_weights_that_give_no_finite_loss_are_never_the_newest_checkpoint(tmp_path):
    """The third step spoils a weight; its checkpoint was written, but does not get its name."""
    cfg = compose([*TINY, "modality=t2t", "algo=sft", "trainer.max_steps=6", "checkpoint.every_n_steps=1"])
    run = build_run(cfg, tmp_path)

    class Spoil(Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            if trainer.global_step == 2:
                optimizer.param_groups[0]["params"][0].grad.fill_(math.nan)

    run.trainer.callbacks.insert(0, Spoil())
    with pytest.raises(ValueError, match="the loss is nan at step 3.* resume="):
        run.trainer.fit(run.module, run.data)
    assert newest(tmp_path).name == "step_00000002.ckpt"


@pytest.mark.slow
def test_a_run_killed_before_its_export_only_writes_that(whole, tmp_path):
    """The last checkpoint stands, measures and export do not; they are made without a further step."""
    folder = tmp_path / "run"
    shutil.copytree(whole("single"), folder)
    shutil.rmtree(folder / "export")
    expected = json.loads((folder / "summary.json").read_text())
    for name in ("summary.json", "report.html"):
        (folder / name).unlink()
    rows = (folder / "metrics.csv").read_text()
    finish(folder)
    check_same(folder, whole("single"))
    assert (folder / "metrics.csv").read_text() == rows
    found = json.loads((folder / "summary.json").read_text())
    for key in ("before", "after", "train", "steps", "throughput"):
        assert found[key] == pytest.approx(expected[key], rel=1e-6), key


@pytest.mark.slow
def test_a_run_that_ended_trains_on_when_it_gets_more_steps(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole("single"), folder)
    code, _, err = call(TRAIN, f"resume={folder}", f"trainer.max_steps={STEPS + 2}")
    assert code == 0, err
    assert [int(row["step"]) for row in rows_of(folder)] == list(range(STEPS + 3))
    assert json.loads((folder / "summary.json").read_text())["steps"] == STEPS + 2
    assert newest(folder).name == f"step_{STEPS + 2:08d}.ckpt"


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_starts_again_in_the_same_folder(whole, tmp_path):
    ((life, _),) = survives("single", tmp_path / "run", whole, [(1, 0.0, signal.SIGKILL)])
    assert life.checkpoint == 0


@pytest.mark.slow
@pytest.mark.parametrize("strategy", SEEDS)
def test_five_random_kills_change_nothing(strategy, whole, tmp_path):
    """A fresh run for each moment, killed once and resumed: with all its ranks, since the group is killed."""
    for number, (step, delay) in enumerate(moments(SEEDS[strategy], 5)):
        lost = survives(strategy, tmp_path / str(number), whole, [(step, delay, signal.SIGKILL)])
        for life, _ in lost:
            print(
                f"{strategy}: killed {delay:.3f} s after step {step}, logged {life.logged}, resumed at {life.checkpoint}"
            )


@pytest.mark.slow
@pytest.mark.parametrize("strategy", SEEDS)
def test_kills_in_a_row_ctrl_c_and_sigterm_change_nothing(strategy, whole, tmp_path):
    """One run, stopped in four ways one after another; the polite ones say how to resume and leave no traceback."""
    numbers = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL]
    deaths = [(step, 0.05, number) for step, number in zip((4, 9, 14, 19), numbers, strict=True)]
    lost = survives(strategy, tmp_path / "run", whole, deaths)
    for life, _ in lost:
        print(f"{strategy}: exit {life.code}, logged {life.logged}, resumed at {life.checkpoint}")
    assert len(lost) == 4


TIMES = {
    "drawing": 36,
    "scoring": 6,
    "reading": 20,
    "learning": 20,
}  # that a run of six drawings begins each, at the least


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["single-drawn", "ddp-drawn"])
def test_twenty_kills_in_the_midst_of_drawing_scoring_reading_and_learning_change_nothing(strategy, whole, tmp_path):
    luck = random.Random(SEEDS[strategy])
    for what, most in TIMES.items():
        for count in luck.sample(range(1, most + 1), 5):
            folder = tmp_path / f"{what}{count}"
            life = live_into(folder, [*arguments(strategy), f"hydra.run.dir={folder}"], what, count)
            assert life.code == -9, life.stderr
            finish(folder)
            check_not_repeated(life, folder)
            check_same(folder, whole(strategy))
            print(f"{strategy}: killed in {what} {count}, logged {life.logged}, resumed at {life.checkpoint}")
