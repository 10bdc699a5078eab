"""What is measured on held-out data, on how many examples, and how their answers are checked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from aa_lightning import evaluate, train
from aa_lightning.assembly.build import build_run
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.configuration.compose import compose
from aa_lightning.data.kinds import weaken
from aa_lightning.data.template.schema import TemplateOptions
from aa_lightning.data.template.template import Template
from aa_lightning.evaluation import measures as heldout
from aa_lightning.evaluation.catalogue import Meaning, meaning_of, objective_of
from aa_lightning.rewards import mathematics
from aa_lightning.training.callbacks.heldout import HeldOut
from aa_lightning.types import Batch, Prompt, Rollout, text
from tests.reliability.support import TINY

TEXTS = [*TINY, "modality=t2t", "model=tiny_qwen2"]
PAIRS = {"likelihood_accuracy", "likelihood_margin", "logp_chosen", "logp_rejected", "preference_accuracy", "margin"}


def trained(folder, *overrides, tell=False):
    return train.train(compose([*TEXTS, *overrides]), folder, tell=tell)


def names(measures):
    return {name.removeprefix("heldout/") for name in measures}


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("algo", ["dpo", "reward_model"])
def test_a_run_without_held_out_examples_ends_with_its_export_and_says_so(tmp_path, capsys, algo):
    overrides = [f"algo={algo}", "evaluation.num_examples=0", "evaluation.before=true", "evaluation.num_generations=4"]
    summary = trained(tmp_path, *overrides, "loader.overlong=skip", tell=True)
    assert (summary["before"], summary["after"], summary["examples"]) == ({}, {}, {})
    assert math.isnan(summary["objective"])
    assert summary["algo"] == algo
    assert (tmp_path / "export" / "config.json").is_file()
    assert "Nothing was measured on held-out data" in (tmp_path / "report.html").read_text()
    shown = capsys.readouterr().out
    assert (
        "held out nothing was measured, as no row is held out that could be (data.val_share, evaluation.num_examples)"
        in shown
    )
    command = "evaluate" if algo == "reward_model" else "generate"
    assert f"next     python -m aa_lightning.{command} run={tmp_path}" in shown


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("size", "generate", "pairs", "answers"), [(4, 0, 4, 0), (100, 3, 8, 3), (2, 100, 2, 2)])
def test_every_measure_is_of_as_many_examples_as_there_are_and_not_as_were_asked_for(
    tmp_path, before, size, generate, pairs, answers
):
    asked = [f"evaluation.num_examples={size}", f"evaluation.num_generations={generate}", "evaluation.samples=5"]
    summary = trained(tmp_path, *asked, f"evaluation.before={before}")
    measured = PAIRS | ({"answer_accuracy"} if answers else set())
    assert names(summary["after"]) == measured
    assert names(summary["before"]) == (measured if before else set())
    counts = {name.removeprefix("heldout/"): count for name, count in summary["examples"].items()}
    assert counts == {name: answers if name == "answer_accuracy" else pairs for name in measured}
    samples = tmp_path / "samples" / "after.json"
    shown = json.loads(samples.read_text()) if samples.is_file() else []
    assert [sample["right"] for sample in shown] == [False] * min(answers, 5)  # after two steps
    assert summary["objective"] == summary["after"]["heldout/preference_accuracy"]


def test_the_sets_of_a_mixture_are_counted_too(tmp_path):
    sets = "{one:{data:shapes_t2t,train:{size:16},val:{size:5}},two:{data:shapes_t2t,train:{size:16},val:{size:2}}}"
    without = [item for item in TEXTS if not item.startswith("data.")]
    asked = ["data=mixture", f"data.parts={sets}", "evaluation.num_examples=100", "evaluation.num_generations=5"]
    summary = train.train(compose([*without, *asked]), tmp_path, tell=False)
    counts = {name: summary["examples"][f"heldout/{name}"] for name in ("margin", "one/margin", "two/margin")}
    assert counts == {"margin": 7, "one/margin": 5, "two/margin": 2}
    # in turns: one, two, one, two, one
    counts = {name: summary["examples"][f"heldout/{name}answer_accuracy"] for name in ("", "one/", "two/")}
    assert counts == {"": 5, "one/": 3, "two/": 2}


@pytest.mark.parametrize("algo", ["dpo", "kto"])
def test_the_reference_is_read_once_in_a_run_and_again_where_it_moves(tmp_path, algo):
    run = build_run(compose([*TEXTS, f"algo={algo}", "evaluation.num_generations=0"]), tmp_path)
    policy, place, reads = run.policy, torch.device("cpu"), []
    policy.reference.network.register_forward_hook(lambda *_: reads.append(1))
    before = run.suite.run(policy, place).measures
    once = len(reads)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    after = run.suite.run(policy, place).measures
    assert len(reads) == once > 0
    assert replace(run.suite, totals={}).run(policy, place).measures == after != before
    moving = replace(run.suite, reference="moves", totals={})
    assert moving.run(policy, place).measures == moving.run(policy, place).measures == after
    assert len(reads) == 4 * once


@pytest.mark.parametrize("algo", ["dpo", "kto", "tr_dpo"])
def test_before_training_the_policy_stands_for_its_reference(tmp_path, algo):
    run = build_run(compose([*TEXTS, f"algo={algo}", "evaluation.num_generations=0"]), tmp_path)
    policy, place, reads = run.policy, torch.device("cpu"), []
    read = replace(run.suite, totals={}).run(policy, place).measures
    policy.reference.network.register_forward_hook(lambda *_: reads.append(1))
    assert run.suite.run(policy, place, untrained=True).measures == read
    assert not reads
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    after = run.suite.run(policy, place).measures
    assert bool(reads) == (algo == "tr_dpo")  # whose reference moves
    assert after == replace(run.suite, totals={}).run(policy, place).measures != read


def test_without_the_library_for_mathematics_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    cfg = compose([*TEXTS, "data.template.check=math", "evaluation.num_generations=2"])
    with pytest.raises(ValueError, match=r"pip install 'aa_lightning\[math\]'"):
        build_run(cfg, tmp_path)
    assert build_run(compose([*TEXTS, "data.template.check=math", "evaluation.num_generations=0"]), tmp_path).suite


def test_prompts_without_responses_are_answered_and_checked_as_they_say(tmp_path):
    rows = [{"question": "2 + 2?", "answer": "4"}, {"question": "1 / 2?", "answer": r"\frac{1}{2}"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows * 4)))
    overrides = ["modality=t2t", "model=tiny_qwen2", "init=null", "data=math_zero_rl", "evaluation.max_new_tokens=4"]
    cfg = compose([*overrides, f"data.train.path={tmp_path / 'rows.jsonl'}", "data.val_share=0.5"], "evaluate")
    assert evaluate.evaluate(cfg, tmp_path) == {"heldout/answer_accuracy": 0.0}


# ---------------------------------------------------------------- answers


def answered(*rows):
    """answer_accuracy of (check, expected answer, what was said) and over how many of them."""
    checks, expected, said = zip(*rows, strict=True)
    batch = Batch(
        ids=[f"set/{i}" for i in range(len(rows))], prompt={}, response={}, answers=[*expected], checks=[*checks]
    )
    nothing = torch.zeros(0)
    drawn = Rollout(batch, [[[text(words)]] for words in said], nothing, nothing, nothing)
    measured = heldout.answers(lambda batch: drawn, [batch], torch.device("cpu"), ["set"])
    assert [*measured.responses.values()] == [[text(words)] for words in said]
    assert [verdict is None for verdict in measured.verdicts.values()] == [one is None for one in expected]
    assert measured.measures["set/answer_accuracy"] == measured.measures["answer_accuracy"]
    return measured.measures["answer_accuracy"], measured.examples["answer_accuracy"]


def test_answers_of_real_data_are_not_matched_by_the_words_of_shapes():
    wrong = [
        ("exact", "北京", "上海"),
        ("number", "4", "−4"),
        ("number", "72", "72, or maybe 71"),
        ("contains", "Paris", "London or Paris"),
        ("exact", "Paris", ""),
    ]
    assert answered(*wrong) == (0.0, 5)


def test_what_is_thought_before_an_answer_is_none():
    rows = [
        ("exact", "Paris", "<think>London? No.</think> Paris"),
        ("exact", "Paris", "<think>It is far.</think><answer>Paris</answer>"),
        ("shapes", "red", "<think>blue, or red</think><answer>red</answer>"),
        ("exact", "Paris", "<think>Paris"),
        ("exact", "Paris", "<think>Paris</think><answer>London</answer>"),
    ]
    assert answered(*rows) == (0.6, 5)


def test_each_answer_is_checked_as_its_own_data_says_and_rows_without_one_are_not():
    rows = [
        ("exact", "red", "The circle is red."),
        ("shapes", "red", "The circle is red."),
        ("number", "72", "#### 72"),
        ("exact", None, "anything"),
    ]
    assert answered(*rows) == (pytest.approx(2 / 3), 3)


ROW = {"q": "Which?", "good": "B", "bad": "A", "right": "B"}
PAIR = {"kind": "preference", "prompt": [{"text": "q"}], "responses": ["good", "bad"], "preferred": "first"}


@pytest.mark.parametrize(("told", "check"), [({}, "exact"), ({"check": "choice"}, "choice")])
def test_a_template_says_how_its_answers_are_checked_in_whatever_kind_they_are_used(told, check):
    (example,) = Template(TemplateOptions(**PAIR, answer="right", **told))(ROW, "0")
    kinds = ("preference", "ranking", "rating", "demonstration", "prompt")
    assert {(one.answer, one.check) for kind in kinds for one in weaken(example, kind)} == {("B", check)}


def test_recognised_columns_are_checked_exactly(tmp_path):
    rows = [{"prompt": "Which?", "response": "B", "answer": "B"}] * 8
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cfg = compose(["data=local", f"data.train.path={tmp_path / 'rows.jsonl'}"])
    example = read_examples(data_options(cfg), "train", "demonstration")[0]
    assert (example.answer, example.check) == ("B", "exact")


def test_the_sets_of_a_mixture_keep_their_own_checks():
    cfg = compose(["data=shapes_refusals"])
    assert data_options(cfg).checks == {"exact", "shapes"}
    found = read_examples(data_options(cfg), "val", "demonstration")
    assert {(example.id.partition("/")[0], example.check) for example in found[:8]} == {
        ("harmful", "exact"),
        ("harmless", "shapes"),
    }


def test_symbols_in_place_of_answers_are_checked_exactly():
    cfg = compose(["experiment=symdpo", "data.train.size=64", "data.val.size=64"])
    example = read_examples(data_options(cfg), "train", "preference")[0]
    assert example.check == "exact" and example.answer == example.chosen[0]["text"]


class _Suite:
    """A suite that has answered the rows that one of two processes gets: 0, 1, 4, 5."""

    def run(self, model, device, whole, untrained=False):
        rows = ("0", "1", "4", "5")
        return heldout.Measured(
            responses={row: [text(f"answer {row}")] for row in rows}, verdicts=dict.fromkeys(rows, True)
        )


def test_answers_stand_beside_their_own_prompts_where_processes_share_the_rows(tmp_path):
    asked = [Prompt(id=str(i), messages=[{"role": "user", "content": [text(f"question {i}")]}]) for i in range(5)]
    callback = HeldOut(_Suite(), True, asked, tmp_path)
    trainer = SimpleNamespace(loggers=[], is_global_zero=True, global_step=0)
    callback.on_train_start(trainer, SimpleNamespace(policy=None, device="cpu"))
    shown = json.loads((tmp_path / "before.json").read_text())
    pairs = [(row["prompt"][0]["content"][0]["text"], row["responses"]["policy"][0]["text"]) for row in shown]
    assert pairs == [(f"question {i}", f"answer {i}") for i in (0, 1, 4)]


def test_a_resumed_run_knows_how_many_examples_were_measured(tmp_path):
    saved, resumed = (HeldOut(_Suite(), True, [], tmp_path) for _ in range(2))
    saved.results, saved.examples = {"after": {"heldout/margin": 1.0}}, {"heldout/margin": 4}
    resumed.load_state_dict(saved.state_dict())
    assert (resumed.results, resumed.examples) == (saved.results, saved.examples)


# ---------------------------------------------------------------- what measures mean


def test_a_measure_of_one_set_is_read_as_that_of_all_and_a_strange_one_by_its_ending():
    assert meaning_of("harmful/answer_accuracy") == meaning_of("answer_accuracy") == Meaning(share=True, main=True)
    assert meaning_of("logp_chosen").better == 0
    assert [meaning_of(name).better for name in ("validation_loss", "fid", "clip_score")] == [-1, -1, 1]
    assert meaning_of("refusal_rate") == Meaning(share=True)


def test_the_objective_is_the_first_main_measure_that_was_measured():
    measured = {"margin": 2.0, "likelihood_accuracy": 0.6, "sound_accuracy": 0.1, "picture_accuracy": math.nan}
    assert objective_of(measured) == "sound_accuracy"
    assert objective_of({"margin": 2.0}) is None
