"""Numbers of tables of scored rows, and how far they would move."""

import numpy as np
import pytest

from aa_lightning.scoring.aggregates import pass_at_k
from aa_lightning.scoring.bootstrap import intervals
from tests.scoring.support import TABLES, cases, part, row

F1 = {"name": "f1", "positive": "yes"}


def told(aggregate, rows):
    return part("aggregate", aggregate)(rows)


@pytest.mark.parametrize("context, given, expected", cases("mme_score"))
def test_mme_adds_what_lmms_eval_does(context, given, expected):
    rows = [row(one["score"], **{k: one[k] for k in ("question_id", "category")}) for one in given["rows"]]
    found = told("mme", rows)
    assert {name: found[f"mme/{name}"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert found["mme"] == found["mme/perception"] and "mme/cognition" not in found


def test_mme_of_always_yes_is_half_of_the_questions_and_no_picture():
    rows = [
        row(float(i % 2), question_id=i // 2, category=name)
        for name in ("count", "OCR", "code_reasoning")
        for i in range(8)
    ]
    assert told("mme", rows) == {
        "mme": 150,
        "mme/perception": 100,
        "mme/cognition": 50,
        "mme/count": 50,
        "mme/OCR": 50,
        "mme/code_reasoning": 50,
    }


def test_mme_takes_a_picture_with_one_answer_missing_for_not_right():
    assert told("mme", [row(1, question_id=0, category="count")])["mme"] == 100


@pytest.mark.parametrize("context, given, expected", cases("pass_at_k"))
def test_pass_at_k_is_the_estimate_of_codex(context, given, expected):
    n, right, k = given["n"], given["c"], given["k"]
    assert pass_at_k(n, right, k) == pytest.approx(expected["pass_at_k"], abs=1e-9)
    rows = [row(float(i < right)) for i in range(n)]
    assert told({"name": "pass_at_k", "k": k}, rows) == pytest.approx(expected, abs=1e-9)


def test_pass_at_k_is_a_mean_over_questions_and_needs_k_answers():
    rows = [row(1, id="a"), row(0, id="a"), row(0, id="b"), row(0, id="b")]
    assert told({"name": "pass_at_k", "k": 1}, rows) == {"pass_at_k": 0.25}
    with pytest.raises(ValueError, match="pass@3 needs 3 answers to each question, and one has 2"):
        told({"name": "pass_at_k", "k": 3}, rows)


@pytest.mark.parametrize("context, given, expected", cases("vbench_final"))
def test_vbench_weighs_dimensions_as_its_script_does(context, given, expected):
    for spelled in (str, lambda name: name.replace(" ", "_")):
        found = told("vbench", [row(v, dimension=spelled(name)) for name, v in given["scores"].items()])
        wanted = {"vbench": expected["final"]} | {f"vbench/{half}": expected[half] for half in ("quality", "semantic")}
        assert found == pytest.approx(wanted, abs=1e-9)


def test_vbench_has_no_number_for_what_lacks_a_dimension():
    names = TABLES["vbench_final"]["context"]["quality_list"]
    assert set(told("vbench", [row(0.5, dimension=name) for name in names])) == {"vbench/quality"}
    with pytest.raises(ValueError, match="dimension of question q is 'colour'; there is subject consistency"):
        told("vbench", [row(dimension="colour")])


@pytest.mark.parametrize("context, given, expected", cases("rewardbench_sections"))
def test_rewardbench_weighs_subsets_as_its_code_does(context, given, expected):
    rows = [row(score, subset=name) for name, score in given["subset_accuracy"].items()]
    sections = {f"rewardbench/{name}": score for name, score in expected["sections"].items()}
    assert told("rewardbench", rows) == pytest.approx({"rewardbench": expected["overall"], **sections}, abs=1e-9)


def test_rewardbench_has_no_total_where_a_section_was_not_asked():
    rows = [row(1, subset="donotanswer"), row(0, subset="refusals-dangerous")]
    assert told("rewardbench", rows) == pytest.approx({"rewardbench/Safety": 136 / 236})


def test_pope_of_always_yes_on_as_many_of_each():
    rows = [row(extracted="yes", answer=("yes", "no")[i % 2]) for i in range(10)]
    wanted = {"f1": 2 / 3, "precision": 0.5, "recall": 1, "accuracy": 0.5, "positive": 1}
    assert told(F1, rows) == pytest.approx(wanted)


def test_what_could_not_be_read_is_not_positive_and_not_right():
    """Two of three positives found, one of the found is none: precision 2/3, recall 2/4."""
    said = [("yes", "yes"), ("Yes", "yes"), (None, "yes"), ("no", "yes"), ("yes", "no"), (None, "no")]
    found = told(F1, [row(extracted=one, answer=two) for one, two in said])
    wanted = {"f1": 4 / 7, "precision": 2 / 3, "recall": 0.5, "accuracy": 1 / 3, "positive": 0.5}
    assert found == pytest.approx(wanted)


def test_amber_looks_for_no_and_always_yes_finds_none():
    rows = [row(extracted="yes", answer=("no", "yes")[i % 2]) for i in range(4)]
    wanted = {"f1": 0, "precision": 0, "recall": 0, "accuracy": 0.5, "positive": 0}
    assert told({"name": "f1", "positive": "no"}, rows) == wanted


def test_amber_of_always_no_is_what_its_leaderboard_has():
    """Of 14216 questions 4924 objects are not there, half of 7628 attributes and 689 of 1664 relations are wrong: 9427."""
    wrong = 4924 + 7628 // 2 + 689
    rows = [row(extracted="no", answer="no")] * wrong + [row(extracted="no", answer="yes")] * (14216 - wrong)
    found = told({"name": "f1", "positive": "no"}, rows)
    percent = [round(100 * found[name], 1) for name in ("accuracy", "precision", "recall", "f1")]
    assert percent == [66.3, 66.3, 100.0, 79.7]


def test_a_macro_mean_is_of_groups_and_their_groups():
    """MMStar: micro 3/5; means of tasks 1, 1/2, 0 are in mean 1/2; and in categories (3/4, 0), whose mean is 3/8."""
    kinds = [(1, "see", "count"), (1, "see", "shape"), (0, "see", "shape"), (1, "see", "count"), (0, "know", "law")]
    rows = [row(score, category=category, task=task) for score, category, task in kinds]
    assert told("mean", rows) == {"mean": 0.6}
    assert told({"name": "macro", "by": "task"}, rows) == {"macro_mean": 0.5}
    assert told({"name": "macro", "by": ["category", "task"]}, rows) == {"macro_mean": 0.375}


def test_a_macro_mean_may_be_of_any_other_aggregate():
    rows = [row(extracted="yes", answer=a, split=s) for a, s in (("yes", 1), ("no", 1), ("yes", 2), ("yes", 2))]
    assert told({"name": "macro", "by": "split", "of": F1}, rows)["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_always_a_is_right_in_no_circle_and_in_one_rotation_of_four():
    """Rotations 0 … 3 of a question have the answers A, B, C, D."""
    rows = [row(float(k == 0), index=7 + k * 1_000_000) for k in range(4)]
    circular = {"name": "all_in_group", "by": "index", "modulo": 1_000_000}
    assert told(circular, rows) == {"all_in_group": 0}
    assert told("mean", rows) == {"mean": 0.25}
    assert told(circular, [row(1, index=7), row(1, index=1_000_007), row(0, index=8)]) == {"all_in_group": 0.5}


def test_groups_of_some_rows_can_be_left_out():
    """HallusionBench's figures: those with the number 0 of the category VS are none."""
    rows = [row(1, category="VS", figure="1"), row(0, category="VS", figure="0"), row(1, category="VD", figure="0")]
    figures = {"name": "all_in_group", "key": "fAcc", "by": ["category", "figure"]}
    assert told(figures, rows) == pytest.approx({"fAcc": 2 / 3})
    for zero in ("0", 0):
        assert told({**figures, "without": {"category": "VS", "figure": zero}}, rows) == {"fAcc": 1}


def test_sums_and_ratios_are_over_all_rows():
    rows = [
        row(scores={"wrong": 1, "named": 4}),
        row(scores={"wrong": 2, "named": 2}),
        row(scores={"wrong": 0, "named": 0}),
    ]
    assert told({"name": "ratio", "key": "CHAIRi", "of": "wrong", "to": "named"}, rows) == {"CHAIRi": 0.5}
    assert told({"name": "sum", "of": "named"}, rows) == {"sum": 6}
    assert np.isnan(told({"name": "ratio", "of": "wrong", "to": "named"}, rows[2:])["ratio"])


def test_pearson_is_numpys_without_what_is_no_number():
    said, wanted = [1, 2, 4, 3, 5], [2, 1, 5, 3, 4]
    rows = [row(extracted=one, answer=two) for one, two in zip(said, wanted, strict=True)]
    rows += [row(extracted=None, answer=9), row(extracted="?", answer=9)]
    assert told("pearson", rows)["pearson"] == pytest.approx(np.corrcoef(said, wanted)[0, 1])


def test_a_column_or_score_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="no column subject to group by; there is: split"):
        told({"name": "macro", "by": "subject"}, [row(split="easy")])
    with pytest.raises(ValueError, match="no score anls; its scorer gives score"):
        told({"name": "mean", "of": "anls"}, [row()])
    with pytest.raises(ValueError, match="no scored rows"):
        told("mean", [])


def test_an_interval_is_as_wide_as_the_mean_is_uncertain():
    """A share of 0.3 of 400 rows: 1.96 · √(0.3 · 0.7 / 400) = 0.0449 to either side."""
    rows = [row(float(i % 10 < 3)) for i in range(400)]
    low, high = intervals(part("aggregate", "mean"), rows, draws=4000)["mean"]
    assert (low, high) == pytest.approx((0.3 - 0.0449, 0.3 + 0.0449), abs=0.005)
    assert intervals(part("aggregate", "mean"), rows, draws=4000)["mean"] == (low, high)
    assert intervals(part("aggregate", "mean"), rows, draws=4000, seed=1)["mean"] != (low, high)
    inner = intervals(part("aggregate", "mean"), rows, draws=4000, level=0.5)["mean"]
    assert low < inner[0] < 0.3 < inner[1] < high


def test_rows_that_count_together_are_drawn_together():
    """100 questions in 4 rotations each: the interval is that of 100 and not of 400."""
    rows = [row(float(i % 2), index=i) for i in range(100) for _ in range(4)]
    low, high = intervals(part("aggregate", {"name": "all_in_group", "by": "index"}), rows, draws=4000)["all_in_group"]
    assert high - low == pytest.approx(2 * 1.96 * 0.05, abs=0.02)


@pytest.mark.parametrize(
    "aggregate",
    [
        "mean",
        "mme",
        "pearson",
        F1,
        {"name": "sum"},
        {"name": "ratio", "of": "score", "to": "one"},
        {"name": "pass_at_k", "k": 2},
        {"name": "macro", "by": ["category", "task"]},
        {"name": "macro", "by": "category", "of": {"name": "all_in_group", "by": "question_id"}},
    ],
)
def test_a_drawn_table_has_the_numbers_of_the_rows_that_are_drawn(aggregate):
    """Weights of units are what writing their rows that many times is."""
    draw = np.random.default_rng(0)
    rows = [
        row(
            id=f"{i // 2}",
            scores={"score": float(draw.integers(2)), "one": 1.0},
            extracted=int(draw.integers(3)),
            answer=int(draw.integers(3)),
            question_id=i // 2,
            category=i // 20,
            task=i // 10,
        )
        for i in range(40)
    ]
    whole = part("aggregate", aggregate)
    units, of = whole.weighed(rows)
    times = draw.multinomial(units, np.full(units, 1 / units), size=3)
    for weights in times:
        each = len(rows) // units
        again = [replaced(one, copy) for i, one in enumerate(rows) for copy in range(weights[i // each])]
        found = {name: value[0] for name, value in of(weights[None].astype(float)).items()}
        assert found == pytest.approx(whole(again), nan_ok=True)


def replaced(one, copy):
    """A copy of a row that stands in a group of its own, with the rows that were copied with it."""
    meta = {**one.question.meta, "question_id": f"{one.question.meta['question_id']}/{copy}"}
    return row(
        id=f"{one.question.id}/{copy}", scores=one.scores, extracted=one.extracted, answer=one.question.answer, **meta
    )
