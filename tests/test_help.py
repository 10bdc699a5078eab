"""The pages of --help: short, complete, written nowhere twice, answered at once and without torch."""

import re
import shlex
import subprocess
import sys
from functools import partial

import pytest
from omegaconf import OmegaConf

from aa_lightning import check, evaluate, generate, train
from aa_lightning.configuration.comments import elsewhere, head, of_yaml
from aa_lightning.configuration.compose import checked, composed
from aa_lightning.configuration.composed import section
from aa_lightning.configuration.folders import conf_dir, option_file, option_names
from aa_lightning.configuration.help import MAIN_KEYS, WELL_KNOWN, page
from aa_lightning.configuration.key_pages import option_page
from aa_lightning.configuration.keys import Configuration
from aa_lightning.configuration.typed import CHOSEN, check_options
from aa_lightning.configuration.wording import ConfigError, shell_word, typed_value
from tests.processor_time import of_libraries, spent

CONF = conf_dir()
GROUPS = option_names([CONF])
COMMANDS = {"train": train.main, "evaluate": evaluate.main, "generate": generate.main, "check": check.main}
OWN = {"train": set(), "evaluate": {"run"}, "check": {"show", "measure"}}
OWN["generate"] = {"run", "prompt", "image", "audio", "video", "system", "n", "temperature", "max_new_tokens"}


def shown(*asked, command="train", folders=(CONF,)):
    return page(asked, command, COMMANDS[command].__doc__ or "", list(folders))


def typed_in(text):
    """The overrides of the command that a page says to type, and the command."""
    line = next(line for line in text.splitlines() if line.startswith(("type: python", "  example")))
    words = shlex.split(line[line.index("python") :])
    return words[3:], words[2].removeprefix("aa_lightning.")


# ---------------------------------------------------------------- a command


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_fits_on_a_screen(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        COMMANDS[command]()
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert sum(f"  python -m aa_lightning.{command} " in line for line in lines) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_it_counts_the_options_of_the_groups_that_people_type_and_leaves_out_the_others(command):
    text = shown(command=command)
    counted = dict(re.findall(r"^  (\w+) +(\d+)  ", text, re.M))
    groups = [*CHOSEN, *(["benchmark"] if command == "evaluate" else [])]
    assert set(counted) == set(groups)
    bases = {"model": 1, "data": 1}
    assert {group: int(count) for group, count in counted.items()} == {
        group: len(GROUPS[group]) - bases.get(group, 0) for group in groups
    }
    assert not re.search(r"^  (recipe|preset|scale|stage)\b", text, re.M)


def test_the_answer_to_a_typo_counts_as_many_as_the_page():
    with pytest.raises(ConfigError) as refused:
        check_options(["data=xyzzy"], "train", [CONF])
    assert f"there are {len(GROUPS['data']) - 1}: --help data" in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_it_shows_the_commands_own_keys_and_the_main_ones_with_the_comments_of_the_configuration(command):
    rows = re.findall(r"^  ([\w.]+)=(\S+) +(\S.*)", shown(command=command), re.M)
    named = {name: (value, said) for name, value, said in rows}
    assert set(named) >= {*OWN[command], *MAIN_KEYS[command]}
    comments = of_yaml(CONF / f"{command}.yaml", command)
    for name in OWN[command]:
        assert named[name][1] == comments[name].comment


def test_what_is_named_as_well_known_exists():
    assert all(set(options) <= set(GROUPS[group]) for group, options in WELL_KNOWN.items())


def test_the_users_own_options_come_first_and_are_counted(tmp_path):
    own(tmp_path, "algo", "gentle", "# my own\ndefaults: [dpo, _self_]\nbeta: 0.01  # gently\n")
    line = next(line for line in shown(folders=[CONF, tmp_path]).splitlines() if line.startswith("  algo "))
    assert line.split()[1:3] == [str(len(GROUPS["algo"]) + 1), "gentle,"]


def own(folder, group, name, text):
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(text)


# ---------------------------------------------------------------- a group


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("data", "benchmark")])
def test_the_page_of_a_group_has_each_option_with_the_first_comment_of_its_file(group):
    text = re.sub(r"\s+", " ", shown(group))
    for option in GROUPS[group]:
        comments = head(option_file(group, option, [CONF]))
        if (group, option) != ("model", "default") and comments:
            assert f"{group}={option} {comments[0]}" in text


def test_data_sets_stand_by_what_they_need_with_modality_and_kind():
    parts = {part.splitlines()[0]: part for part in shown("data").split("\n\n")}
    ready, several, yours, shapes, _ = parts.values()
    assert re.search(r"^  data=rlaif_v +ti2t +preference +RLAIF-V: answers about pictures", ready, re.M)
    assert re.search(r"^  data=pickapic_v2 +t2i +preference ", ready, re.M)
    assert re.search(r"^  data=mixture +any2any +that of its parts ", several, re.M)
    assert yours.splitlines()[1].startswith("  data=local data.train.path= ")
    assert re.search(r"^  data=stepwise data.train.path= +t2t +rating ", yours, re.M)
    assert re.search(r"^  data=shapes_ti2t +ti2t +feedback +a picture of coloured shapes", shapes, re.M)
    assert "data=shapes_refusals" in shapes
    names = re.findall(r"^  data=(\w+)", shown("data"), re.M)
    assert sorted(names) == sorted(set(GROUPS["data"]) - {"default"})
    assert max(map(len, shown("data").splitlines())) <= 120


def test_each_is_marked_with_the_keys_that_must_be_typed_with_it():
    marked = {
        name: set(keys.split()) for name, keys in re.findall(r"^  data=(\w+)((?: data\S+=)*) ", shown("data"), re.M)
    }
    assert marked["local"] == {"data.train.path="}
    assert marked["hpdv2"] == {"data.train.root="}
    for name in GROUPS["data"][1::8]:
        missing = OmegaConf.missing_keys(section("data", name, [CONF]))
        assert marked[name] == {f"{key}=" for key in missing if key.startswith("data.train.")}, name


# ---------------------------------------------------------------- an option


def test_the_page_of_an_algorithm_has_its_paper_all_its_keys_and_a_command():
    text = shown("algo=dpo")
    assert text.splitlines()[:2] == ["algo=dpo", "Direct Preference Optimization, 2305.18290 eq. 7"]
    assert "algo.beta=0.1 " in text
    assert "strength of the pull to the reference (number > 0)" in text
    assert re.search(r"algo.reduction=sum +sum \| mean: length-normalised", text)
    assert re.search(r"algo.nll=1.0 +weight of the chosen .*\(number ≥ 0\)\s+\[set by recipe/tiny_dpo\]", text)
    names = {name for name in Configuration("train", ["algo=dpo"], [CONF]).plain["algo"] if name != "_target_"}
    assert set(re.findall(r"^  algo\.(\w+)=", text, re.M)) == names
    assert text.splitlines()[-1] == "type: python -m aa_lightning.train algo=dpo algo.beta=0.2"


def test_the_page_of_a_model_and_of_a_data_set():
    model, data = shown("model=llava_1_5_7b"), shown("data=rlaif_v")
    flowing = re.sub(r"\s+", " ", model)
    assert re.search(r"model.path=llava-hf/llava-1.5-7b-hf +a folder, a hub id, or tiny:<family>", model)
    assert re.search(r"model.dtype=float32 +weights stay float32 under bf16-mixed", model)
    assert "model.lora.rank=0 of the adapters that train; 0: no adapters" in flowing
    assert "all unfrozen weights train (whole number ≥ 0)" in flowing
    assert model.splitlines()[-1].startswith(
        "type: python -m aa_lightning.train modality=ti2t algo=dpo model=llava_1_5_7b"
    )
    assert re.search(r"data.val_share=0.02 +the hub has no held-out split \(number > 0, < 1 \| null\)", data)
    assert data.splitlines()[-1] == "type: python -m aa_lightning.train algo=dpo modality=ti2t data=rlaif_v"


def test_the_page_of_a_group_without_a_section_shows_what_it_sets_and_chooses():
    assert "chooses model=tiny_sd data=shapes_t2i 'reward=[answer,near]'" in shown("modality=t2i")
    assert re.search(r"trainer.strategy.timeout_minutes=30 +a process that waits longer", shown("strategy=fsdp"))
    assert "type: python -m aa_lightning.train experiment=bpo model=llava_1_5_7b" in shown("experiment=bpo")


def test_comments_are_those_of_the_users_own_file(tmp_path):
    own(tmp_path, "algo", "gentle", "# my own objective\ndefaults: [dpo, _self_]\nbeta: 0.01  # gently\n")
    text = shown("algo=gentle", folders=[CONF, tmp_path])
    assert text.splitlines()[1] == "my own objective"
    assert re.search(r"algo.beta=0.01 +gently \(number > 0\)", text)


OPTIONS = [(group, option) for group in CHOSEN for option in GROUPS[group] if option != "default"]


@pytest.mark.parametrize(
    ("group", "option"),
    [pair if k % 12 == 0 else pytest.param(*pair, marks=pytest.mark.slow) for k, pair in enumerate(OPTIONS)],
)
def test_the_command_on_the_page_of_an_option_can_be_typed(group, option, monkeypatch):
    text = option_page(f"{group}={option}", Configuration("train", [f"{group}={option}"], [CONF]))
    if "<" in text.splitlines()[-1]:
        pytest.skip("it names what only the user has")
    overrides, command = typed_in(text)
    assert any(re.match(rf"{group}=(\[.*\b)?{option}\b", item) for item in overrides)
    check_options(overrides, command, [CONF])
    monkeypatch.setattr("aa_lightning.configuration.check.missing_extras", lambda plain: [])
    checked(composed(command, overrides, [CONF]), command, [CONF])


# ---------------------------------------------------------------- a key


def test_the_page_of_a_key_says_what_it_is_its_default_what_it_takes_and_how_it_is_typed():
    assert shown("algo.beta").splitlines() == [
        "algo.beta: strength of the pull to the reference",
        "  default  0.1 with algo=dpo (conf/algo/options/preference.yaml)",
        "  takes    number > 0",
        "  example  python -m aa_lightning.train algo.beta=0.2",
    ]
    assert "  takes    error | skip | truncate" in shown("loader.overlong")
    assert "  default  16 (conf/scale/tiny.yaml)" in shown("loader.batch_size")


def test_options_typed_beside_a_key_are_its_context():
    text = shown("algo.beta", "algo=simpo")
    assert "  default  2.5 with algo=simpo (conf/algo/simpo.yaml)" in text
    assert "  example  python -m aa_lightning.train algo=simpo algo.beta=5.0" in text


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("data.train.path", "data=local data.train.path=my.jsonl"),
        ("model.sampling.steps", "model=stable_diffusion_v1_5 model.sampling.steps=50"),
        ("trainer.strategy.timeout_minutes", "strategy=ddp trainer.strategy.timeout_minutes=60"),
        ("algo.target_margin.gamma", "'algo.target_margin={name:constant,gamma:1.0}'"),
        ("trainer.max_epochs", "+trainer.max_epochs=8"),
    ],
)
def test_a_key_that_the_default_does_not_have_is_shown_where_it_is(name, example):
    text = shown(name)
    assert text.startswith(name)
    assert example.split(" ")[-1] in text
    overrides, command = typed_in(text)
    checked(composed(command, overrides, [CONF]), command, [CONF])


def test_the_parts_among_which_a_key_chooses_are_listed_with_their_docstrings():
    text = shown("algo.loss")
    assert re.search(r"^  \{name: hinge, target: number > 0\} +max\(0, target − z\)\.$", text, re.M)
    assert len(re.findall(r"^  \{name: ", text, re.M)) == 14


def test_a_section_shows_its_keys():
    assert re.findall(r"^  loader\.(\w+)=", shown("loader"), re.M)[:2] == ["batch_size", "micro_batch_size"]
    assert re.search(r"^  model\.lora\.alpha=16 +adapters count alpha / rank", shown("model.lora"), re.M)


@pytest.mark.parametrize("typed", [["data=rlaif_v"], ["modality=t2i", "algo=mdpo", "strategy=ddp"]])
def test_every_key_of_a_configuration_has_a_page_and_an_example_that_is_allowed(typed):
    known = Configuration("train", typed, [CONF])
    keys = [key for section in known.plain for key in known.leaves(section)]
    assert len(keys) > 90
    for key in keys:
        assert key.file, key.name
        assert key.takes, key.name
    numbers = [key for key in keys if isinstance(key.value, int | float) and not key.name.startswith("model.tiny.")]
    changes = [f"{key.name}={typed_value(key.example)}" for key in numbers if key.example is not None]
    assert len(changes) > 40
    for item in changes:
        assert shell_word(item) == item
    together = [item for item in changes if not item.startswith("model.lora.rank")]
    checked(composed("train", [*typed, *together], [CONF]), "train", [CONF])


# ---------------------------------------------------------------- mistyped, and at once


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("algoo", "algo"),
        ("dta", "data"),
        ("algo=dppo", "algo=dpo"),
        ("algoo=dpo", "--help algo"),
        ("dpo", "algo=dpo"),
        ("dppo", "algo=dpo"),
        ("algo.betta", "algo.beta"),
        ("algo.betta=1", "algo.beta"),
        ("lr", "optimizer.lr"),
        ("loader.batchsize", "loader.batch_size"),
        ("modalities", "modality"),
    ],
)
def test_a_mistyped_page_is_answered_with_the_right_one(monkeypatch, capsys, asked, meant):
    monkeypatch.setattr(sys, "argv", ["train", "--help", asked])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 1
    assert re.search(rf"did you mean (--help )?{re.escape(meant)}\?", capsys.readouterr().err)


def test_a_word_like_nothing_leads_to_the_groups():
    with pytest.raises(ConfigError, match="there is: algo, benchmark, data, experiment"):
        shown("xyzzy")


def test_a_key_of_no_option_is_nowhere():
    assert elsewhere("algo.betta", [CONF], CHOSEN) is None


def test_values_typed_for_a_run_do_not_matter_to_its_help():
    assert shown("output=elsewhere", "trainer.max_steps=3") == shown()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m aa_lightning.train --help data | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("ready: ")
    assert done.stderr == ""


@pytest.mark.parametrize("asked", ["", "data", "algo=dpo", "data.train.path", "model=llava_1_5_7b"])
def test_a_page_takes_little_more_than_its_libraries_and_no_torch(asked):
    """One of three, as other processes slow the caches down, in shares of what Hydra, pydantic and NumPy take to import,
    as machines differ: about three; 0.4 s to 0.9 s."""
    code = (
        "import sys; from aa_lightning import train\n"
        f"sys.argv = ['train', '--help', *{asked.split()}]\n"
        "try: train.main()\n"
        "finally: assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )
    typed = [sys.executable, "-c", code]
    asking = partial(subprocess.run, typed, capture_output=True, check=True)
    assert any(spent(asking) < 5 * of_libraries() for _ in range(3))
