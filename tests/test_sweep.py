"""The table of a sweep: from folders with known numbers, and from real sweeps through Hydra."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aa_lightning
from aa_lightning.configuration.literal import literal_paths
from aa_lightning.report.sweep import compared, ranked, table, varied, write_sweep
from aa_lightning.runs.reader import find_runs
from run_folders import make_run, record_hydra

ERROR = "ValueError: algo.beta must be above 0, got 0 <here>"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three jobs: objectives 0.7 and 0.9, and one that failed."""
    folder = tmp_path / "12-00-00"
    make_run(folder / "0_algo.beta=0.05", beta=0.05, after=0.7, rows=5)
    make_run(folder / "1_algo.beta=0.1", beta=0.1, after=0.9, rows=5)
    record_hydra(folder / "2_algo.beta=0", ["algo=dpo", "algo.beta=0"])
    (folder / "2_algo.beta=0" / "error.txt").write_text(ERROR + "\n  in the second line\n")
    return folder


def test_jobs_are_ordered_by_objective_and_failed_ones_come_last(sweep: Path) -> None:
    lines = table(find_runs(sweep)).splitlines()
    assert lines[0] == "3 jobs (2 finished, 1 failed) · algo=dpo · largest preference accuracy first"
    assert [line.split()[:3] for line in lines[3:]] == [
        ["1_algo.beta=0.1", "finished", "0.1"],
        ["0_algo.beta=0.05", "finished", "0.05"],
        ["2_algo.beta=0", "failed", "0"],
    ]
    assert lines[5].endswith(ERROR)


def test_the_table_shows_objective_heldout_numbers_and_time(sweep: Path) -> None:
    for name, time in ((".hydra/overrides.yaml", 1000), ("summary.json", 1042)):
        os.utime(sweep / "1_algo.beta=0.1" / name, (time, time))
    _, head, rule, best, *_ = table(find_runs(sweep)).splitlines()
    columns = [(found.start(), found.end()) for found in re.finditer("─+", rule)]
    cells = {head[start:end].strip(): best[start:end].strip() for start, end in columns}
    assert cells == {
        "job": "1_algo.beta=0.1",
        "status": "finished",
        "algo.beta": "0.1",
        "objective": "0.9",
        "preference accuracy": "52.0 % → 90.0 %",
        "answer accuracy": "21.0 % → 64.0 %",
        "margin": "0 → 1.75",
        "seconds": "42",
        "error": "",
    }


def job(folder: Path, name: str, algo: str, after: dict[str, float]) -> None:
    """A finished run of an algorithm with these held-out numbers; its own objective is the first of them."""
    record_hydra(folder / name, [f"algo={algo}"])
    measured = {f"heldout/{key}": value for key, value in after.items()}
    (folder / name / "summary.json").write_text(
        json.dumps({"after": measured, "objective": next(iter(after.values()))})
    )


def test_algorithms_are_ordered_by_a_measure_that_all_of_them_have(tmp_path: Path) -> None:
    """By their own objectives, preference accuracy 0.9 and answers 0.6, dpo would stand first."""
    job(tmp_path, "0", "dpo", {"preference_accuracy": 0.9, "answer_accuracy": 0.5, "likelihood_accuracy": 0.8})
    job(tmp_path, "1", "sft", {"answer_accuracy": 0.6, "likelihood_accuracy": 0.7})
    assert compared(find_runs(tmp_path)) == "answer_accuracy"
    assert [(run.name, run.objective) for run in ranked(find_runs(tmp_path))] == [("1", 0.6), ("0", 0.9)]
    lines = table(find_runs(tmp_path)).splitlines()
    assert lines[0] == "2 jobs (2 finished) · largest answer accuracy first"
    assert [line.split()[:4] for line in lines[3:]] == [
        ["1", "finished", "sft", "0.6"],
        ["0", "finished", "dpo", "0.5"],
    ]
    write_sweep(tmp_path)
    plain = json.loads((tmp_path / "sweep.json").read_text())
    assert [(row["objective"], row["measure"]) for row in plain] == [(0.6, "answer_accuracy"), (0.5, "answer_accuracy")]


def test_jobs_that_share_no_measure_stand_apart_each_with_the_name_of_its_own(tmp_path: Path) -> None:
    job(tmp_path, "0", "reward_model", {"reward_accuracy": 0.7})
    job(tmp_path, "1", "dpo", {"preference_accuracy": 0.6})
    job(tmp_path, "2", "reward_model", {"reward_accuracy": 0.9})
    job(tmp_path, "3", "sft", {"answer_accuracy": float("nan")})  # nothing was measured
    assert compared(find_runs(tmp_path)) is None
    lines = table(find_runs(tmp_path)).splitlines()
    assert lines[0] == "4 jobs (4 finished) · no measure that all have: largest of its own first"
    assert lines[1].split()[:5] == ["job", "status", "algo", "objective", "of"]
    assert [line.split()[0] for line in lines[3:]] == ["1", "2", "0", "3"]
    assert "reward accuracy" in lines[4] and "preference accuracy" in lines[3]


def test_a_job_without_held_out_numbers_does_not_hide_the_measure_of_the_others(tmp_path: Path) -> None:
    job(tmp_path, "0", "dpo", {"preference_accuracy": 0.6})
    job(tmp_path, "1", "dpo", {"margin": 0.2})
    assert compared(find_runs(tmp_path)) == "preference_accuracy"
    assert [run.name for run in ranked(find_runs(tmp_path))] == ["0", "1"]


def test_a_sweeper_that_minimizes_puts_the_smallest_first(sweep: Path) -> None:
    path = sweep / "0_algo.beta=0.05" / ".hydra" / "hydra.yaml"
    path.write_text(path.read_text().replace("maximize", "minimize"))
    assert [run.objective for run in ranked(find_runs(sweep))][:2] == [0.7, 0.9]


def test_only_overrides_that_differ_are_columns(sweep: Path) -> None:
    assert varied(find_runs(sweep)) == (["algo.beta"], {"algo": "dpo"})


def test_the_sweep_is_written_as_csv_json_and_page(sweep: Path) -> None:
    (sweep / "1_algo.beta=0.1" / "report.html").write_text("")
    html = write_sweep(sweep).read_text()
    with (sweep / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["objective"] for row in rows] == ["0.9", "0.7", "nan"]
    assert rows[0]["preference_accuracy before"] == "0.52"
    plain = json.loads((sweep / "sweep.json").read_text())
    assert [row["objective"] for row in plain] == [0.9, 0.7, None]
    assert plain[2]["error"] == ERROR
    assert '<a href="1_algo.beta%3D0.1/report.html">1_algo.beta=0.1</a>' in html
    assert "got 0 &lt;here&gt;" in html


def test_a_folder_without_jobs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no run folder: it has no config.yaml \(it holds nothing\)"):
        write_sweep(tmp_path)


# ---------------------------------------------------------------- through Hydra

APP = """
import json
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

@hydra.main(version_base="1.3", config_path=".", config_name="app")
def main(cfg):
    folder = Path(HydraConfig.get().runtime.output_dir)
    OmegaConf.save(cfg, folder / "config.yaml")
    if cfg.beta == 3:
        raise RuntimeError("three is too many")
    (folder / "summary.json").write_text(json.dumps({"objective": cfg.beta / 10}))
    return cfg.beta / 10

main()
"""
CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: {sweeper}
  - override hydra/launcher: {launcher}
beta: 1
hydra:
  callbacks:
    sweep_table:
      _target_: aa_lightning.report.sweep_callback.SweepTable
  sweep:
    dir: sweeps/${{now:%Y-%m-%d_%H-%M-%S-%f}}
    subdir: ${{hydra:job.num}}_${{hydra:job.override_dirname}}
  {extra}
"""
OPTUNA = "sweeper: {direction: maximize, n_trials: 3, n_jobs: 1, sampler: {seed: 0}}"


def run_app(folder: Path, *arguments: str, sweeper: str = "basic", launcher: str = "basic", extra: str = ""):
    """Run the app in its own process, which finds the package that this test imports."""
    (folder / "app.py").write_text(APP)
    (folder / "app.yaml").write_text(CONFIG.format(sweeper=sweeper, launcher=launcher, extra=extra))
    environment = os.environ | {"PYTHONPATH": str(Path(aa_lightning.__file__).parents[1])}
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def written(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("sweeps/*/sweep.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_with_a_failed_job_still_ends_with_the_whole_table(tmp_path: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    extra = "launcher: {n_jobs: 2}" if launcher == "joblib" else ""
    ended = run_app(tmp_path, "-m", "beta=1,3,2", launcher=launcher, extra=extra)
    assert ended.returncode == 1
    rows = written(tmp_path)
    assert ended.stdout.count("3 jobs (2 finished, 1 failed) · largest objective first") == 1, ended.stderr
    assert [(row["beta"], row["objective"]) for row in rows] == [("2", 0.2), ("1", 0.1), ("3", None)]
    assert rows[2]["error"] == "RuntimeError: three is too many"
    assert ended.stdout.rstrip().endswith("sweep.html")


def test_an_optuna_sweep_ends_with_the_table(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    ended = run_app(tmp_path, "-m", "beta=choice(1,2,4)", sweeper="optuna", extra=OPTUNA)
    assert ended.returncode == 0, ended.stderr
    rows = written(tmp_path)
    assert ended.stdout.count("3 jobs (3 finished)") == 1
    assert [row["objective"] for row in rows] == sorted((row["objective"] for row in rows), reverse=True)
    (best,) = tmp_path.glob("sweeps/*/optimization_results.yaml")
    assert f"best_value: {rows[0]['objective']}\n" in best.read_text()


def test_a_single_run_prints_no_table(tmp_path: Path) -> None:
    ended = run_app(tmp_path)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_a_folder_is_named_as_it_is_printed_and_other_values_keep_their_grammar(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0_seed=1,algo.beta=0.1").mkdir()
    (tmp_path / "plain").mkdir()
    typed = ["init=0_seed=1,algo.beta=0.1", "init=plain", "init=auto,null", "init=null", "seed=0_seed=1,algo.beta=0.1"]
    assert literal_paths(typed, ("init",)) == ["init='0_seed=1,algo.beta=0.1'", *typed[1:]]
