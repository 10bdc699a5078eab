"""Every shipped data set reads a row with the raw columns of the real one."""

import pytest

from aa_lightning.data.bad_row import BadRow
from aa_lightning.data.examples import Examples
from aa_lightning.data.template import Template
from aa_lightning.types import Preference

from .rows import CASES, Case, completion, picture
from .support import CONF, Memory, asked, data_options, said

NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def options_of(name):
    needs_path = "path: ???" in (CONF / f"{name}.yaml").read_text()
    return data_options(name, *(["train.path=rows.jsonl"] if needs_path else []))


def example_of(name, changes=None):
    options = options_of(name)
    source = Memory([{**CASES[name].row, **(changes or {})}])
    return Examples(source, Template(options.template), options.template.kind)[0]


def test_each_shipped_data_set_has_a_row_here():
    own_rows = {"default", "local", "shapes_t2i", "shapes_t2t", "shapes_ti2t"}
    assert set(NAMES) == set(CASES) | own_rows


@pytest.mark.parametrize("name", CASES)
def test_a_raw_row_becomes_the_prompt_and_the_responses_that_people_would_read(name):
    case: Case = CASES[name]
    example = example_of(name)
    responses = [said(response) for response in example.responses]
    if name == "ultrafeedback":  # the worse answer is drawn
        assert responses[0] == "best" and responses[1].startswith("middle")
        assert example.scores["helpfulness"] == (4.0, 3.0) and "honesty" not in example.scores
    else:
        assert responses == case.responses
    assert asked(example) == case.prompt
    assert example.answer == case.answer
    if isinstance(example, Preference):
        assert example.margin == case.margin


@pytest.mark.parametrize("label", [0, 3, -1])
@pytest.mark.parametrize("name", ["align_anything_t2t", "align_anything_ti2t"])
def test_labels_without_a_decision_are_left_out_and_counted(name, label):
    options = options_of(name)
    rows = Memory([CASES[name].row, {**CASES[name].row, "overall_response": label}])
    examples = Examples(rows, Template(options.template), "preference", options.on_bad_row)
    assert len(examples) == 1
    assert [(d.row, d.column) for d in examples.dropped] == [("1", "overall_response")]
    assert f"The label {label} is neither 1" in examples.dropped[0].reason


@pytest.mark.parametrize("label", [1, 1.0, "1", True, " 1 "])
def test_labels_are_compared_by_what_they_mean(label):
    assert said(example_of("align_anything_ti2t", {"overall_response": label}).chosen) == "one"


def test_another_label_than_0_and_1_is_an_error_where_none_is_known_to_occur():
    with pytest.raises(BadRow, match=r"row 0, column 'better_response_id': The label 2 is neither 0"):
        example_of("pku_safe_rlhf", {"better_response_id": 2})


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [((1.0, 0.0), "[red]"), ((0.0, 1.0), "[blue]"), ((0.6, 0.4), "[red]")],
)
def test_of_two_pictures_the_one_with_the_larger_label_is_chosen(labels, chosen):
    example = example_of("pickapic_v2", {"label_0": labels[0], "label_1": labels[1]})
    assert said(example.chosen) == chosen and said(example.rejected) != chosen


def test_a_tied_picture_pair_is_left_out():
    options = options_of("pickapic_v2")
    tied = {**CASES["pickapic_v2"].row, "label_0": 0.5, "label_1": 0.5}
    with pytest.raises(ValueError, match=r"none of 1 rows is left.*tie: both responses have 0.5"):
        Examples(Memory([tied]), Template(options.template), "preference")


def test_equal_answers_are_left_out():
    with pytest.raises(ValueError, match="The two responses are equal"):
        example_of("pku_safe_rlhf", {"response_0": "one"})


def test_an_input_stands_on_a_line_of_its_own():
    assert asked(example_of("alpaca", {"input": "in French"})) == "Say hi\nin French"


def test_every_answer_of_a_conversation_is_trained_on_request():
    options = data_options("trl_messages", "train.path=rows.jsonl", "template.turns=all")
    examples = Template(options.template)(CASES["trl_messages"].row, "7")
    assert [(e.id, asked(e), said(e.response)) for e in examples] == [
        ("7/0", "Q1?", "A1"),
        ("7/1", "Q1?|A1|Q2?", "A2"),
    ]


def test_transcripts_that_part_before_the_last_turn_are_bad():
    row = {"chosen": "\n\nHuman: A?\n\nAssistant: x", "rejected": "\n\nHuman: B?\n\nAssistant: y"}
    with pytest.raises(BadRow, match="part before their last turn"):
        example_of("hh_rlhf", row)


def test_an_answer_without_any_rating_is_bad():
    row = {"completions": [completion("x", *["N/A"] * 4), completion("y", *"1234")]}
    with pytest.raises(BadRow, match="Response 0 has no rating at all"):
        example_of("ultrafeedback", row)


def test_a_label_of_text_is_no_truth():
    with pytest.raises(BadRow, match="column 'label': True or false was expected, and 'true'"):
        example_of("trl_unpaired", {"label": "true"})


def test_more_markers_than_pictures_is_bad():
    turns = [{"from": "human", "value": "<image> and <image>"}]
    with pytest.raises(BadRow, match="2 placeholders such as <image> for 1 pictures"):
        example_of("sharegpt_preference", {"conversations": turns})


def test_pictures_without_markers_stand_before_the_first_question():
    turns = [{"from": "human", "value": "What?"}]
    two = [{"bytes": picture("red")}, {"bytes": picture("blue")}]
    assert asked(example_of("sharegpt_preference", {"conversations": turns, "images": two})) == "[red][blue]What?"
