"""Rewards of rules: numbers worked by hand, and those of the papers' own codes."""

import math
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.data.shapes import Figure, Scene, Shapes, draw
from aa_lightning.rewards.boxes import Box, boxes_in, iou, matched
from aa_lightning.rewards.nearness import edits, similarity
from aa_lightning.rewards.reward import RewardFault
from aa_lightning.rewards.rules import final
from aa_lightning.rewards.texts import parsed, repeated
from aa_lightning.types import Prompt, text
from tests.vectors.support import vector

PICTURE = Image.new("RGB", (200, 100))


def of(name, said, *, answer="", check="exact", answers_in="text", length=None, shown=(), **keys):
    """The reward of one response, by the reward of this name with these keys."""
    files = [conf_dir() / "reward/options/common.yaml", conf_dir() / f"reward/{name}.yaml"]
    defaults, file = map(OmegaConf.load, files)
    cfg = OmegaConf.create({"answers_in": answers_in, "reward": {name: OmegaConf.merge(defaults, file[name], keys)}})
    messages = [{"role": "user", "content": [{"type": "image", "image": picture} for picture in shown]}]
    prompt = Prompt(id="row-0", messages=messages, answer=answer, check=check)
    response = [text(said)] if isinstance(said, str) else said
    lengths = None if length is None else torch.tensor([[length]])
    return build_rewards(cfg)([prompt], [[response]], lengths)[name].item()


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("red", 1),
        ("It is red", 0),
        ("<think>blue? no</think>red", 1),
        ("<think>red</think> <answer> Red. </answer>", 1),
        ("<think>red", 0),
        ("<answer>blue</answer><answer>red</answer>", 1),
        ("<answer>red</answer><answer>blue</answer>", 0),
        ("<answer>red", 1),
        ("", 0),
    ],
)
def test_an_answer_is_what_stands_behind_the_thoughts(said, expected):
    assert of("answer", said, answer="red") == expected


def test_thoughts_may_be_judged_too():
    assert of("answer", "<think>blue</think>red", answer="red", thoughts="judged") == 0


def test_a_picture_and_a_sound_are_judged_where_the_modality_writes_them():
    scene = Scene((Figure("circle", "red", True, (1, 1), (0, 0)),))
    right = [text("a red circle"), {"type": "image", "image": draw(scene, 48)}]
    assert of("answer", right, answer="a red circle", check="shapes", answers_in="image") == 1
    assert of("answer", right, answer="a blue circle", check="shapes", answers_in="image") == 0
    assert (
        of("answer", "a red circle", answer="a red circle", check="shapes", answers_in="image") == 0
    )  # nothing was drawn
    assert of("answer", "a red circle", answer="a red circle", check="shapes", answers_in="text") == 1


@pytest.mark.parametrize(
    ("modality", "medium"),
    [("t2t", "text"), ("ti2t", "text"), ("any2t", "text"), ("t2ti", "image"), ("ti2ti", "image"), ("t2a", "audio")],
)
def test_the_modality_says_in_which_medium_an_answer_stands(modality, medium):
    cfg = compose([f"modality={modality}", "reward=[answer,near]"])
    assert cfg.reward.answer.answers_in == cfg.reward.near.answers_in == medium


def test_a_prompt_without_an_answer_is_a_fault_and_not_a_wrong_answer():
    with pytest.raises(RewardFault, match=r"reward.answer gives no reward for prompt row-0.*data.template.answer"):
        of("answer", "red", answer=None)


@pytest.mark.parametrize(
    ("modality", "kind", "medium"), [("ti2t", "caption", "text"), ("t2i", None, "image"), ("t2a", None, "audio")]
)
def test_the_right_answers_of_shapes_are_rewarded_and_its_wrong_ones_are_not(modality, kind, medium):
    rows = Shapes(modality=modality, size=12, seed=3, kinds=[kind] if kind else None)
    for index in range(len(rows)):
        row = rows[index]
        for name, expected in (("chosen", 1.0), ("rejected", 0.0)):
            said = row[name] if medium == "text" else [{"type": medium, medium: row[name]()}]
            judged = {"answer": row["answer"], "check": "shapes", "answers_in": medium}
            assert of("answer", said, **judged) == expected
            assert (of("near", said, **judged) == 1.0) == (expected == 1.0)


# ---------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("said", "whole", "share"),
    [
        ("<think>a</think><answer>b</answer>", 1, 1),
        ("  <think>a\nb</think>\n\n<answer>b</answer>\n", 1, 1),
        ("<think></think><answer></answer>", 1, 1),
        ("so <think>a</think><answer>b</answer>", 0, 1),
        ("<answer>b</answer><think>a</think>", 0, 1),
        ("<think>a</think><answer>b", 0, 0.75),
        ("<think>a</think><think>a</think><answer>b</answer>", 0, 0.5),
        ("<think>a<answer>b</answer></think>", 0, 1),
        ("b", 0, 0),
    ],
)
def test_a_form_is_the_whole_text_in_tags_each_once(said, whole, share):
    assert of("format", said) == whole
    assert of("format", said, partial=True) == share


def test_a_length_is_full_inside_its_bounds_and_falls_outside():
    """high 4, low 2, slope 4: one word outside costs a quarter."""
    bounds = {"low": 2, "high": 4, "slope": 4}
    got = [of("length", " ".join(["word"] * n), **bounds) for n in (0, 1, 2, 4, 5, 8, 9)]
    assert got == [0.5, 0.75, 1, 1, 0.75, 0, 0]
    assert of("length", "abcde", unit="characters", **bounds) == 0.75
    assert of("length", "abcde", unit="tokens", length=6, **bounds) == 0.5


def test_tokens_that_nobody_counted_are_a_fault():
    with pytest.raises(RewardFault, match="unit=tokens asks for the lengths"):
        of("length", "abc", unit="tokens")


def test_overlong_responses_are_punished_as_by_dapo():
    """The values of TRL's get_soft_overlong_punishment(100, 20)."""
    got = [of("overlong", "x", length=n, limit=100, margin=20) for n in (70, 80, 90, 100, 101)]
    assert got == [0, 0, -0.5, -1, -1]


def test_repetition_is_the_share_of_ngrams_that_stood_there_before():
    """The values of TRL's get_repetition_penalty_reward(2, -1.0)."""
    case = vector("policy_gradient", "repetition_penalty", "bigram")
    got = [-repeated(ids, case["params"]["ngram_size"]) for ids in case["inputs"]["completion_ids"]]
    assert got == case["expected"]["rewards"] == [0, -0.75, -0.5]
    assert of("repetition", "so so so so so", n=2) == -0.75
    assert of("repetition", "北北北北北", n=2) == -0.75
    assert of("repetition", "so") == 0


def test_a_cosine_makes_short_right_and_long_wrong_answers_better():
    """1/2 + 1/4 · (1 + cos(π/2)) = 0.75 half-way, as TRL's get_cosine_scaled_reward has it."""
    at = {n: (of("cosine", "red", answer="red", limit=100, length=n)) for n in (0, 50, 100, 300)}
    assert at == pytest.approx({0: 1, 50: 0.75, 100: 0.5, 300: 0.5})
    wrong = {n: (of("cosine", "blue", answer="red", limit=100, length=n)) for n in (0, 50, 100)}
    assert wrong == pytest.approx({0: -1, 50: -0.75, 100: -0.5})


def test_a_pattern_matches_or_does_not():
    assert of("regex", "It is 42.", pattern=r"\d+") == 1
    assert of("regex", "It is 42.", pattern=r"\d+", whole=True) == 0
    assert of("regex", "ONE", pattern="one") == 0
    assert of("regex", "ONE", pattern="one", ignore_case=True) == 1


def test_a_pattern_that_would_take_years_is_a_fault_in_seconds(monkeypatch):
    monkeypatch.setattr("aa_lightning.rewards.texts._SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(
        RewardFault, match=r"reward.regex gives no reward for prompt row-0: the expression takes longer"
    ):
        of("regex", "a" * 40 + "b", pattern=r"(a+)+$", whole=True)
    assert time.monotonic() - start < 10


def test_no_expression_is_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match="it is no regular expression"):
        of("regex", "a", pattern="(")


@pytest.mark.parametrize(
    ("said", "any_object", "keyed"),
    [
        ('{"name": "Ada", "age": 36}', 1, 1),
        ('```json\n{"name": "Ada", "age": "36"}\n```', 1, 0.5),
        ('<think>hm</think><answer>{"age": true}</answer>', 1, 0),
        ('[{"name": "Ada"}]', 0, 0),
        ('{"name": "Ada", "age": NaN}', 0, 0),
        ('{"name": "Ada"', 0, 0),
        ("[" * 100_000, 0, 0),
        ('{"a":' * 100_000, 0, 0),
        ('{"age": ' + "9" * 10_000 + "}", 0, 0),
        ("", 0, 0),
    ],
)
def test_json_is_an_object_with_keys_of_their_kinds(said, any_object, keyed):
    assert of("json", said) == any_object
    assert of("json", said, keys={"name": "text", "age": "number"}) == keyed


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_whatever_is_said_is_read(said):
    final(said)
    parsed(said)
    boxes_in(said)


# ---------------------------------------------------------------- boxes


def test_intersection_over_union_is_that_of_vlm_r1():
    """[10, 10, 50, 60] and [20, 15, 60, 55]: 30·40 / (2000 + 1600 − 1200) = 0.5."""
    for case in (vector("policy_gradient", "iou_reward", "rec"), vector("policy_gradient", "iou_reward", "disjoint")):
        given = case["inputs"]
        assert iou(tuple(given["box_pred"]), tuple(given["box_gt"])) == case["expected"]["iou_vlm_r1_code"]
    assert iou((5, 5, 5, 9), (5, 5, 5, 9)) == 0
    assert iou((9, 9, 0, 0), (0, 0, 9, 9)) == 0  # corners the wrong way round


@pytest.mark.parametrize(
    ("said", "keys", "expected"),
    [
        ("<think>[0, 0, 9, 9]</think><answer>[10, 10, 50, 60]</answer>", {}, 0.5),
        ("It is at (10.0, 10, 50, 60).", {}, 0.5),
        ('```json\n[{"bbox_2d": [10, 10, 50, 60], "label": "dog"}]\n```', {}, 0.5),
        ("[10, 10, 50, 60] or [20, 15, 60, 55]", {}, 0),
        ("nowhere", {}, 0),
        ("[50, 100, 250, 600]", {"coordinates": "thousandths"}, 0.5),
        ("[0.05, 0.1, 0.25, 0.6]", {"coordinates": "shares"}, 0.5),
        ("[10, 10, 50, 60]", {"threshold": 0.6}, 0),
        ("[10, 10, 50, 60]", {"threshold": 0.4, "right": True}, 1),
    ],
)
def test_a_box_is_as_good_as_its_overlap(said, keys, expected):
    assert of("iou", said, answer="[20, 15, 60, 55]", shown=[PICTURE], **keys) == pytest.approx(expected)


def test_a_box_that_nobody_expects_is_a_fault():
    with pytest.raises(RewardFault, match=r"its answer 'red' has no box"):
        of("iou", "[1, 2, 3, 4]", answer="red")
    with pytest.raises(RewardFault, match="the prompt shows none"):
        of("iou", "[1, 2, 3, 4]", answer="[1, 2, 3, 4]", coordinates="shares")


TWO = '[{"bbox": [0, 0, 10, 10], "label": "cat"}, {"bbox": [20, 0, 30, 10], "label": "dog"}]'


@pytest.mark.parametrize(
    ("said", "keys", "expected"),
    [
        (TWO, {}, 1),
        (TWO.replace("cat", "cow"), {}, 0.5),
        (TWO.replace("cat", "cow"), {"labels": False}, 1),
        ('[{"bbox": [0, 0, 10, 5], "label": "cat"}]', {}, 0.25),
        ('[{"bbox": [0, 0, 10, 5], "label": "cat"}]', {"threshold": 0.5, "right": True}, 0.5),
        ("[0,0,10,10] [20,0,30,10] [0,0,10,10] [0,0,10,10]", {"labels": False}, 0.5),
        ("none", {}, 0),
    ],
)
def test_a_detection_is_matched_one_to_one(said, keys, expected):
    """Overlaps of matched boxes over the larger number of boxes."""
    assert of("detection", said, answer=TWO, **keys) == expected


def test_larger_overlaps_are_matched_first():
    found = [Box((0, 0, 10, 10)), Box((0, 0, 10, 9))]
    assert matched(found, [Box((0, 0, 10, 9))], labels=False) == [1.0]


def test_that_there_is_nothing_to_find_can_be_right():
    assert of("detection", "nothing", answer="[]") == 1
    assert of("detection", "[1, 2, 3, 4]", answer="[]") == 0


# ---------------------------------------------------------------- nearness


def plain_edits(one, other):
    """The definition, by recursion."""
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return plain_edits(one[1:], other[1:])
    return 1 + min(plain_edits(one[1:], other), plain_edits(one, other[1:]), plain_edits(one[1:], other[1:]))


@settings(max_examples=100, deadline=None)
@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_edits_are_counted_as_they_are_defined(one, other):
    assert edits(one, other) == plain_edits(one, other)


def test_texts_are_as_near_as_they_take_edits():
    assert edits("kitten", "sitting") == 3
    assert similarity("", "") == 1
    assert of("near", "a red circle", answer="a blue circle") == pytest.approx(2 / 3)
    assert of("near", "<answer>Red</answer>", answer="red") == 1
    assert of("near", "rad", answer="red", unit="characters") == pytest.approx(2 / 3)


def test_numbers_are_as_near_as_their_difference():
    got = [of("near", said, answer="7") for said in ("7", "8", "6", "10", "The answer is 9.", "-3", "1e99")]
    assert got == pytest.approx([1, 1 / 2, 1 / 2, 1 / 4, 1 / 3, 1 / 11, 0])
    assert of("near", "17", answer="7", scale=10) == 0.5
    assert of("near", "8", answer="7", scale=None) == 0


def test_a_picture_is_graded_by_its_figures():
    figures = [Figure("circle", "red", True, (0, 0), (0, 0)), Figure("square", "blue", True, (1, 2), (0, 0))]

    def drawn(*figures):
        return [{"type": "image", "image": draw(Scene(figures), 48)}]

    def near(*figures):
        return of("near", drawn(*figures), answer="a red circle and a blue square", answers_in="image")

    assert near(*figures) == 1
    assert near(figures[0]) == pytest.approx(2 / 3)  # 2 · 1 / (2 + 1)
    assert near(figures[0], Figure("square", "green", True, (1, 2), (0, 0))) == pytest.approx(0.75)
    assert near() == 0
    apart = of("near", drawn(*figures), answer="a red circle left of a blue square", answers_in="image")
    assert apart == pytest.approx(2 / 3)  # it is above too
    assert of("near", "a red circle", answer="a red circle", answers_in="image") == 0


def test_a_sound_is_graded_by_its_tones_in_their_order():
    rows = Shapes(modality="t2a", size=20, seed=0)
    row = next(row for row in (rows[i] for i in range(20)) if len(row["answer"].split()) == 3)
    sound = row["chosen"]()
    tones = row["answer"].split()
    graded = [
        of("near", [{"type": "audio", "audio": sound}], answer=" ".join(tones[:n]), answers_in="audio")
        for n in (3, 2, 1)
    ]
    assert graded == pytest.approx([1, 2 * 2 / 5, 2 * 1 / 4])
    assert all(one > other for one, other in pairwise(graded))
    assert not math.isnan(sum(graded))
