"""The command that a run ends with, as a shell and Hydra read it."""

from __future__ import annotations

import json
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from aa_lightning.configuration.literal import literal
from aa_lightning.evaluation.next_step import next_command
from aa_lightning.runs.resume import with_recorded_overrides

QUESTIONS = [
    "What colour is the circle?",
    "it's red, isn't it?",
    'he said "red"; true or [false]?',
    "true",
    "a \\ b",
    "$HOME and `date` cost 5! {a: b} = ~c",
    "الدائرة ما لونها؟ 圆是什么颜色？",
]


def sample(*parts, role="user"):
    return {"id": "0", "prompt": [{"role": role, "content": list(parts)}], "responses": {}}


def text(said):
    return {"type": "text", "text": said}


def typed(run, *samples, trains="policy"):
    """The overrides of the command as Hydra reads them, behind its module."""
    (run / "samples").mkdir(parents=True, exist_ok=True)
    (run / "samples" / "after.json").write_text(json.dumps(samples))
    python, flag, module, *overrides = shlex.split(next_command(run, trains))
    assert (python, flag) == ("python", "-m")
    quoted = literal(overrides, words=("prompt", "system"), files=("image", "audio", "video"))
    read = OverridesParser.create().parse_overrides([o for o in quoted if not o.startswith("run=")])
    return module, [o for o in overrides if o.startswith("run=")], {o.key_or_group: o.value() for o in read}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_first_question_goes_through_shell_and_hydra_as_it_is(tmp_path, question):
    module, (run,), read = typed(tmp_path, sample({"type": "image", "image": "000_prompt0_0.png"}, text(question)))
    assert module == "aa_lightning.generate" and run == f"run={tmp_path}"
    assert read == {"prompt": question, "image": str(tmp_path / "samples" / "000_prompt0_0.png")}


def test_several_files_of_a_kind_are_a_list_in_a_folder_of_any_name(tmp_path):
    run = tmp_path / "0_algo.beta=0.1,b c"
    pictures = [{"type": "image", "image": name} for name in ("a.png", "b.png")]
    _, named, read = typed(run, sample(*pictures, {"type": "audio", "audio": "c.wav"}, text("Which?")))
    assert named == [f"run={run}"]
    assert read["image"] == [f"{run}/samples/a.png", f"{run}/samples/b.png"]
    assert read["audio"] == f"{run}/samples/c.wav"


@pytest.mark.parametrize("unfit", ["two\nlines", "x" * 201, "  "])
def test_a_question_that_a_command_line_does_not_carry_gives_way_to_the_next_one(tmp_path, unfit):
    assert typed(tmp_path, sample(text(unfit)), sample(text("Which?")))[2] == {"prompt": "Which?"}
    assert typed(tmp_path, sample(text(unfit)))[2] == {}


def test_a_conversation_gives_way_to_a_single_turn(tmp_path):
    turns = sample(text("Hello"))
    turns["prompt"] += [{"role": "assistant", "content": [text("Hi")]}, {"role": "user", "content": [text("So?")]}]
    alone = sample(text("Which?"))
    alone["prompt"].insert(0, {"role": "system", "content": [text("Be brief.")]})
    assert typed(tmp_path, turns, alone)[2] == {"prompt": "Which?"}


def test_without_samples_the_model_is_talked_to(tmp_path):
    assert next_command(tmp_path, "policy") == f"python -m aa_lightning.generate run={tmp_path}"


def test_a_reward_model_is_measured(tmp_path):
    assert typed(tmp_path, sample(text("Which?")), trains="reward_model") == (
        "aa_lightning.evaluate",
        [f"run={tmp_path}"],
        {},
    )


@pytest.mark.parametrize("folder", ["0_algo.beta=0.1", "1_data=a,b", "my run"])
def test_a_run_in_a_folder_of_a_sweep_is_opened_by_its_name_as_it_is(tmp_path, folder):
    run = tmp_path / folder
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text("- algo=ipo\n")
    opened = with_recorded_overrides([f"run={run}", "n=2"], "run", same_folder=False)
    read = OverridesParser.create().parse_overrides(opened)
    assert [(one.key_or_group, one.value()) for one in read] == [("algo", "ipo"), ("run", str(run)), ("n", 2)]
