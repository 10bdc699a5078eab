"""The page about rewards: it lists all of them, with keys that they have, and what it shows can be typed."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.configuration.check import check_config
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.composed import composed, section
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.rewards import with_rewards
from aa_lightning.types import Prompt, text

PAGE = (Path(__file__).parents[2] / "docs/rl.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| `reward=` |")[2].partition("\n\n")[0].splitlines()[2:]
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.M | re.S))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    for name, body in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_rewards", None)


def test_the_table_has_each_reward_with_keys_of_it():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE]
    assert sorted(row[0].strip("`") for row in rows) == option_names([conf_dir()])["reward"]
    for name, _, keys in rows:
        there = section("reward", name.strip("`"), [conf_dir()]).reward[name.strip("`")]
        assert set(re.findall(r"`(\w+)`", keys)) <= set(there)


def test_commands_on_the_page_can_be_typed(workplace):
    lines = [line for line in PAGE.splitlines() if line.startswith("python -m aa_lightning.train")]
    assert len(lines) >= 3
    for line in lines:
        compose(shlex.split(line, comments=True)[3:])


def test_the_reward_on_the_page_is_one_and_its_file_is_found(workplace):
    whole = composed("train", ["reward=short"], [conf_dir(), workplace / "my_conf"])
    cfg = with_rewards(OmegaConf.create({"reward": OmegaConf.to_container(whole.reward)}), [conf_dir()])
    check_config(cfg)
    rewards = build_rewards(cfg)
    found = rewards([Prompt(id="0", messages=[])], [[[text("a b c")], [text("a b c d e f g h i j k l")]]])
    assert found["short"].tolist() == [[1.0, 0.5]]
    assert rewards.weights == {"short": 0.5}
    typed = compose(["+reward.short={_target_:my_rewards.short,words:6,weight:0.5}"]).reward.short
    assert (typed.words, typed.weight, typed.seconds) == (6, 0.5, 60)
