"""The recipes of CONTRIBUTING.md, followed word for word: its files are written, its commands checked and run."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from aa_lightning.configuration.catalogue import data_set
from aa_lightning.configuration.compose import checked
from aa_lightning.configuration.composed import composed
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.typed import check_options
from aa_lightning.evaluation import catalogue
from tests.reliability.support import ROOT, TINY

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {name: text for _, name, text in BLOCKS if "." in name}
CODE = {name: text for language, name, text in BLOCKS if language == "py" and "." not in name}
COMMANDS = [line for _, _, text in BLOCKS for line in text.splitlines() if line.startswith("python -m ")]
RUN = [text.strip() for _, name, text in BLOCKS if name == "run"]
OWN = "--config-dir my_conf"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the page shows."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_loss", raising=False)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_typed_is_a_configuration_that_can_run(workplace, command):
    module, *overrides = shlex.split(command.replace(OWN, ""))[2:]
    name, folders = module.removeprefix("aa_lightning."), [conf_dir(), workplace / "my_conf"]
    check_options(overrides, name, folders)
    checked(composed(name, overrides, folders), name, folders)


def test_every_file_of_a_group_is_used_by_a_command(workplace):
    own = {(group, option) for group, options in option_names([workplace / "my_conf"]).items() for option in options}
    typed = {tuple(word.split("=")) for command in COMMANDS for word in command.split() if "=" in word}
    assert own <= typed
    assert len(own) == 6


def test_a_setting_of_another_algorithm_keeps_the_rest_of_it(workplace):
    cfg = composed("train", ["algo=soft_dpo"], [conf_dir(), workplace / "my_conf"])
    assert (cfg.algo.beta, cfg.algo.loss.name, cfg.algo.loss.label_smoothing) == (0.05, "sigmoid", 0.1)


def test_a_checkpoint_has_the_steps_of_its_scale(workplace):
    cfg = composed("train", ["model=my_qwen", "algo=sft"], [conf_dir(), workplace / "my_conf"])
    assert (cfg.model.path, cfg.optimizer.lr, cfg.trainer.precision) == ("owner/my-qwen", 1e-5, "bf16-mixed")


def test_the_first_comment_of_a_data_set_is_its_help(workplace):
    told = data_set("my_answers", [conf_dir(), workplace / "my_conf"])
    assert (told.about, told.kind, told.modality) == ("Sums with a right and a wrong answer.", "preference", "t2t")


def test_a_verifier_is_a_function_of_two_texts():
    space = {}
    exec(CODE["verifier"], space)
    judge = space["yes_or_no"]
    assert [judge("Yes", said) for said in ("yes, it is.", "No.", "", "It is. Yes")] == [True, False, False, False]


def test_a_measure_is_read_where_it_is_listed(monkeypatch):
    monkeypatch.setattr(catalogue, "MEASURES", dict(catalogue.MEASURES))
    exec(CODE["measure"], {"MEASURES": catalogue.MEASURES, "Meaning": catalogue.Meaning})
    assert catalogue.meaning_of("my_set/answer_length").better == 0


def test_every_family_has_a_row_a_tiny_build_and_a_file():
    from aa_lightning.models.families.table import FAMILIES
    from aa_lightning.models.tiny.families import FAMILIES as BUILDS

    built = {
        yaml.safe_load(path.read_text())["family"]
        for path in (conf_dir() / "model").glob("tiny_*.yaml")
        if "family" in yaml.safe_load(path.read_text())
    }
    assert set(FAMILIES) - built <= {"other"}
    assert built - {"stable_diffusion", "compose"} <= {*BUILDS, *FAMILIES}


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_what_is_typed_runs(workplace, command):
    short = [*TINY, "trainer.max_steps=2"] if "aa_lightning.train" in command else []
    typed = [sys.executable, "-W", "ignore", *shlex.split(command)[1:], *short]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(typed, cwd=workplace, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
