"""What a run folder recorded is taken as data; what more it asks for needs trust, and one's own runs say so themselves."""

from __future__ import annotations

import os

import pytest
import yaml

from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.plain_yaml import read_yaml
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.evaluation.next_step import next_command
from aa_lightning.runs.received import recorded, refusal, resume_command, ways_out
from aa_lightning.runs.resume import with_recorded_overrides

OWN = "algo._target_=my_loss.MyLoss"


@pytest.fixture
def run(tmp_path):
    """Makes a run folder that recorded what is given."""

    def made(*typed):
        (tmp_path / ".hydra").mkdir()
        (tmp_path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(typed)))
        return tmp_path

    return made


GROUPS = [
    f"{group}={option}"
    for group, options in option_names([conf_dir()]).items()
    for option in options
    if group not in ("scale", "stage")
]


@pytest.mark.parametrize(
    "item",
    [
        *(
            "algo.beta=0.1",
            "+algo.loss.tau=0.5",
            "scale@_global_=full",
            "seed=3",
            "init=outputs/a/run",
            "num_threads=2",
        ),
        *(
            "data.train.path=my rows.jsonl",
            "data.train.path='a, b.jsonl'",
            "data.parts=[alpaca,gqa]",
            "model.tiny={a: 1}",
        ),
        *(
            "trainer.devices=[0,1]",
            "+trainer.deterministic=true",
            "trainer.precision=bf16-mixed",
            "trainer.strategy=auto",
        ),
        *(
            "model.trust_remote_code=false",
            "data.media.fetch=false",
            "model.image_decoder=null",
            "model.lora.target=.*",
        ),
        *("algo._target_=aa_lightning.algos.weighted_sum.WeightedSum", "data.template.function.name=hh_transcript"),
        "logger.others=[{_target_: lightning.pytorch.loggers.WandbLogger, project: mine}]",
        "trainer.strategy={_target_: aa_lightning.training.strategies.DDP, timeout_minutes: 5}",
    ],
)
def test_plain_settings_are_taken(item):
    assert refusal(item) is None


def test_every_option_of_our_own_files_is_taken():
    assert {item: why for item in GROUPS if (why := refusal(item))} == {}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (OWN, "would import my_loss.MyLoss and run it"),
        ("algo._target_={}", "would import {} and run it"),
        (
            "trainer._target_=aa_lightning.algos.weighted_sum.WeightedSum",
            "would import aa_lightning.algos.weighted_sum.WeightedSum",
        ),
        ("algo._target_=lightning.Trainer", "would import lightning.Trainer"),
        ("rollout.endpoint.url=http://far:1/v1", "would send prompts and answers to a server"),
        ("rollout.endpoint.key_env=SECRET", "would send prompts and answers to a server"),
        ("data.train.path=${oc.env:HOME}", "would read the environment"),
        ("model.trust_remote_code=true", "would run Python code that lies beside the weights"),
        ("data.media.fetch=true", "would read from the addresses that rows name"),
        ("hydra.run.dir=elsewhere", "would change where and how the command itself runs"),
        ("--config-dir=elsewhere", "is a flag"),
        ("algo.beta=0.1,0.2", "would start more than one run"),
        ("algo=../../elsewhere", "is no name of an option"),
    ],
)
def test_what_asks_for_more_says_what_it_would_do(item, why):
    assert refusal(item).startswith(why)


def test_what_a_command_decides_for_itself_is_left_out(run):
    folder = run("algo=ipo", "output=elsewhere", "+resume=other", "trust=true")
    assert recorded(folder) == ["algo=ipo"]
    assert recorded(folder, trusted=True) == ["algo=ipo", "output=elsewhere"]


def test_what_is_typed_now_is_one_s_own(run):
    folder = run("algo=dpo", OWN)
    with pytest.raises(ConfigError, match=r"overrides.yaml says algo._target_=my_loss.MyLoss, which would import"):
        recorded(folder)
    assert recorded(folder, without=["algo._target_"]) == ["algo=dpo"]
    assert recorded(folder, trusted=True) == ["algo=dpo", OWN]


def test_a_command_refuses_in_one_sentence_with_what_to_type(run, capsys):
    folder = run(OWN)
    with pytest.raises(SystemExit) as ended:
        with_recorded_overrides([f"run={folder}"], "run", same_folder=False)
    error, typed = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert error.startswith("error: ") and error.endswith("which would import my_loss.MyLoss and run it")
    assert typed.startswith(f"type: run={folder} trust=true")
    assert with_recorded_overrides([f"run={folder}", "trust=true"], "run", same_folder=False) == [
        OWN,
        f"run={folder}",
        "trust=true",
    ]


def test_ways_out_of_a_folder_are_not_written_through(run, tmp_path_factory, capsys):
    folder, elsewhere = run("algo=dpo"), tmp_path_factory.mktemp("elsewhere")
    (folder / "inside").symlink_to(folder / ".hydra")
    assert ways_out(folder) == []
    os.mkfifo(folder / "metrics.csv")
    assert ways_out(folder) == [folder / "metrics.csv"]
    (folder / "metrics.csv").unlink()
    (folder / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(SystemExit):
        with_recorded_overrides([f"resume={folder}"], "resume", same_folder=True)
    assert "checkpoints leads out of the run folder" in capsys.readouterr().err
    assert with_recorded_overrides([f"run={folder}"], "run", same_folder=False) == ["algo=dpo", f"run={folder}"]


def test_a_run_of_one_s_own_says_how_it_goes_on(run):
    folder = run("algo=dpo")
    assert resume_command(folder) == f"python -m aa_lightning.train resume={folder}"
    (folder / "checkpoints" / "step_00000002.ckpt").mkdir(parents=True)
    assert resume_command(folder).endswith(" trust=true")


def test_a_run_with_a_class_of_one_s_own_says_trust_in_what_to_type_next(run):
    folder = run(OWN)
    assert resume_command(folder) == f"python -m aa_lightning.train resume={folder} trust=true"
    assert next_command(folder, "policy") == f"python -m aa_lightning.generate run={folder} trust=true"
    assert next_command(folder, "reward_model") == f"python -m aa_lightning.evaluate run={folder} trust=true"


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.getcwd []", "a: &a [1]\nb: *a", "a: [", "\0", "[" * 5000, "2: {3: *b}"]
)
def test_yaml_of_others_that_is_more_than_data_is_refused_in_a_sentence(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="config.yaml cannot be read as data") as refused:
        read_yaml(file)
    assert "\n" not in str(refused.value)


def test_yaml_keeps_interpolations_as_texts(tmp_path):
    (tmp_path / "a.yaml").write_text("a: ${oc.env:HOME}\nb: [1, 2.5, null, true]\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": "${oc.env:HOME}", "b": [1, 2.5, None, True]}


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("a: b", "is no list"), ("- [", "cannot be read as data")]
)
def test_damaged_settings_are_no_settings_and_trust_does_not_mend_them(run, text, said, capsys):
    folder = run("algo=dpo")
    (folder / ".hydra" / "overrides.yaml").write_text(text)
    for argv in ([f"run={folder}"], [f"run={folder}", "trust=true"]):
        with pytest.raises(SystemExit):
            with_recorded_overrides(argv, "run", same_folder=False)
        told = capsys.readouterr().err
        assert said in told and told.endswith("type: run=<another run folder>\n")
