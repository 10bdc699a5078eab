"""Rewards by name: what is typed becomes numbers (P, K); whatever fails has a name, and hangs nothing."""

import random
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from aa_lightning.assembly.rewards import against_rewards, build_rewards
from aa_lightning.configuration.check import check_config
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.help import page
from aa_lightning.configuration.rewards import SETTINGS, with_rewards
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.rewards import reward
from aa_lightning.rewards.reward import RewardFault
from aa_lightning.runs.received import refusal
from aa_lightning.types import Prompt, text
from tests.processor_time import of_libraries, spent
from tests.rewards import own

OWN = "tests.rewards.own"


def built(*typed, modality="t2t"):
    return build_rewards(compose([f"modality={modality}", *typed]))


def prompts(*answers, fails=()):
    return [
        Prompt(id=f"row-{n}", messages=[], answer=answer, keep={"fails": n in fails})
        for n, answer in enumerate(answers)
    ]


def said(*groups):
    return [[[text(one)] for one in group] for group in groups]


# ---------------------------------------------------------------- what is typed


def test_rewards_come_by_name_with_their_weights():
    rewards = built("reward=[answer,format]", "reward.format.weight=0.2")
    found = rewards(
        prompts("red", "blue"), said(["red", "<think>so</think> <answer>Red.</answer>"], ["red", "It is blue"])
    )
    assert rewards.weights == {"answer": 1.0, "format": 0.2}
    assert found["answer"].tolist() == [[1, 1], [0, 0]]
    assert found["format"].tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        (f"{OWN}.length", [[-2, -1]]),
        ({"_target_": f"{OWN}.length", "target": 1}, [[0, -1]]),
        (f"{OWN}.grouped", [[3, 8]]),
        ({"_target_": f"{OWN}.Weighed", "factor": 0.5}, [[1.5, 4]]),
        (f"{OWN}.of_torch", [[1, 1]]),
        (f"{OWN}.counted", [[-1, -2]]),
    ],
)
def test_a_function_or_class_of_ones_own_is_a_reward(mine, expected):
    rewards = build_rewards(with_rewards(OmegaConf.create({"reward": {"mine": mine}}), [conf_dir()]))
    found = rewards(prompts("red"), said(["red", "not blue"]), lengths=torch.tensor([[1, 2]]))
    assert rewards.weights == {"mine": 1.0}
    assert found["mine"].tolist() == expected
    assert found["mine"].dtype == torch.float32


def test_reward_functions_of_trl_run_as_they_are():
    kept = [
        Prompt(id=f"row-{n}", messages=[], answer=answer, keep={"kind": "colour"})
        for n, answer in enumerate(("red", "blue"))
    ]
    drawn = said(["red", "blue"], ["red", "blue"])
    assert made("of_trl", points=2.0)(kept, drawn)["mine"].tolist() == [[2, 0], [0, 2]]
    with pytest.raises(
        RewardFault, match=r"row-0.*asks for the column kind, and rows keep fails: type .data.template.keep.kind"
    ):
        made("of_trl")(prompts("red", "blue"), drawn)
    with pytest.raises(RewardFault, match=r"numbers of shape \(1,\)|numbers of shape \(3,\)"):
        made("flat_of_texts")(prompts("red", "blue"), drawn)


def test_a_second_one_of_a_kind_has_a_name_of_its_own():
    cfg = compose(["modality=t2i", "reward=answer", "+reward.graded={like:near,unit:characters,weight:0.5}"])
    assert cfg.reward.graded.answers_in == "image"
    assert cfg.reward.graded.scale == 1.0
    assert build_rewards(cfg).weights == {"answer": 1.0, "graded": 0.5}


def test_ones_own_stand_beside_ours():
    rewards = built("reward=[answer,own]", f"reward.own._target_={OWN}.length", f"+reward.mine={OWN}.length")
    assert rewards.weights == {"answer": 1.0, "own": 1.0, "mine": 1.0}


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        ("nowhere.at_all", "reward.mine._target_=nowhere.at_all cannot be imported (ModuleNotFoundError"),
        ("alone", "it names no module"),
        (f"{OWN}.lenght", f"did you mean reward.mine._target_={OWN}.length?"),
        (f"{OWN}.nothing", "it takes nothing\nwrite: reward(prompts, responses)"),
        (f"{OWN}.Silent", "what the class makes cannot be called"),
        (f"{OWN}.HANGS", "has no HANGS to call"),
        ({"_target_": f"{OWN}.length", "targt": 2}, "did you mean reward.mine.target=2?"),
        ({"_target_": f"{OWN}.Weighed"}, "reward.mine.factor is missing"),
        ({"_target_": f"{OWN}.Weighed", "factor": "x"}, "reward.mine.factor=x cannot be used"),
        ({"_target_": f"{OWN}.length", "wieght": 2}, "did you mean reward.mine.weight=2?"),
        ({"_target_": f"{OWN}.length", "on_fault": "skp"}, "did you mean reward.mine.on_fault=skip?"),
        (
            {"_target_": f"{OWN}.length", "seconds": 0},
            "reward.mine.seconds=0 cannot be used: it should be greater than 0",
        ),
        ({"like": "anwser"}, "did you mean reward.mine.like=answer?"),
        (3, "reward.mine=3 cannot be used: it names no reward"),
        ({"weight": 2}, "reward.mine.weight cannot be set: there is no reward mine"),
    ],
)
def test_what_cannot_be_a_reward_is_refused(mine, says):
    with pytest.raises(ConfigError) as refused:
        check_config(with_rewards(OmegaConf.create({"reward": {"mine": mine}}), [conf_dir()]))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("reward=anwser", "did you mean reward=answer?"),
        ("+reward.anwser.weight=2", "did you mean reward.answer"),
        ("+reward.format.weight=2", "type: reward=[answer,format]"),
        ("reward=own", "reward.own._target_ has no value"),
    ],
)
def test_a_mistyped_reward_leads_to_the_right_one(typed, says):
    with pytest.raises(ConfigError) as refused:
        compose(["modality=t2t", typed])
    assert says in str(refused.value)


def test_a_mistyped_reward_is_answered_in_less_than_a_second_more_than_the_libraries():
    def typed():
        command = [sys.executable, "-m", "aa_lightning.train", "reward=anwser"]
        answered = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answered.returncode == 1
        assert "did you mean reward=answer?" in answered.stderr

    assert spent(typed) < of_libraries() + 1


def test_rules_need_no_torch():
    code = (
        "import sys; from aa_lightning.configuration.compose import compose; "
        "compose(['reward=[answer,format]']); print({'torch', 'lightning', 'transformers'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("typed", "draws", "checks", "says"),
    [
        (["reward=[]"], True, ["exact"], "grpo learns from rewards, and there is none: type reward=answer"),
        ([], True, [], "reward=answer compares responses with the answers of the data, which names none"),
        (
            ["reward=format"],
            False,
            [],
            "dpo learns from rows as they are, and reads no rewards (format): type algo=grpo",
        ),
        ([], False, [], None),
        (["reward=format"], True, [], None),
        (["reward=[near,format]"], True, ["exact"], None),
    ],
)
def test_rewards_that_go_with_neither_algorithm_nor_rows_are_refused(typed, draws, checks, says):
    algorithm, data = SimpleNamespace(draws_responses=draws), SimpleNamespace(checks=checks)
    rules = against_rewards(compose(typed), "grpo" if draws else "dpo", algorithm, data)
    told = [message for applies, message in rules if applies]
    assert len(told) == (0 if says is None else 1)
    assert says is None or told[0].startswith(says)


# ---------------------------------------------------------------- the options


REWARDS = option_names([conf_dir()])["reward"]
NEEDED = [
    f"reward.own._target_={OWN}.length",
    "reward.overlong.limit=100",
    "reward.overlong.margin=20",
    "reward.cosine.limit=100",
    "reward.regex.pattern=a",
    *(f"reward.{name}.path=somewhere" for name in ("model", "classifier", "clip", "clap")),
    "reward.server.url=http://localhost",
    "reward.judge.url=http://localhost/v1",
    "reward.judge.model=some",
]


def test_a_file_holds_the_reward_of_its_name_with_all_settings():
    cfg = compose([f"reward=[{','.join(REWARDS)}]", *NEEDED])
    assert list(cfg.reward) == REWARDS
    for name in REWARDS:
        assert set(SETTINGS) < set(cfg.reward[name])


def test_the_help_page_lists_all_rewards():
    shown = page(["reward"], "train", "", [conf_dir()])
    assert set(re.findall(r"^  reward=(\w+)", shown, re.M)) == set(REWARDS)


# ---------------------------------------------------------------- faults


def made(function="", **keys):
    """A reward named mine, without a whole configuration around it."""
    settings = {"weight": 1.0, "seconds": 5.0, "on_fault": "error", "retries": 2, "apart": False}
    return build_rewards(OmegaConf.create({"reward": {"mine": {"_target_": f"{OWN}.{function}", **settings, **keys}}}))


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(reward, "_PAUSE", 0.0)


FAULTS = [(way, on_fault) for way in own.WAYS for on_fault in ("error", "skip")]


@pytest.mark.parametrize(("way", "on_fault"), FAULTS)
def test_each_of_fifty_faults_has_the_name_of_its_reward_and_prompt_or_leaves_its_prompt_out(way, on_fault, hurried):
    seconds = 0.2 if way in ("endless", "sleep", "expression") else 5
    rewards = made("faulty", way=way, on_fault=on_fault, seconds=seconds)
    drawn = prompts("a", "b", "c", fails=[1]), said(["x", "y"], ["x", "y"], ["x", "y"])
    start = time.monotonic()
    if on_fault == "error":
        with pytest.raises(RewardFault, match=r"^reward.mine gives no reward for prompt row-1") as told:
            rewards(*drawn)
        assert "\x1b" not in str(told.value)
        assert "reward.mine.on_fault=skip" in str(told.value)
    else:
        found = rewards(*drawn)["mine"]
        assert found[[0, 2]].tolist() == [[1, 1], [1, 1]]
        assert found[1].isnan().all()
        assert rewards.skipped == {"mine": 1}
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("way", own.TOGETHER)
def test_a_wrong_shape_says_which_one_and_which_is_needed(way):
    rewards = made("misshapen", way=way)
    with pytest.raises(RewardFault, match=r"row-0.*(numbers of shape|no list of numbers)"):
        rewards(prompts("a", "b"), said(["x", "y", "z"], ["x", "y", "z"]))


def test_a_fault_that_passes_is_tried_again(hurried):
    def flaky(times, retries):
        return made("Flaky", times=times, on_fault="retry", retries=retries)

    one = prompts("a"), said(["x", "y"])
    assert flaky(2, 2)(*one)["mine"].tolist() == [[1, 1]]
    with pytest.raises(RewardFault, match="ConnectionError: not now"):
        flaky(3, 2)(*one)


def test_what_fails_only_for_all_prompts_together_is_an_error_too():
    rewards = made("Flaky", times=1)
    with pytest.raises(RewardFault, match="of 2 prompts together; alone, each has one"):
        rewards(prompts("a", "b"), said(["x"], ["x"]))


def test_prompts_that_all_fail_again_and_again_end_the_run():
    rewards = made("faulty", way="nan", on_fault="skip")
    drawn = prompts("a", "b", fails=[0, 1]), said(["x"], ["x"])
    for _ in range(2):
        assert rewards(*drawn)["mine"].isnan().all()
    with pytest.raises(RewardFault, match="no prompt of 3 calls in a row"):
        rewards(*drawn)


def test_when_several_prompts_hang_the_rest_is_not_waited_for():
    rewards = made("faulty", way="sleep", on_fault="skip", seconds=0.1)
    answers = ["a"] * 8
    start = time.monotonic()
    found = rewards(prompts(*answers, fails=range(1, 8)), said(*[["x"]] * 8))["mine"]
    assert time.monotonic() - start < 1
    assert found[0].tolist() == [1]
    assert rewards.skipped == {"mine": 7}


def test_many_responses_may_take_longer_than_one():
    found = made("slow", seconds=0.3)(prompts(*["a"] * 4), said(*[["x"] * 8] * 4))["mine"]
    assert found.sum() == 32


def test_a_call_that_hangs_in_another_thread_is_left():
    rewards, told = made("faulty", way="endless", seconds=0.2), []

    def work():
        try:
            rewards(prompts("a", fails=[0]), said(["x"]))
        except RewardFault as error:
            told.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(3)
    assert len(told) == 1
    assert "it took longer than 0.2 s" in told[0]


def test_the_alarm_is_as_it_was_and_rings_no_more():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    own._swallowing.until = time.monotonic() + 0.5
    own.WAYS["swallowing"] = own._swallowing
    with pytest.raises(RewardFault, match="took longer"):
        made("faulty", way="swallowing", seconds=0.1)(prompts("a", fails=[0]), said(["x"]))
    del own.WAYS["swallowing"]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("crash", "SIGSEGV"),
        pytest.param("endless", "took longer than 0.5 s", marks=pytest.mark.slow),
        pytest.param("leaves", "exit code 3", marks=pytest.mark.slow),
    ],
)
def test_what_crashes_or_hangs_in_c_ends_a_process_of_its_own_alone(way, why):
    """Neither can be interrupted in Python: the alarm rings in vain."""
    keys = {"_target_": "tests.rewards.crashing.faulty", "way": way, "apart": True, "seconds": 0.5}
    with pytest.raises(RewardFault, match=f"row-0: .*{why}"):
        made(**keys)(prompts("a", fails=[0]), said(["x"]))
    rewards = made(**keys, on_fault="skip")
    found = rewards(prompts("a", "b", fails=[1]), said(["x", "y"], ["x", "y"]))["mine"]
    assert found[0].tolist() == [1, 1]
    assert found[1].isnan().all()


@pytest.mark.slow
def test_apart_a_reward_gives_what_it_gives_here():
    drawn = prompts("red", "blue"), said(["red", "not blue"], ["", "a b c d"]), torch.tensor([[1, 2], [3, 4]])
    for name, keys in {"length": {"target": 2}, "Weighed": {"factor": 0.5}, "counted": {}, "of_torch": {}}.items():
        here, there = (made(name, apart=apart, **keys)(*drawn)["mine"] for apart in (False, True))
        assert here.tolist() == there.tolist()
    with pytest.raises(RewardFault, match="prompt row-1: ValueError: no good"):
        made("faulty", way="value_error", apart=True)(prompts("a", "b", fails=[1]), said(["x"], ["x"]))


def test_random_generators_are_as_they_were():
    rewards = made("draws")
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    rewards(prompts("a"), said(["x", "y"]))
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected


def test_lengths_that_nobody_knows_are_asked_for_in_words():
    with pytest.raises(RewardFault, match="it asks for the lengths of responses, and they are not known here"):
        made("counted")(prompts("a"), said(["x"]))


# ---------------------------------------------------------------- run folders of others


@pytest.mark.parametrize(
    ("item", "taken"),
    [
        ("reward=[answer,format]", True),
        ("reward.answer.weight=2", True),
        ("reward.own._target_=aa_lightning.rewards.rules.Answer", True),
        ("+reward.mine=os.system", False),
        ("+reward={mine:os.system}", False),
        ("+reward.mine={_target_:os.system}", False),
        ("reward.own._target_=os.system", False),
        ("reward=[answer,../other]", False),
        ("reward.server.url=http://example.org", False),
        ("+reward.mine={_target_:aa_lightning.rewards.remote.Judge,key_env:HOME}", False),
    ],
)
def test_a_run_folder_of_others_imports_no_reward_but_ours(item, taken):
    assert (refusal(item) is None) == taken
