"""Algorithms that learn from more than a pair find it in Shapes, and in mixtures of it, by their name alone."""

import pytest
from hydra.utils import instantiate

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.configuration.compose import compose

from .support import asked, said


def served(algo, *overrides):
    """The options and the training examples of a command line."""
    cfg = compose([f"algo={algo}", *overrides])
    algorithm = instantiate(cfg.algo, _convert_="all")
    data = data_options(cfg).serving(algorithm)
    check_compatible(cfg, algorithm, data)
    return data, read_examples(data, "train", algorithm.supervision)


@pytest.mark.parametrize("modality", ["ti2t", "ta2t", "any2t"])
def test_rankings_are_of_three_answers_with_no_one_and_two_mistakes(modality):
    _, examples = served("reward_ranking", f"modality={modality}", "data.train.size=8")
    pairs = read_examples(data_options(compose([f"modality={modality}", "data.train.size=8"])), "train", "feedback")
    for ranking, pair in zip(examples, pairs, strict=True):
        assert ranking.scores == [0, -1, -2] and len({said(r) for r in ranking.ranked}) == 3
        assert [said(r) for r in ranking.ranked[:2]] == [said(pair.chosen), said(pair.rejected)]
        assert asked(ranking) == asked(pair) and ranking.keep == pair.keep


@pytest.mark.parametrize("modality", ["t2t", "ti2t", "tv2t"])
def test_steps_are_the_claims_of_an_answer_right_or_wrong(modality):
    _, examples = served("prm", f"modality={modality}", "data.train.size=40")
    assert {example.desirable for example in examples} == {True, False}
    for example in examples:
        truth = example.answer
        for part, right in zip(example.response, example.steps, strict=True):
            claim = part["text"].strip().rstrip(".")
            assert not right or f"{claim[0].lower()}{claim[1:]}" in truth
        assert sum(not right for right in example.steps) == (0 if example.desirable else 1)


def test_a_third_of_rows_is_a_tie_for_who_learns_from_ties_and_none_for_others():
    _, tied = served("reward_model_ties", "modality=ti2t", "data.train.size=300")
    assert sum(example.tie for example in tied) / 300 == pytest.approx(1 / 3, abs=0.13)
    for example in tied:
        same = said(example.chosen).lower().rstrip(".") == said(example.rejected).lower().rstrip(".")
        assert same == example.tie
    _, pairs = served("reward_model", "modality=ti2t", "data.train.size=300")
    assert not any(example.tie for example in pairs)


def test_pairs_bring_margins_and_what_is_safe_and_ratings_say_what_is_wrong():
    _, (one, *_) = served("odpo", "modality=ti2t", "data.train.size=4")
    assert (one.margin, one.safe) == (1.0, (True, False))
    _, rated = served("reward_multihead", "modality=ti2t", "data.train.size=40")
    found = {tuple(example.scores[name][1] for name in ("correct", "colour", "shape")) for example in rated}
    assert found == {(0.0, 0.0, 1.0), (0.0, 1.0, 0.0)}  # the wrong answer changes a colour or a shape
    assert {pair[0] for example in rated for pair in example.scores.values()} == {1.0}


@pytest.mark.parametrize(
    ("algo", "modality"), [("odpo", "t2i"), ("mm_dpo", "ti2ti"), ("odpo", "t2a"), ("cost_model", "any2t")]
)
def test_what_needs_margins_or_safety_runs_on_other_worlds_too(algo, modality):
    assert len(served(algo, f"modality={modality}", "data.train.size=2", "data.val.size=2")[1]) == 2


def test_a_mixture_serves_by_a_mapping_that_all_of_its_parts_have(tmp_path):
    both = ["data=mixture", "data.parts=[shapes_ti2t,shapes_t2t]", "data.limit=4"]
    _, examples = served("reward_ranking", *both)
    assert {len(example.ranked) for example in examples} == {3}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "Which?", "chosen": "This.", "rejected": "That."}\n')
    _, examples = served("reward_ranking", "data=mixture", f"data.parts=[shapes_t2t,{pairs}]", "data.limit=4")
    assert {len(example.ranked) for example in examples} == {2}


def test_the_usual_mapping_serves_who_needs_no_other():
    for algo in ("dpo", "kto", "sft", "reward_critique"):
        cfg = compose([f"algo={algo}", "modality=ti2t"])
        data = data_options(cfg)
        assert data.serving(instantiate(cfg.algo, _convert_="all")) is data
