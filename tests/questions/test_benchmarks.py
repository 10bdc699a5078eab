"""Every benchmark reads rows of its public format, asks as documented, and scores answerers as computed by hand."""

import re
from dataclasses import replace

import pytest

from aa_lightning.benchmarks.questions import Questions
from aa_lightning.benchmarks.results import check, result
from aa_lightning.configuration.compose import compose
from aa_lightning.data.errors import BadRow
from tests.questions.rows import CASES
from tests.questions.support import NAMES, SHAPES, asked, options, questions


def as_rows(found, answers):
    return {found.question(i).id: {"id": found.question(i).id, "said": answer} for i, answer in enumerate(answers)}


def test_every_benchmark_but_those_of_shapes_has_rows_of_its_format():
    assert set(CASES) == set(NAMES) - set(SHAPES)


def test_every_benchmark_composes():
    needed = ["benchmark.amber.data.path=a.jsonl", "benchmark.video_mme.data.root=clips"]
    cfg = compose([f"benchmark=[{','.join(NAMES)}]", *needed], "evaluate")
    assert list(cfg.benchmark) == NAMES


@pytest.mark.parametrize("name", CASES)
def test_a_perfect_a_wrong_an_empty_and_a_constant_answerer_score_what_is_computed_by_hand(name, tmp_path):
    case, found = CASES[name], questions(name, tmp_path)
    check(found)
    assert asked(found.prompts[0]) == case.asked
    count = len(case.rows)
    several = (case.right, case.wrong, [""] * count, [case.constant] * count)
    told = [result(found, as_rows(found, answers))[0] for answers in several]
    assert [one["value"] for one in told] == pytest.approx(case.numbers)
    assert [(one["n"], one["n_missing"]) for one in told] == [(count, 0)] * 4
    assert told[0]["n_unparsed"] == 0
    assert told[2]["n_unparsed"] == (count if case.unparsed is None else case.unparsed)
    assert all(one["interval"][0] <= one["value"] <= one["interval"][1] for one in told)
    assert all(sum(group["n"] for group in groups.values()) == count for groups in told[0]["groups"].values())


@pytest.mark.parametrize("name", [name for name in SHAPES if name.endswith("2t")])
def test_shapes_takes_its_own_answers_for_right_and_others_for_wrong(name):
    found = Questions(options(name, limit=24))
    check(found)
    answers = [found.question(i).answer for i in range(len(found))]
    right, _ = result(found, as_rows(found, answers))
    empty, _ = result(found, as_rows(found, [""] * len(answers)))
    assert (right["value"], empty["value"], empty["n_unparsed"]) == (1, 0, 24)
    assert len(right["groups"]["kind"]) > 1


@pytest.mark.parametrize("name", [name for name in SHAPES if not name.endswith("2t")])
def test_of_what_is_drawn_the_verdict_counts_and_nothing_drawn_is_unparsed(name):
    found = Questions(options(name, limit=8))
    check(found)
    ids = [found.question(i).id for i in range(8)]
    drawn = {one: {"id": one, "said": "", "right": n < 2, "files": ["x"] if n < 4 else []} for n, one in enumerate(ids)}
    told, _ = result(found, drawn)
    assert (told["value"], told["n_unparsed"]) == (0.25, 4)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("mmbench", {"answer": "E"}, "The answer 'E' is no letter of the options A, B."),
        ("scienceqa", {"answer": 2}, "The answer 2 is no index of the options A, B."),
        ("muchomusic", {"answer": "Polka"}, "The answer 'Polka' is no text of the options A, B."),
        ("arc_easy", {"answerKey": "E"}, "The label E of the right option is not among A, B, C, D."),
        ("mmmu", {"image_1": None}, "It names picture 1, and there is none."),
        ("video_mme", {"options": ["Red.", "Blue."]}, "An option does not begin with a letter"),
    ],
)
def test_a_row_whose_answer_or_options_cannot_be_read_is_named(name, change, told, tmp_path, monkeypatch):
    case = CASES[name]
    monkeypatch.setitem(CASES, name, replace(case, rows=[{**case.rows[0], **change}]))
    with pytest.raises(BadRow, match=re.escape(told)):
        check(questions(name, tmp_path))
