"""The command line: mistakes are answered at once in plain words; jobs, sweeps and worker processes end cleanly."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from aa_lightning import train
from aa_lightning.configuration.check import check_config
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.data.kinds import weaken
from aa_lightning.data.split import held_out
from aa_lightning.launch import job
from aa_lightning.launch.command import INTERRUPTED
from aa_lightning.launch.job import processes
from aa_lightning.types import Prompt
from tests.processor_time import of_libraries, spent
from tests.reliability.support import hears_ctrl_c

TRAIN = [sys.executable, "-m", "aa_lightning.train"]

# a command like ours whose job is to do what `init` says; no torch, so that many can run
SCRIPT = '''
import json, os, signal, sys, time
from pathlib import Path
from aa_lightning.launch.job import run_folder
from aa_lightning.launch.command import command
from aa_lightning.data.kinds import weaken
from aa_lightning.types import Prompt

@command("train")
def run(cfg):
    """A command for tests."""
    rank = os.environ.get("RANK", "-")
    told = {"rank": rank, "folder": str(run_folder()), "beta": cfg.algo.beta, "pid": os.getpid()}
    Path(cfg.output, f"told_{cfg.seed}_{rank}.json").write_text(json.dumps(told))
    if cfg.init == "sentence" or (cfg.init == "second" and cfg.seed == 2):
        weaken(Prompt(id="7", messages=[]), "preference")
    if cfg.init == "bug":
        [][1]
    if cfg.init == "rank1" and rank == "1":
        raise ValueError("broken")
    if cfg.init == "kill1" and rank == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.init in ("rank1", "kill1", "stuck"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
    return float(cfg.seed)

if __name__ == "__main__":
    run()
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def start(command, tmp_path, *arguments, **env):
    environment = {**os.environ, "COLUMNS": "120", **env}
    return subprocess.Popen(
        [*map(str, command), *arguments, f"output={tmp_path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=hears_ctrl_c,
    )


def call(command, tmp_path, *arguments, **env):
    """(exit code, stdout, stderr)"""
    process = start(command, tmp_path, *arguments, **env)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def told(tmp_path):
    return [yaml.safe_load(path.read_text()) for path in sorted(tmp_path.glob("told_*.json"))]


# ---------------------------------------------------------------- mistyped


@pytest.mark.parametrize(
    ("typed", "given", "advice"),
    [
        ("algo=dppo", "error: algo=dppo cannot be used: there is no algo/dppo.yaml", "did you mean algo=dpo?"),
        ("algoo=dpo", "error: algoo=dpo cannot be used", "did you mean algo=dpo?"),
        ("algo.betta=1", "error: algo.betta=1 cannot be used: there is no key", "did you mean algo.beta=1?"),
        ("+algo.betta=1", "error: algo.betta=1 cannot be used: there is no key", "did you mean algo.beta=1?"),
        (
            "algo=mdpo algo.objectives.answers.beta=abc",
            "error: algo.objectives.answers.beta=abc cannot be used",
            "type: algo.objectives.",
        ),
        ("algo.loss.name=hing", "error: algo.loss.name=hing cannot be used", "did you mean algo.loss.name=hinge?"),
        (
            "algo.beta=abc",
            "error: algo.beta=abc cannot be used: it should be a valid number",
            "type: algo.beta=<number>",
        ),
        ("beta=0.3", "error: beta=0.3 cannot be used", "did you mean algo.beta=0.3?"),
        (
            "algo=grpo algo.loss_kl=0.1",
            "error: algo.loss_kl=0.1 cannot be used: it has keys of its own",
            "type: 'algo.loss_kl={coefficient:0.1}'",
        ),
        (
            "algo=prime algo.critic=0.1",
            "error: algo.critic=0.1",
            "coefficient:0.1,clip:1.0}'; or another name: implicit_reward",
        ),
        ("model.lora=8", "error: model.lora=8 cannot be used", "type: model.lora.rank=8; --help model.lora"),
        (
            "algo=grpo +reward.x=my.own reward.x.weight=2",
            "error: reward.x.weight=2 cannot be used: +reward.x=my.own is a text",
            "type: '+reward.x={_target_:my.own,weight:2}'",
        ),
        (
            "algo=grpo reward.x.weight=2",
            "error: reward.x.weight cannot be set: there is no reward x",
            "type: '+reward.x={_target_:<module>.<function>,weight:2}', or reward=[<name>,…]",
        ),
        (
            "optimizer.schedule=cosin",
            "error: optimizer.schedule=cosin cannot",
            "did you mean optimizer.schedule=cosine?",
        ),
        (
            "evaluation=false",
            "error: evaluation=false cannot be used: it is a section",
            "type: evaluation.<key>=<value>",
        ),
        (
            "data.train=my.jsonl",
            "error: data.train=my.jsonl cannot be used",
            "type: data=local data.train.path=my.jsonl",
        ),
        (
            "data=local data.train=my.jsonl",
            "error: data.train=my.jsonl cannot be used",
            "type: data=local data.train.path=my.jsonl",
        ),
        (
            "data.template=3",
            "error: data.template=3 cannot be used: it is a section",
            "type: data.template.<key>=<value>",
        ),
        ("loader.batch_size=0", "error: loader.batch_size=0 cannot be used: it should be greater than 0", "type:"),
        ("algo=dpo,sft", "error: algo=dpo,sft gives algo several values", "type: -m algo=dpo,sft"),
        ("algo.beta=[1", "error: algo.beta=[1 cannot be read", "type: 'algo.beta="),
        ("nonsense", "error: nonsense cannot be read: it has no value", "type: nonsense=<value>"),
        ("+seed=3", "error: +seed cannot be added: the key exists", "type: seed=<value>"),
        ("trainer.max_epochs=3", "error: trainer.max_epochs=3 cannot be used", "type: +trainer.max_epochs=3"),
        ("+trainer.precison=3", "error: trainer.precison=3 cannot be used", "did you mean trainer.precision=3?"),
        (
            "trainer.precision=bf16-true",
            "error: trainer.precision=bf16-true loses",
            "type: trainer.precision=bf16-mixed",
        ),
        (
            "trainer.precision=16-true",
            "error: trainer.precision=16-true cannot train",
            "type: trainer.precision=16-mixed",
        ),
        ("optimizer.eps=0", "error: optimizer.eps=0 cannot be used: it should be greater than 0, since", "is 0/0"),
        (
            "optimizer.betas=[0.9,1]",
            "error: optimizer.betas[1]=1 cannot be used: it should be less than 1, since",
            "type: 'optimizer.betas=[<value>,…]'",
        ),
        ("+trainer.num_nodes=2", "error: trainer.num_nodes=2 needs a launcher", "type: torchrun --nnodes=2"),
        ("~modality_name", "error: ", "modality_name"),
    ],
)
def test_a_mistake_is_named_with_what_to_type_in_four_lines_or_less(
    tmp_path, monkeypatch, capsys, typed, given, advice
):
    monkeypatch.setattr(sys, "argv", ["train", *typed.split(" "), f"output={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    err = capsys.readouterr().err
    assert ended.value.code == 1
    assert err.startswith(given)
    assert advice in err
    assert len(err.strip().splitlines()) <= 4
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("error.txt"))


@pytest.mark.parametrize("typed", ["algo=dppo", "algo.betta=1", "algo.beta=abc"])  # --help: test_help.py
def test_the_answer_takes_little_more_than_its_libraries(tmp_path, typed):
    """One of three, as other processes slow the caches down; alone it is 0.1 s to 0.7 s."""
    assert any(spent(lambda: call(TRAIN, tmp_path, typed)) < 4 * of_libraries() for _ in range(3))


def test_a_mistyped_value_leaves_no_run_folder_behind(tmp_path):
    call(TRAIN, tmp_path, "algo.beta=abc")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_help_shows_five_examples_and_every_group(tmp_path):
    code, out, _ = call(TRAIN, tmp_path, "--help")
    assert code == 0
    assert out.count("python -m aa_lightning.train ") >= 6  # the last one is the usage line
    assert {"algo ", "model ", "modality ", "strategy "} <= {line[2:].split(" ")[0] + " " for line in out.splitlines()}


def test_help_of_a_group_says_what_each_option_is(tmp_path):
    code, out, _ = call(TRAIN, tmp_path, "--help", "strategy")
    assert code == 0
    assert "strategy=deepspeed_zero3  weights, gradients and optimiser state sharded (DeepSpeed ZeRO-3)" in out


def test_the_configuration_can_be_printed_with_options_of_a_folder_of_the_users_own(tmp_path):
    own = tmp_path / "mine" / "algo"
    own.mkdir(parents=True)
    (own / "gentle.yaml").write_text("defaults:\n  - dpo\n  - _self_\nbeta: 0.01\n")
    code, out, err = call(TRAIN, tmp_path, "algo=gentle", "--cfg", "job", f"--config-dir={own.parent}")
    assert code == 0, err
    assert yaml.safe_load(out)["algo"]["beta"] == 0.01


def test_all_mistakes_of_a_configuration_are_named_together():
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"checkpoint": {"every_n_steps": "x", "kep": 1}})
    with pytest.raises(ConfigError) as refused:
        check_config(cfg)
    assert str(refused.value).splitlines() == [
        "checkpoint.every_n_steps=x cannot be used: it should be a valid integer, unable to parse string as an integer",
        "type: checkpoint.every_n_steps=<whole number>",
        "checkpoint.keep is missing from the configuration",
        "type: +checkpoint.keep=<value>",
        "checkpoint.kep=1 cannot be used: there is no key checkpoint.kep",
        "did you mean checkpoint.keep=1?",
    ]


# ---------------------------------------------------------------- jobs


def test_a_sentence_for_users_is_printed_alone_and_the_traceback_is_kept(tmp_path, script):
    code, _, err = call([sys.executable, script], tmp_path, "init=sentence")
    assert code == 1
    assert err.startswith("error: row 7 is a prompt and cannot serve as a preference")
    assert "Traceback" not in err
    (kept,) = tmp_path.rglob("error.txt")
    assert "Traceback" in kept.read_text()


def test_a_bug_shows_its_traceback(tmp_path, script):
    code, _, err = call([sys.executable, script], tmp_path, "init=bug")
    assert code == 1
    assert "Traceback" in err
    assert "error: IndexError: list index out of range" in err


def test_only_what_a_raise_of_ours_raised_is_a_sentence_for_users():
    """`range(None)` is a slip of ours, however alike its TypeError looks."""
    for wrong, expected in (
        (lambda: weaken(Prompt(id="7", messages=[]), "preference"), True),
        (lambda: held_out(None, 0.1), False),
    ):
        with pytest.raises((ValueError, TypeError)) as raised:
            wrong()
        assert job.describe(raised.value)[1] is expected


def test_the_whole_traceback_can_be_asked_for(tmp_path, script):
    code, _, err = call([sys.executable, script], tmp_path, "init=sentence", HYDRA_FULL_ERROR="1")
    assert code == 1
    assert "in weaken" in err


def test_a_failing_job_does_not_end_a_sweep(tmp_path, script):
    code, _, err = call([sys.executable, script], tmp_path, "-m", "seed=1,2,3", "init=second")
    assert code == 1
    assert [path.name for path in sorted(tmp_path.glob("told_*"))] == [f"told_{k}_-.json" for k in (1, 2, 3)]
    (kept,) = tmp_path.rglob("error.txt")
    assert kept.parent.name.endswith("seed=2")
    assert f"error: {kept.parent.name}: row 7 is a prompt" in err


def test_a_run_folder_that_cannot_be_made_is_said_at_once(tmp_path, script):
    blocked = tmp_path / "file"
    blocked.write_text("")
    code, _, err = call([sys.executable, script], blocked)
    assert code == 1
    assert err.startswith("error: the run folder cannot be written")
    assert "type: output=" in err


def test_a_full_disk_is_said_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 2**20))
    with pytest.raises(OSError, match="only 1 MiB are free") as refused:
        job._require_space(tmp_path)
    assert "type: output=" in str(refused.value)


@pytest.mark.parametrize("devices", [1, 2])
def test_ctrl_c_says_how_to_resume_and_leaves_no_process(tmp_path, script, devices):
    process = start([sys.executable, script], tmp_path, "init=stuck", f"trainer.devices={devices}")
    while len(told(tmp_path)) < devices:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert (
        "stopped. to continue at its beginning, as no checkpoint was written yet, type: python -m aa_lightning.train resume="
        in err
    )
    assert not any(_alive(one["pid"]) for one in told(tmp_path))


def _alive(pid):
    return (
        Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    )


# ---------------------------------------------------------------- several processes


@pytest.mark.parametrize(
    ("trainer", "count"),
    [
        ({"devices": 1, "accelerator": "auto"}, 1),
        ({"devices": 4, "accelerator": "auto"}, 4),
        ({"devices": [2, 3], "accelerator": "gpu"}, 2),
        ({"devices": "0,1,5", "accelerator": "gpu"}, 3),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
        ({"devices": -1, "accelerator": "cpu", "num_nodes": 1}, 1),
    ],
)
def test_devices_say_how_many_processes_run(trainer, count):
    assert processes(trainer) == count


def test_two_processes_get_the_same_configuration_and_run_folder(tmp_path, script):
    code, _, err = call([sys.executable, script], tmp_path, "trainer.devices=2", "algo.beta=0.25")
    assert code == 0, err
    first, second = told(tmp_path)
    assert (first["rank"], second["rank"]) == ("0", "1")
    assert first["folder"] == second["folder"]
    assert first["beta"] == second["beta"] == 0.25


@pytest.mark.parametrize(
    ("init", "reason"),
    [("rank1", "rank 1 of 2: ValueError: broken"), ("kill1", "rank 1 of 2 was ended by SIGKILL")],
)
def test_a_failing_rank_is_named_and_the_stuck_others_are_ended(tmp_path, script, init, reason):
    """Rank 0 sleeps for 300 s and ignores SIGTERM; it is ended 3 s after the failure."""
    began = time.monotonic()
    code, _, err = call([sys.executable, script], tmp_path, "trainer.devices=2", f"init={init}")
    assert code == 1
    assert reason in err
    assert time.monotonic() - began < 30
    assert not any(_alive(one["pid"]) for one in told(tmp_path))


def test_workers_end_when_their_parent_is_killed(tmp_path, script):
    process = start([sys.executable, script], tmp_path, "init=stuck", "trainer.devices=2")
    while len(told(tmp_path)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while any(_alive(one["pid"]) for one in told(tmp_path)):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_every_process_of_a_trial_gets_the_sweepers_own_draw(tmp_path, script):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweep = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "trainer.devices=2"]
    code, _, err = call(
        [sys.executable, script], tmp_path, *sweep, "algo.beta=interval(0.001,0.1)", "seed=choice(1,2,3,4)"
    )
    assert code == 0, err
    pairs = {}
    for one in told(tmp_path):
        pairs.setdefault(one["folder"], set()).add(one["beta"])
    assert all(len(betas) == 1 for betas in pairs.values())
    assert next(iter(pairs.values())) != {0.1}
    (best,) = tmp_path.rglob("optimization_results.yaml")
    assert yaml.safe_load(best.read_text())["best_value"] in (1.0, 2.0, 3.0, 4.0)


def test_a_process_of_torchrun_is_one_rank_and_only_rank_0_makes_a_run_folder(tmp_path, script):
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for rank in ("0", "1"):
        env = {**ranks, "LOCAL_RANK": rank, "RANK": rank}
        code, _, err = call([sys.executable, script], tmp_path, "trainer.devices=2", **env)
        assert code == 0, err
    first, second = told(tmp_path)
    assert Path(first["folder"]).is_relative_to(tmp_path)
    assert not Path(second["folder"]).is_relative_to(tmp_path)


def test_a_sweep_inside_torchrun_is_refused(tmp_path, script):
    code, _, err = call([sys.executable, script], tmp_path, "-m", "seed=1,2", LOCAL_RANK="0", RANK="0", WORLD_SIZE="2")
    assert code == 1
    assert "a sweep starts its own processes" in err
