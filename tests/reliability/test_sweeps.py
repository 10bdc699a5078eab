"""`-m` with the launchers and sweepers that people use: every job trains, and one table stands at the end."""

import csv
import json

import pytest
import yaml

from tests.reliability.forked import Command
from tests.reliability.support import TINY, TRAIN, call

pytestmark = pytest.mark.slow


def test_jobs_are_gone_on_with_measured_asked_and_begun_from_by_their_names(tmp_path):
    """Folders such as `0_algo.beta=0.1,data.train.size=16`, absolute and relative, are typed as they are printed."""
    tiny = [item for item in TINY if not item.startswith("data.train.size")]
    varied = ["algo.beta=0.1,0.2", "data.train.size=16,17"]
    typed = [*tiny, "modality=t2t", "algo=dpo", *varied, f"hydra.sweep.dir={tmp_path / 's'}"]
    sweep = Command("aa_lightning.train", ["-m", *typed], cwd=tmp_path)
    out, err = sweep.communicate()
    assert sweep.returncode == 0, err
    jobs = sorted(path.parent for path in tmp_path.glob("s/*/summary.json"))
    assert len(jobs) == 4 and all("," in job.name and "=" in job.name and job.name in out for job in jobs)
    (jobs[0] / "summary.json").unlink()
    for job in (jobs[0], jobs[0].relative_to(tmp_path)):
        for module, *more in (
            ("train", f"resume={job}"),
            ("evaluate", f"run={job}"),
            ("generate", f"run={job}", "prompt=What?"),
            ("train", f"init={job}", *TINY[1:], "modality=t2t", "algo=dpo"),
        ):
            process = Command(f"aa_lightning.{module}", more, cwd=tmp_path)
            _, err = process.communicate()
            assert process.returncode == 0, (module, more, err)
    assert (jobs[0] / "summary.json").is_file()


def sweep(tmp_path, *typed):
    """The table's rows, what was printed, and the jobs' summaries by folder."""
    code, out, err = call(TRAIN, "-m", *TINY, f"output={tmp_path}", *typed, timeout=900)
    assert code == 0, err
    (table,) = tmp_path.rglob("sweep.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    summaries = {path.parent: json.loads(path.read_text()) for path in table.parent.glob("*/summary.json")}
    return rows, out, summaries


def trained_with(folder):
    """What the checkpointed run was made of."""
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_six_jobs_end_in_one_table_best_first(tmp_path):
    rows, out, summaries = sweep(tmp_path, "algo.beta=0.05,0.1,0.5", "optimizer.lr=1e-3,1e-2")
    assert len(rows) == len(summaries) == 6
    objectives = [float(row["objective"]) for row in rows]
    assert objectives == sorted(objectives, reverse=True)
    assert {(row["algo.beta"], row["optimizer.lr"]) for row in rows} == {
        (beta, lr) for beta in ("0.05", "0.1", "0.5") for lr in ("0.001", "0.01")
    }
    assert "6 jobs (6 finished)" in out
    losses = {summary["train"]["train/loss"] for summary in summaries.values()}
    assert len(losses) == 6


def test_joblib_runs_two_jobs_at_a_time(tmp_path):
    rows, out, summaries = sweep(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2")
    assert len(rows) == len(summaries) == 2
    assert "2 jobs (2 finished)" in out
    starts = [(folder / ".hydra" / "overrides.yaml").stat().st_mtime for folder in summaries]
    ends = [(folder / "summary.json").stat().st_mtime for folder in summaries]
    assert max(starts) < min(ends)


def test_optuna_chooses_by_the_held_out_objective(tmp_path):
    typed = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    typed += ["hydra.sweeper.direction=maximize", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]
    rows, _, summaries = sweep(tmp_path, *typed)
    assert len(rows) == len(summaries) == 3
    (best,) = tmp_path.rglob("optimization_results.yaml")
    found = yaml.safe_load(best.read_text())
    assert found["best_value"] == pytest.approx(max(float(row["objective"]) for row in rows))
    assert len({row["optimizer.lr"] for row in rows}) == 3


def test_both_processes_of_a_job_train_with_the_draw_of_the_sweeper(tmp_path):
    """DDP broadcasts weights, not hyperparameters: with another rate on one rank the weights would drift apart, and the
    export would differ from that of one process with the same rate."""
    typed = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    typed += ["optimizer.lr=interval(1e-3,1e-2)", "strategy=ddp", "trainer.precision=32-true"]
    rows, _, summaries = sweep(tmp_path, *typed)
    assert len(rows) == 2
    for folder, summary in summaries.items():
        alone = tmp_path / f"alone_{folder.name.partition('_')[0]}"
        rate = trained_with(folder)["optimizer"]["lr"]
        code, _, err = call(TRAIN, *TINY, f"hydra.run.dir={alone}", f"optimizer.lr={rate}", "strategy=single")
        assert code == 0, err
        same = json.loads((alone / "summary.json").read_text())
        assert summary["train"]["train/loss"] == pytest.approx(same["train"]["train/loss"], abs=1e-5)
        assert summary["after"] == pytest.approx(same["after"], abs=1e-3)
    rates = {trained_with(folder)["optimizer"]["lr"] for folder in summaries}
    assert len(rates) == 2
