"""Rankings, ties, harmlessness, steps, and answers that are kept: from rows to examples."""

import pytest
from pydantic import TypeAdapter, ValidationError

from aa_lightning.data.errors import BadRow, LeftOut
from aa_lightning.data.examples import Examples
from aa_lightning.data.kinds import weaken
from aa_lightning.data.mixture import Mixture, round_robin
from aa_lightning.data.template import functions
from aa_lightning.data.template.schema import TemplateOptions
from aa_lightning.data.template.template import Template
from aa_lightning.types import Feedback, Preference, Ranking, text

QUESTION = [{"role": "user", "content": [text("q")]}]
ANSWERS = {"kind": "ranking", "prompt": [{"text": "q"}], "answers": "a", "ratings": {"r": "s"}}
FOUR = {"q": "q", "a": ["w", "x", "y", "z"], "s": [2, 5, 1, 4]}


class Rows(list):
    columns = ("q", "a", "s")


def template(**options) -> Template:
    return Template(TypeAdapter(TemplateOptions).validate_python(options))


def only(made):
    (example,) = made
    return example


def said(example) -> list[str]:
    return ["".join(part["text"] for part in response) for response in example.responses]


def test_answers_become_a_ranking_with_the_best_first():
    ranking = only(template(**ANSWERS)(FOUR, "0"))
    assert isinstance(ranking, Ranking)
    assert said(ranking) == ["x", "z", "w", "y"]
    assert ranking.scores == [5.0, 4.0, 2.0, 1.0]


@pytest.mark.parametrize(("size", "expected"), [(2, ["x", "y"]), (3, ["x", "w", "y"]), (4, ["x", "z", "w", "y"])])
def test_a_ranking_of_fewer_answers_keeps_the_best_and_the_worst(size, expected):
    assert said(only(template(**ANSWERS, ranked=size)(FOUR, "0"))) == expected


def test_too_few_answers_make_no_ranking_of_that_size():
    with pytest.raises(BadRow, match="5 answers make a ranking, and there are 4"):
        template(**ANSWERS, ranked=5)(FOUR, "0")


def test_the_same_answers_serve_pairs_or_rankings_as_the_algorithm_wants():
    rows = Rows([FOUR, {**FOUR, "s": [1, 2, 3, 4]}])
    mapping = template(**{**ANSWERS, "kind": "feedback"})
    assert [said(example) for example in Examples(rows, mapping, "ranking")] == [
        ["x", "z", "w", "y"],
        ["z", "y", "x", "w"],
    ]
    assert len(Examples(rows, mapping, "preference")) == 2 * 6  # all pairs of four


def test_rankings_of_unequal_size_are_refused_with_what_to_type():
    rows = Rows([FOUR, {"q": "q", "a": ["u", "v"], "s": [1, 2]}])
    with pytest.raises(ValueError, match=r"from 2 to 4 answers.*\+\+data.template.ranked=2"):
        Examples(rows, template(**ANSWERS), "ranking")
    assert [said(example) for example in Examples(rows, template(**ANSWERS, ranked=2), "ranking")] == [
        ["x", "y"],
        ["v", "u"],
    ]


def test_parts_of_a_mixture_with_rankings_of_unequal_size_are_refused_by_name():
    parts = {size: Examples(Rows([FOUR]), template(**ANSWERS, ranked=size), "ranking") for size in (2, 3)}
    with pytest.raises(ValueError, match=r"2 \(a\), 3 \(b\).*ranked:2"):
        Mixture({"a": parts[2], "b": parts[3]}, round_robin([1, 1]))
    assert len(Mixture({"a": parts[2], "b": parts[2]}, round_robin([1, 1]))) == 2


def test_a_ranking_weakens_to_its_best_over_its_worst():
    ranking = only(template(**ANSWERS)(FOUR, "0"))
    pair = only(weaken(ranking, "preference"))
    assert (said(pair), pair.margin) == (["x", "y"], 4.0)
    assert [(said(rating), rating.desirable) for rating in weaken(ranking, "rating")] == [(["x"], True), (["y"], False)]
    assert said(only(weaken(ranking, "demonstration"))) == ["x"]
    with pytest.raises(ValueError, match="cannot serve as a feedback"):
        weaken(ranking, "feedback")


def test_a_ranking_of_equals_prefers_nothing():
    assert (
        weaken(Ranking(id="0", messages=QUESTION, ranked=[[text("a")], [text("b")]], scores=[1.0, 1.0]), "preference")
        == []
    )


@pytest.mark.parametrize(
    ("margin", "tie", "scores"), [(None, False, [1.0, 0.0]), (2.5, False, [2.5, 0.0]), (None, True, [0, 0])]
)
def test_a_pair_is_a_ranking_of_two(margin, tie, scores):
    pair = Preference(id="0", messages=QUESTION, chosen=[text("a")], rejected=[text("b")], margin=margin, tie=tie)
    ranking = only(weaken(pair, "ranking"))
    assert (said(ranking), ranking.scores) == (["a", "b"], scores)


# ---------------------------------------------------------------- answers that are kept

KEPT = [
    ({"name": "best"}, ["x"]),
    ({"name": "above", "threshold": 1.5}, ["w", "x", "z"]),
    ({"name": "lottery", "beta": 1e-3}, ["x"]),
    ({"name": "lottery", "beta": 1e9}, ["w", "x", "y", "z"]),
]


@pytest.mark.parametrize(("rule", "expected"), KEPT)
def test_rejection_sampling_keeps_these_demonstrations(rule, expected):
    mapping = template(**{**ANSWERS, "kind": "feedback"}, keep_answers=rule)
    kept = Examples(Rows([FOUR]), mapping, "demonstration")
    assert [only(said(example)) for example in kept] == expected
    assert len(Examples(Rows([FOUR]), mapping, "preference")) == 6  # for other algorithms nothing changes


def test_the_same_lottery_is_drawn_every_time():
    mapping = template(**{**ANSWERS, "kind": "feedback"}, keep_answers={"name": "lottery", "beta": 2.0}).serving(
        "demonstration"
    )
    first, second = (["".join(said(e)) for e in mapping(FOUR, "3")] for _ in range(2))
    assert first == second and "x" in first


@pytest.mark.parametrize(
    ("rule", "reason"),
    [({"name": "above"}, "takes threshold"), ({"name": "best", "beta": 1.0}, "takes no number")],
)
def test_a_rule_of_keeping_without_its_number_is_refused(rule, reason):
    with pytest.raises(ValidationError, match=reason):
        template(**ANSWERS, keep_answers=rule)


# ---------------------------------------------------------------- ties, harmlessness

PAIR = {"kind": "preference", "prompt": [{"text": "q"}], "responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("preferred", "label", "chosen", "tie"),
    [
        ({"column": "l", "first": "A", "second": "B", "both": "same"}, {"l": "same"}, "1", True),
        ({"column": "l", "first": "A", "second": "B", "both": "same"}, {"l": "B"}, "2", False),
        ({"scores": ["s", "t"], "tie": "keep"}, {"s": 3, "t": 3}, "1", True),
        ({"scores": ["s", "t"], "tie": "keep"}, {"s": 3, "t": 4}, "2", False),
    ],
)
def test_a_tie_that_is_kept_is_marked(preferred, label, chosen, tie):
    made = only(template(**PAIR, preferred=preferred)({"q": "q", "a": "1", "b": "2", **label}, "0"))
    assert (said(made)[0], made.tie) == (chosen, tie)
    assert [rating.desirable for rating in weaken(made, "rating")] == ([] if tie else [True, False])


def test_a_tie_that_is_not_kept_is_still_left_out():
    with pytest.raises(LeftOut, match="tie"):
        template(**PAIR, preferred={"scores": ["s", "t"], "tie": "drop"})(
            {"q": "q", "a": "1", "b": "2", "s": 1, "t": 1}, "0"
        )


def test_harmlessness_follows_the_responses_when_the_second_one_is_chosen():
    mapping = template(**PAIR, preferred={"column": "l", "first": 0, "second": 1}, safe=["sa", "sb"])
    row = {"q": "q", "a": "1", "b": "2", "sa": False, "sb": True}
    assert only(mapping({**row, "l": 1}, "0")).safe == (True, False)
    assert only(mapping({**row, "l": 0}, "0")).safe == (False, True)
    with pytest.raises(BadRow, match="True or false was expected, and 'perhaps'"):
        mapping({**row, "l": 0, "sa": "perhaps"}, "0")


def test_what_a_template_offers_is_known_before_rows_are_read():
    assert template(**PAIR, preferred="first").options.offers == set()
    told = template(**PAIR, preferred={"scores": ["s", "t"], "tie": "keep"}, safe=["sa", "sb"], margin=["s", "t"])
    assert told.options.offers == {"tie", "safe", "margin"}


# ---------------------------------------------------------------- steps, critiques

STEPS = {"kind": "rating", "prompt": [{"text": "q"}], "completion": "steps", "steps": "right"}


def test_steps_are_parts_on_lines_of_their_own_and_one_wrong_step_spoils_the_answer():
    made = only(template(**STEPS)({"q": "q", "steps": ["1+1=2", "2+2=5"], "right": [True, False]}, "0"))
    assert said(made) == ["1+1=2\n2+2=5"] and len(made.response) == 2
    assert (made.steps, made.desirable) == ((True, False), False)
    assert only(template(**STEPS)({"q": "q", "steps": ["1+1=2"], "right": [1]}, "0")).desirable


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"steps": ["a", "b"], "right": [True]}, "There are 1 values for 2 steps"),
        ({"steps": [], "right": []}, "There is no step"),
        ({"steps": ["a"], "right": ["+"]}, "True or false was expected"),
    ],
)
def test_steps_without_a_label_each_are_bad(row, reason):
    with pytest.raises(BadRow, match=reason):
        template(**STEPS)({"q": "q", **row}, "0")


def test_each_critique_of_a_row_is_an_example_and_rows_without_are_left_out():
    both = Feedback(id="5", messages=QUESTION, chosen=[text("a")], rejected=[text("b")], critique=("Right.", "Wrong."))
    assert [(made.id, said(made)) for made in weaken(both, "critique")] == [
        ("5", ["Right."]),
        ("5/rejected", ["Wrong."]),
    ]
    assert weaken(Feedback(id="6", messages=QUESTION, chosen=[text("a")], rejected=[text("b")]), "critique") == []


# ---------------------------------------------------------------- which pairs


def pairs_of(row, **options):
    made = template(**{**ANSWERS, "kind": "preference", **options})(row, "0")
    return ["".join(said(example)) for example in made]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("all", ["xz", "xw", "xy", "zw", "zy", "wy"]),
        ("adjacent", ["xz", "zw", "wy"]),
        ("best_vs_worst", ["xy"]),
        ("best_vs_each", ["xz", "xw", "xy"]),
    ],
)
def test_scores_of_5_4_2_and_1_give_these_pairs(policy, expected):
    assert pairs_of(FOUR, pairs=policy) == expected


def test_a_gap_keeps_pairs_that_are_at_least_so_far_apart():
    """x 5, z 4, w 2, y 1: two or more apart are xw 3, xy 4, zw 2, zy 3."""
    assert pairs_of(FOUR, accept={"gap": 2}) == ["xw", "xy", "zw", "zy"]
    with pytest.raises(LeftOut, match="None of 6 pairs is one that `accept` accepts"):
        pairs_of(FOUR, accept={"gap": 4.5})


def test_the_longer_answer_may_be_so_many_times_as_long_and_no_longer():
    row = {"q": "q", "a": ["aa", "bbb", "cccc"], "s": [3, 2, 1]}
    assert pairs_of(row, accept={"length_ratio": 1.5}) == ["aabbb", "bbbcccc"]  # 3 / 2 and 4 / 3, but not 4 / 2
    assert pairs_of(row, accept={"length_ratio": 2}) == ["aabbb", "aacccc", "bbbcccc"]


def test_two_responses_are_accepted_by_their_lengths_and_by_their_margin():
    told = {"kind": "preference", "prompt": [{"text": "q"}], "responses": ["a", "b"], "preferred": "first"}
    row = {"q": "q", "a": "good", "b": "bad, bad", "m": 0.5}
    assert len(template(**told, accept={"length_ratio": 2.0})(row, "0")) == 1
    with pytest.raises(LeftOut, match="accept"):
        template(**told, accept={"length_ratio": 1.9})(row, "0")
    assert len(template(**told, margin="m", accept={"gap": 0.5})(row, "0")) == 1
    with pytest.raises(LeftOut, match="accept"):
        template(**told, margin="m", accept={"gap": 0.6})(row, "0")
    with pytest.raises(ValidationError, match="needs `margin`"):
        template(**told, accept={"gap": 0.6})


def test_an_answer_is_as_good_as_few_of_its_claims_are_denied():
    """Denied where no is likelier than yes: two of three, none of one (a tie is not denied), one of two."""
    found = functions.find("claim_scores")([[0.1, 0.9, 0.3], [0.5], [0.2, 0.7]], [[0.9, 0.1, 0.4], [0.5], [0.8, 0.3]])
    assert found == {"claim_scores": [-2, 0, -1]}
