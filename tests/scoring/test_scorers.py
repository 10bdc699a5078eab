"""Scores of what was read out of a text."""

import pytest

from tests.scoring.support import asked, cases, part


@pytest.mark.parametrize("context, given, expected", cases("mmau_string_match"))
def test_token_match_is_mmaus(context, given, expected):
    question = asked(context["answer"], dict(zip("ABCD", context["choices"], strict=True)))
    assert part("score", "token_match")(given["response"], question) == {"score": float(expected["correct"])}


def test_exact_takes_any_of_several_answers():
    exact = part("score", "exact")
    assert [exact(said, asked(["a", "b"]))["score"] for said in ("a", "b", "c", None)] == [1, 1, 0, 0]
