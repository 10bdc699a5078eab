"""Scores of what was read out of a text."""

import pytest
from pydantic import ValidationError

from tests.scoring.support import asked, cases, part

GSM8K = {"name": "exact", "remove": r"(?s)[,$]|.*#### |\.$", "normal": "lower_strip"}
REFUSALS = {"name": "reject_match", "keywords": ["sorry", "i cannot"], "whole": ["it is not"]}


@pytest.mark.parametrize("context, given, expected", cases("mmau_string_match"))
def test_token_match_is_mmaus(context, given, expected):
    options = dict(zip("ABCD", context["choices"], strict=True))
    match = part("score", "token_match")
    assert match(given["response"], asked(context["answer"], options)) == {"score": float(expected["correct"])}
    assert match(given["response"], asked("A", options)) == {"score": float(expected["correct"])}


@pytest.mark.parametrize("context, given, expected", cases("mmmu_open_eval"))
def test_mmmu_scores_open_answers_as_its_code_does(context, given, expected):
    assert part("score", "mmmu")(given["pred"], asked(given["gold"])) == {"score": float(expected["correct"])}


def test_mmmu_reads_whole_answers_and_not_their_characters():
    """lmms-eval hands the first value over as a text and goes through its characters, of which none is an answer."""
    read, score = part("extract", "mmmu_open"), part("score", "mmmu")
    values = read("The answer is twelve", asked("twelve"))
    assert score(values, asked("twelve")) == {"score": 1.0}
    assert score([*values[0]], asked("twelve")) == {"score": 0.0}
    assert [score(said, asked("B", {"A": "x", "B": "y"}))["score"] for said in ("B", "A", None)] == [1, 0, 0]
    assert score(None, asked("7")) == {"score": 0.0}


@pytest.mark.parametrize("context, given, expected", cases("vqa_accuracy"))
def test_vqa_soft_is_the_vqa_challenges(context, given, expected):
    score = part("score", "vqa_soft")(given["pred"], asked(given["answers"]))
    assert score == pytest.approx({"score": expected["acc"]}, abs=1e-9)


def test_vqa_soft_rises_with_each_of_the_first_four_who_agree():
    answers = [["red"] * n + ["blue"] * (10 - n) for n in range(6)]
    scores = [part("score", "vqa_soft")("red", asked(ten))["score"] for ten in answers]
    assert scores == pytest.approx([0, 0.3, 0.6, 0.9, 1, 1])
    assert part("score", "vqa_soft")(None, asked(["none"] * 10)) == {"score": 0.0}


@pytest.mark.parametrize(
    "scorer, said, answer, score",
    [
        ("exact", "b", ["a", "b"], 1),
        ("exact", "c", ["a", "b"], 0),
        ("exact", "B", "b", 0),
        ("exact", None, "None", 0),
        ({"name": "exact", "normal": "lower_strip"}, "No", "no ", 1),
        (GSM8K, "$1,205.", "5 × 241 = 1,205\n#### 1,205", 1),
        (GSM8K, "1206", "5 × 241 = 1,205\n#### 1,205", 0),
        ("contains", "It is a Cat.", ["dog", "cat"], 1),
        ("contains", "cat", "a cat", 0),
        ({"name": "contains", "either_way": True}, "cat", "a cat", 1),
        ({"name": "contains", "normal": "evalai"}, "a cat", "the", 0),  # an answer without words is in nothing
        ({"name": "contains", "either_way": True}, "", "a cat", 0),
        ({"name": "contains", "either_way": True}, None, "a cat", 0),
        ("token_match", None, "cat", 0),
    ],
)
def test_what_is_right(scorer, said, answer, score):
    assert part("score", scorer)(said, asked(answer)) == {"score": score}


def test_object_sets_count_what_a_caption_makes_up_and_what_it_leaves_out():
    count = part("score", "object_sets")
    assert count(["dog", "dog", "bus", "tie"], asked(["dog", "person", "tie"])) == {
        "mentioned": 4,
        "hallucinated": 1,
        "present": 3,
        "covered": 2,
        "hallucinating": 1,
        "naming": 1,
    }
    silent = count([], asked(["dog"]))
    assert silent == count(None, asked(["dog"]))
    assert silent["mentioned"] == silent["hallucinating"] == silent["naming"] == 0 and silent["present"] == 1


def test_refusals_are_known_by_their_words_in_any_case():
    reject = part("score", REFUSALS)
    said = ("Sorry, no.", "I CANNOT do it", "It is not", "It is not one", "Sure", None)
    assert [reject(one, asked())["refused"] for one in said] == [1, 1, 1, 0, 0, 0]
    assert [reject(one, asked())["complied"] for one in said] == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValidationError, match="'But I' has capitals"):
        part("score", {"name": "reject_match", "keywords": ["But I"]})


def test_verified_asks_the_verifier_that_the_data_names_and_takes_the_verdict_on_what_was_drawn():
    verified = part("score", "verified")
    assert verified("The circle is red.", asked("red", check="shapes")) == {"score": 1}
    assert verified("red or blue", asked("red", check="shapes")) == {"score": 0}
    assert verified(None, asked("red", check="shapes")) == {"score": 0}
    assert (
        part("score", {"name": "verified", "check": "number"})("It is 72.0", asked("72", check="exact"))["score"] == 1
    )
    assert [verified("<image>", asked("red", check="shapes", right=right))["score"] for right in (True, False)] == [
        1,
        0,
    ]
