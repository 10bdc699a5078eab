"""Whatever is mistyped, in whichever group, at whichever depth, by whichever command: refused, with what was meant."""

import re
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from aa_lightning import check, evaluate, generate, train
from aa_lightning.configuration.check import check_config
from aa_lightning.configuration.compose import composed, with_parts
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.nested import dotted_keys
from aa_lightning.configuration.typed import check_options, chosen_groups
from aa_lightning.configuration.wording import ConfigError, nearest, nearest_key
from tests.processor_time import of_libraries, spent

COMMANDS = {"train": train.main, "evaluate": evaluate.main, "generate": generate.main, "check": check.main}
GROUPS = option_names([conf_dir()])
# names that users give, sizes that each offline build checks itself, and a part of an answer, which is said where it lies
FREE = re.compile(
    r"model\.tiny\.|data\.parts\.\w+$|reward\.\w+$|(template|templates\.\w+)\.(keep|ratings|function\.arguments)\.|\.completion\."
)
COMPOSED = [
    ("train", ["data=rlaif_v"]),
    ("train", ["modality=t2i", "algo=kto", "data=pickapic_v2"]),
    ("train", ["algo=mdpo", "strategy=ddp", "data=rlaif_v"]),
    ("train", ["algo=reward_model", "data=ultrafeedback"]),
    ("generate", ["data=rlaif_v"]),
    ("check", ["data=local", "data.train.path=my.jsonl"]),
    pytest.param("evaluate", ["data=shapes_refusals"], marks=pytest.mark.slow),
]


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """What a command says in this process; it leaves no file, neither in its output folder nor where it was typed."""
    monkeypatch.chdir(tmp_path)

    def says(*typed, command="train"):
        monkeypatch.setattr(sys, "argv", [command, *typed, f"output={tmp_path}"])
        with pytest.raises(SystemExit) as ended:
            COMMANDS[command]()
        assert ended.value.code == 1
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        return err

    return says


def doubled(word):
    return word + word[-1]


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("group", GROUPS)
def test_every_mistyped_option_of_every_group_is_refused_and_leads_to_the_right_one(group):
    key = chosen_groups("train").get(group, group)
    for option in GROUPS[group]:
        meant = f"init=stage:{option}" if group == "stage" else f"{key}={option}"
        with pytest.raises(ConfigError, match=rf"^{key}={doubled(option)} cannot be used") as refused:
            check_options([f"{key}={doubled(option)}"], "train", [conf_dir()])
        assert f" {meant}" in str(refused.value).replace("?", " ").splitlines()[1] + " "


@pytest.mark.parametrize(
    ("typed", "given", "advice"),
    [
        (
            "experiment=bp",
            "experiment=bp cannot be used: there is no experiment/bp.yaml",
            "did you mean experiment=bpo?",
        ),
        ("recipe=tiny_dppo", "recipe=tiny_dppo cannot be used", "did you mean recipe=tiny_dpo?"),
        ("scale@_global_=tinny", "scale@_global_=tinny cannot be used", "did you mean scale@_global_=tiny?"),
        ("scale=tinny", "scale@_global_=tinny cannot be used", "did you mean scale@_global_=tiny?"),
        ("scale=tiny", "scale=tiny cannot be used", "type: scale@_global_=tiny"),
        ("stage=shapes", "stage=shapes cannot be used: a run starts from a stage", "type: init=stage:shapes"),
        (
            "init=stage:shap",
            "init=stage:shap cannot be used: there is no stage shap",
            "did you mean init=stage:shapes?",
        ),
        ("+experiment=bpo", "+experiment=bpo cannot be used", "type: experiment=bpo"),
        ("experiment=null", "experiment=null cannot be used", "type: experiment=<option>, or ~experiment"),
        ("algo=", "algo= cannot be used: it names no option", "type: algo=<option>; --help algo"),
        ("dpo", "dpo cannot be read: it has no value", "did you mean algo=dpo?"),
        ("data=my.jsonl", "data=my.jsonl cannot be used", "type: data=local data.train.path=my.jsonl"),
        ("model=llava-hf/llava-1.5-7b-hf", "model=llava-hf/llava-1.5-7b-hf cannot", "did you mean model=llava_1_5_7b?"),
        (
            "model=meta-llama/Llama-3.3-70B-Instruct",
            "model=meta-llama/Llama-3.3-70B-Instruct cannot be used",
            "type: model=llama_3_1_8b_instruct model.path=meta-llama/Llama-3.3-70B-Instruct",
        ),
        ("--halp", "--halp cannot be used: there is no such flag", "did you mean --help?"),
    ],
)
def test_an_option_that_there_is_not_is_answered_by_what_to_type(answer, typed, given, advice):
    err = answer(typed)
    assert err.startswith(f"error: {given}")
    assert advice in err


def test_the_default_of_an_optional_group_may_have_no_file(tmp_path):
    """There is no recipe/tiny_simpo.yaml."""
    assert "tiny_simpo" not in GROUPS["recipe"]
    check_options(["algo=simpo"], "train", [conf_dir()])
    assert composed("train", ["algo=simpo"], [conf_dir()]).algo.beta == 2.5


def test_options_of_the_users_own_folders_are_known_and_their_typos_answered(tmp_path, answer):
    for group, name in (("algo", "gentle"), ("experiment", "mine"), ("optics", "lens")):
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / f"{name}.yaml").write_text("# @package _global_\nseed: 1\n")
    own = [conf_dir(), tmp_path / "own"]
    check_options(["experiment=mine", "algo=gentle", "+optics=lens"], "train", own)
    for typed, advice in {
        "experiment=mien": "did you mean experiment=mine?",
        "algo=gentel": "did you mean algo=gentle?",
        "+optics=lense": "did you mean +optics=lens?",
        "optics=lens": "type: +optics=lens",
    }.items():
        with pytest.raises(ConfigError) as refused:
            check_options([typed], "train", own)
        assert advice in str(refused.value)


@pytest.mark.parametrize("flag", ["--config-dir={}", "--config-dir {}", "hydra.searchpath=[file://{}]"])
def test_a_folder_is_found_in_whatever_way_it_is_typed(tmp_path, monkeypatch, capsys, flag):
    own = tmp_path / "own"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    monkeypatch.setattr(sys, "argv", ["train", *flag.format(own).split(" "), "experiment=mien", f"output={tmp_path}"])
    with pytest.raises(SystemExit):
        train.main()
    assert "did you mean experiment=mine?" in capsys.readouterr().err


def test_an_option_mistyped_in_a_file_is_answered_alike(tmp_path, answer):
    (tmp_path.parent / "own" / "experiment").mkdir(parents=True)
    (tmp_path.parent / "own" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /algo: dppo\nseed: 1\n"
    )
    err = answer("experiment=mine", f"--config-dir={tmp_path.parent / 'own'}")
    assert err.startswith("error: algo=dppo cannot be used: there is no algo/dppo.yaml\ndid you mean algo=dpo?")


def test_options_of_hydras_own_groups_are_answered_too(answer):
    assert "did you mean hydra/launcher=basic?" in answer("hydra/launcher=basik")


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(("command", "typed"), COMPOSED)
def test_a_key_mistyped_at_any_depth_is_refused_and_the_suggestion_is_that_key(command, typed):
    """Each key of the composed configuration, with its last letter doubled, beside the right one."""
    whole = with_parts(composed(command, typed, [conf_dir()]), [conf_dir()])
    plain = OmegaConf.to_container(whole, resolve=True)
    walked = [name for name in dotted_keys(plain) if not FREE.search(name)]
    assert len(walked) > 80
    cfg = OmegaConf.create(plain)
    for name in walked:
        section, _, last = name.rpartition(".")
        inside = OmegaConf.select(cfg, section) if section else cfg
        inside[doubled(last)] = inside[last]
        with pytest.raises(ConfigError) as refused:
            check_config(cfg, command, GROUPS)
        del inside[doubled(last)]
        first, second = str(refused.value).splitlines()[:2]
        assert first.endswith(f"there is no key {doubled(name)}")
        assert second.startswith(f"did you mean {name}"), (name, second)


ALIKE = [
    ("sed=3", "did you mean seed=3?"),
    ("+sed=3", "did you mean seed=3?"),
    ("+evalution.num_examples=3", "did you mean evaluation.num_examples=3?"),
    ("evalution.num_examples=3", "did you mean evaluation.num_examples=3?"),
    ("loader.batchsize=3", "did you mean loader.batch_size=3?"),
    ("model.lora.rnak=3", "did you mean model.lora.rank=3?"),
    ("algo.loss.label_smothing=0.1", "did you mean algo.loss.label_smoothing=0.1?"),
    ("data.media.video.fpss=3", "did you mean data.media.video.fps=3?"),
    ("experimnt=bpo", "did you mean experiment=bpo?"),
    ("experiment=bpoo", "did you mean experiment=bpo?"),
]
ASKED = [
    (name, *one, name == "train" or k % 3 == i % 3) for i, name in enumerate(COMMANDS) for k, one in enumerate(ALIKE)
]


@pytest.mark.parametrize(
    ("command", "typed", "advice"),
    [pytest.param(*one, marks=[] if soon else pytest.mark.slow) for *one, soon in ASKED],
)
def test_every_command_answers_alike(answer, command, typed, advice):
    assert advice in answer(typed, command=command)


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("algorithm=dpo", "did you mean algo=dpo?"),
        ("+algorithm=dppo", "did you mean algo=dpo?"),
        ("dataset=rlaif_v", "did you mean data=rlaif_v?"),
        ("models=llava", "did you mean model=llava_1_5_7b?"),
        ("strat=ddp", "did you mean strategy=ddp?"),
        ("modalities=ti2t", "did you mean modality=ti2t?"),
        ("lr=0.1", "did you mean optimizer.lr=0.1?"),
        ("learning_rate=0.1", "did you mean optimizer.lr=0.1?"),
        ("algo.lr=0.1", "did you mean optimizer.lr=0.1?"),
        ("batch_size=3", "did you mean loader.batch_size=3?"),
        ("per_device_train_batch_size=3", "did you mean loader.micro_batch_size=3?"),
        ("max_steps=3", "did you mean trainer.max_steps=3?"),
        ("epochs=3", "runs are counted in steps of loader.batch_size prompts: type trainer.max_steps=<steps>"),
        ("num_train_epochs=3", "type trainer.max_steps=<steps>"),
        ("algo=grpo algo.clip=0.1", "did you mean algo.surrogate.low=0.1?"),
        ("algo=grpo algo.epsilon_high=0.3", "did you mean algo.surrogate.high=0.3?"),
        ("algo=grpo algo.num_generations=4", "did you mean rollout.responses=4?"),
        ("algo=grpo rollout.num_iterations=2", "did you mean rollout.epochs=2?"),
        ("algo=grpo rollout.max_completion_length=9", "did you mean rollout.max_new_tokens=9?"),
        ("gpus=2", "did you mean trainer.devices=2?"),
        ("model.rank=2", "did you mean model.lora.rank=2?"),
        ("output_dir=x", "did you mean output=x?"),
        ("prompt=x", "type: python -m aa_lightning.generate prompt=x"),
        ("run=x", "did you mean resume=x?"),
        ("hydra.rn.dir=x", "did you mean hydra.run.dir=x?"),
        ("data.train.path=my.jsonl", "type: data=local data.train.path=my.jsonl"),
        (
            "algo.target_margin.gamma=1",
            "type: algo.target_margin.name=<name>; --help algo.target_margin lists the names",
        ),
        ("model.tiny.layerss=1", "did you mean model.tiny.layers=1?"),
        ("algo.loss.name=hinge", "type: 'algo.loss={name:hinge,target:1.0}'"),
        ("algo.loss.name=ipo", "algo.loss.name=ipo has no such option\ntype: 'algo.loss={name:ipo}'"),
        ("seed=abc", "type: seed=<whole number>"),
        ("trainer.max_steps=abc", "type: trainer.max_steps=<whole number>"),
        ("loader.workers=abc", "loader.workers=abc cannot be used: it should be <whole number> or auto"),
        ("loader.workers=-1", "loader.workers=-1 cannot be used: it should be greater than or equal to 0"),
        ("model.keep_features=on", "model.keep_features=on cannot be used: it should be auto, false or <whole number>"),
        ("trainer.precision=bf16-mixd", "did you mean trainer.precision=bf16-mixed?"),
        ("trainer.devices=two", "type: trainer.devices=<number>, trainer.devices=auto"),
        ("init=3", "type: 'init=\"3\"' (quotes inside quotes make it a text)"),
        ("loader=3", "type: loader.<key>=<value>"),
        ("~loader", "loader is missing: no run can do without this section"),
        ("algo.bta=1 loader.batch_siz=2", "did you mean algo.beta=1?"),
        ("algo.bta=1 loader.batch_siz=2", "did you mean loader.batch_size=2?"),
        ("algo=mdpo algo.objectives.answer.beta=1", "did you mean algo.objectives.answers.beta=1?"),
        ("algo=mdpo algo.weights.answer=1", "did you mean algo.weights.answers=1?"),
        ("strategy=ddp +trainer.strategy.timeout_minuts=1", "did you mean trainer.strategy.timeout_minutes=1?"),
        ("data=rlaif_v data.template.label.colum=x", "did you mean data.template.label.column=x?"),
    ],
)
def test_what_other_programs_call_it_leads_to_our_name(answer, typed, advice):
    err = answer(*typed.split(" "))
    assert advice in err
    for item in typed.split(" "):
        assert f"did you mean {item.lstrip('+')}?" not in err


def test_a_word_is_likest_to_what_takes_fewest_mistypings_to_become_it():
    """pbo is bpo with two letters exchanged (1) and dpo with another first two (2); llav begins llava_1_5_7b."""
    assert nearest("pbo", ["dpo", "bpo"]) == "bpo"
    assert nearest("llav", ["tiny_llava", "llava_1_5_7b"]) == "llava_1_5_7b"
    assert nearest("LLaVA-1.5-7B", ["llava_1_5_13b", "llava_1_5_7b"]) == "llava_1_5_7b"
    assert nearest("xyz", ["dpo", "bpo"]) is None
    assert (
        nearest_key("algo.beta", ["algo.beta", "algo.objectives.self_generated.beta"])
        == "algo.objectives.self_generated.beta"
    )


@pytest.mark.parametrize("flag", [["--cfg", "job"], ["--cfg=job"], ["-c", "job"]])
def test_a_configuration_that_is_only_printed_is_checked_as_well(tmp_path, monkeypatch, capsys, flag):
    monkeypatch.setattr(sys, "argv", ["train", "+evalution.num_examples=3", *flag, f"output={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert "evalution:\n  num_examples: 3" in out
    assert "did you mean evaluation.num_examples=3?" in err


# ---------------------------------------------------------------- sweeps


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("algo=dpo,simpoo", "did you mean algo=simpo?"),
        ("experiment=bpo,bp", "did you mean experiment=bpo?"),
        ("algo.beta=0.1,x", "error: algo.beta=x cannot be used"),
        ("algo.bta=0.1,0.2", "did you mean algo.beta=0.1?"),
        ("+evalution.num_examples=1,2", "did you mean evaluation.num_examples=1?"),
        ("seed=1,2 optimizer.schedule=linear,linaer", "did you mean optimizer.schedule=linear?"),
        ("init=stage:shapes,stage:shap", "did you mean init=stage:shapes?"),
        ("seed=range(1,1000) loader.batch_size=0", "type: loader.batch_size="),
        ("algo=glob(dpo*) loader.batch_size=0", "type: loader.batch_size="),
    ],
)
def test_a_sweep_with_a_mistake_in_any_of_its_jobs_starts_none(answer, typed, advice):
    assert advice in answer("-m", *typed.split(" "))


# ---------------------------------------------------------------- the real commands, and their time


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("command", ["train", "generate"])
def test_a_command_refuses_an_option_of_every_group(answer, command, group):
    key = chosen_groups("train").get(group, group)
    err = answer(f"{key}={doubled(GROUPS[group][-1])}", command=command)
    assert f"={GROUPS[group][-1]}" in err or f"stage:{GROUPS[group][-1]}" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_real_command_refuses_as_it_does_in_this_process(tmp_path, answer, command):
    assert refused(command, tmp_path, "algo=dppo") == answer("algo=dppo", command=command)


@pytest.mark.parametrize(
    "typed", ["experiment=bp", "+evalution.num_examples=3", "algo.loss.label_smothing=1", "init=stage:shap"]
)
def test_the_answer_takes_little_more_than_its_libraries(tmp_path, typed):
    """One of three, as other processes slow the caches down; alone it is 0.2 s to 0.6 s."""
    assert any(spent(lambda: refused("train", tmp_path, typed)) < 4 * of_libraries() for _ in range(3))


def refused(command, tmp_path, typed):
    """What a command says."""
    start = [sys.executable, "-m", f"aa_lightning.{command}", typed, f"output={tmp_path}"]
    done = subprocess.run(start, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    return done.stderr
