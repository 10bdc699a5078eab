"""Every shipped data set reads a row with the raw columns of the real one."""

import functools
import re

import pytest

from aa_lightning.configuration.typed import check_options
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import Examples
from aa_lightning.data.template.allowed import Allowed
from aa_lightning.data.template.infer import recognise
from aa_lightning.data.template.template import Template
from aa_lightning.types import Preference

from .cases import CASES, READ_BY, TEMPLATES
from .rows import Case, completion, picture
from .rows_text import gpt, human
from .support import CONF, Memory, asked, missing, options_named, said

NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
NOT_HERE = {"default", "local", "mixture", "vlguard_mix"} | {
    name for name in NAMES if name.startswith(("shapes_", "shards_"))
}
GIVEN = {"train.path": "rows.jsonl", "train.root": "files"}


@functools.cache
def options_of(name):
    name, *typed = READ_BY.get(name, (name,))
    return options_named(name, *(f"{key}={GIVEN[key]}" for key in missing(name)), *typed)


def template_of(name, rows):
    """As the file says it, else as the columns of the rows do."""
    return options_of(name).template or recognise(Memory(rows))


def example_of(name, changes=None, folder=None):
    rows = [{**CASES[name].row, **(changes or {})}]
    template = template_of(name, rows)
    return Examples(Memory(rows), Template(template, Allowed(folder)), template.kind)[0]


def with_files(name, folder):
    """The folder with the media files that the row names."""
    for path, content in CASES[name].files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return str(folder)


def test_each_shipped_data_set_has_a_row_here():
    assert set(NAMES) == set(CASES) - set(READ_BY) | NOT_HERE


@pytest.mark.parametrize("name", CASES)
def test_a_raw_row_becomes_the_prompt_and_the_responses_that_people_would_read(name, tmp_path):
    case: Case = CASES[name]
    example = example_of(name, folder=with_files(name, tmp_path))
    responses = [said(response) for response in example.responses]
    if name == "ultrafeedback":  # the worse answer is drawn
        assert responses[0] == "best" and responses[1].startswith("middle")
        assert example.scores["helpfulness"] == (4.0, 3.0) and "honesty" not in example.scores
    else:
        assert responses == case.responses
    before, drawn, after = case.prompt.partition("...")  # a part that is long, or drawn by the row
    assert asked(example).startswith(before) and asked(example).endswith(after)
    assert bool(drawn) == (len(asked(example)) > len(before + after))
    assert example.answer == case.answer
    if isinstance(example, Preference):
        assert example.margin == case.margin


SHIPPED = [name for name in CASES if name not in READ_BY]
LABELLED = [name for name in SHIPPED if "other='drop'" in str(options_of(name).template.preferred)]


def test_data_sets_of_which_other_labels_are_known_leave_them_out():
    assert len(LABELLED) == 12, LABELLED


@pytest.mark.parametrize("label", [0, 3, -1])
@pytest.mark.parametrize("name", LABELLED)
def test_labels_without_a_decision_are_left_out_and_counted(name, label, tmp_path):
    options = options_of(name)
    column = options.template.preferred.column
    rows = Memory([CASES[name].row, {**CASES[name].row, column: label}])
    mapping = Template(options.template, Allowed(with_files(name, tmp_path)))
    examples = Examples(rows, mapping, "preference", options.on_bad_row)
    assert len(examples) == 1
    assert [(d.row, d.column) for d in examples.dropped] == [("1", column)]
    assert f"The label {label} is neither {options.template.preferred.first}" in examples.dropped[0].reason


def text_columns(name):
    """The columns of the two answers, where these are plain columns of text."""
    columns = [answer[0].text for answer in options_of(name).template.responses or []]
    return [column for column in columns if isinstance(column, str) and isinstance(CASES[name].row.get(column), str)]


EQUAL = [
    name for name in SHIPPED if "equal_responses" in options_of(name).template.drop and len(text_columns(name)) == 2
]
EQUAL.remove("hh_rlhf")  # its columns are whole transcripts


@pytest.mark.parametrize("name", EQUAL)
def test_equal_answers_are_left_out_and_counted(name, tmp_path):
    options = options_of(name)
    first, second = text_columns(name)
    rows = Memory([CASES[name].row, {**CASES[name].row, first: "same", second: " same"}])
    mapping = Template(options.template, Allowed(with_files(name, tmp_path)))
    examples = Examples(rows, mapping, "preference", options.on_bad_row)
    assert len(examples) == 1
    assert [(d.row, d.reason) for d in examples.dropped] == [("1", "The two responses are equal.")]


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


def test_conversations_with_equal_ends_are_left_out():
    with pytest.raises(ValueError, match="The two responses are equal"):
        example_of("hh_rlhf", {"rejected": CASES["hh_rlhf"].row["chosen"]})


def examples_of(name, folder, **changes):
    options = options_of(name)
    source = Memory([{**CASES[name].row, **changes}])
    return Examples(source, Template(options.template, Allowed(with_files(name, folder))), options.template.kind)


def test_ranks_of_several_pictures_give_every_pair_of_unequal_ones(tmp_path):
    """Ranks 2.5, 1, 2.5 of red, blue, green: blue is before both, and these are equal."""
    pairs = [(said(e.chosen), said(e.rejected)) for e in examples_of("hpdv2_test", tmp_path)]
    assert pairs == [("[blue]", "[red]"), ("[blue]", "[green]")]
    with pytest.raises(ValueError, match=r"none of 1 rows is left.*'rank': All 3 answers are tied"):
        examples_of("hpdv2_test", tmp_path, rank=[2, 2, 2])


def test_ratings_of_several_answers_give_every_pair_of_unequal_means(tmp_path):
    """Means 3, 4.5 (one dimension was not rated), 3: two pairs."""
    examples = examples_of("vlfeedback", tmp_path)
    assert [(said(e.chosen), said(e.rejected)) for e in examples] == [("best", "worse"), ("best", "equal")]
    assert examples[1].scores == {"helpfulness": (5.0, 3.0), "faithfulness": (4.0, 3.0)}


def test_critiques_and_ratings_follow_the_preferred_answer(tmp_path):
    (example,) = examples_of("align_anything_tv2t_feedback", tmp_path)
    assert example.critique == ("Right.", "Wrong.") and example.keep == {"overall": "The second."}
    assert set(example.scores.values()) == {(3.0, 1.0)} and len(example.scores) == 5


def test_harmless_rates_are_kept_in_the_order_of_the_columns():
    assert example_of("saferlhf_v_cost").keep == {"harmless_rate": [2, -1]}


@pytest.mark.parametrize("name", ["saferlhf_v_cost", "pku_safe_rlhf_safety"])
def test_which_answer_is_harmless_follows_the_safer_one(name):
    assert example_of(name).safe == (True, False)


def test_an_answer_with_a_wrong_step_is_not_desirable():
    example = example_of("stepwise")
    assert (example.steps, example.desirable) == ((True, False), False)


def test_how_a_row_is_asked_for_does_not_change_from_epoch_to_epoch(tmp_path):
    options = options_of("audiocaps")
    rows = Memory([CASES["audiocaps"].row] * 40)
    examples = Examples(rows, Template(options.template, Allowed(with_files("audiocaps", tmp_path))), "demonstration")
    asked_for = [asked(example) for example in examples]
    assert asked_for == [asked(example) for example in examples]
    assert len(set(asked_for)) == 5


def test_every_answer_about_a_picture_is_trained_on_the_turns_before_it(tmp_path):
    turns = [human("Q1 <image>"), gpt("A1"), human("Q2"), gpt("A2")]
    examples = examples_of("llava_pretrain", tmp_path, conversations=turns)
    assert [(asked(e), said(e.response)) for e in examples] == [("Q1 [red]", "A1"), ("Q1 [red]|A1|Q2", "A2")]


def test_an_article_is_asked_for_as_an_article():
    info = {"post": None, "article": "News.", "title": "T"}
    assert asked(example_of("summarize_from_feedback", {"info": info})) == "Article: News.\n\nTL;DR:"
    with pytest.raises(BadRow, match="There is neither a post nor an article"):
        example_of("summarize_from_feedback", {"info": {"post": None}})


def test_a_python_literal_is_never_run():
    with pytest.raises(BadRow, match="column 'conversations': The function python_literal refuses it: malformed node"):
        example_of("llava_instruct_mix", {"conversations": "__import__('os').getcwd()"})


@pytest.mark.parametrize(("quality", "desirable"), [(2, True), (1, False)])
def test_the_mean_of_five_ratings_says_what_is_desirable(quality, desirable):
    """(q + 3 + 2 + 3 + 2) / 5 is 2.4 for q = 2, and 2.6 for q = 3."""
    example = example_of("videofeedback", {"visual quality": quality + 1})
    assert example.desirable == desirable
    assert example.keep["mean"] == pytest.approx((quality + 11) / 5)


def test_an_empty_system_prompt_is_left_out():
    assert asked(example_of("orca_dpo_pairs", {"system": ""})) == "Q?"
    assert asked(example_of("orca_dpo_pairs", {"system": None})) == "Q?"


def test_a_tag_of_text_is_read_where_its_word_means_something_and_refused_where_not():
    media = {"images": [], "audios": [], "videos": []}
    assert [example_of("sharegpt_kto", {"kto_tag": tag, **media}).desirable for tag in ("true", "No")] == [True, False]
    with pytest.raises(BadRow, match="column 'kto_tag': True or false was expected, and 'good'"):
        example_of("sharegpt_kto", {"kto_tag": "good", **media})


def test_a_picture_that_an_answer_lacks_is_left_out(tmp_path):
    (example,) = examples_of("ti2ti", tmp_path, input_text="Q?", input_image=None, output_image=None)
    assert (asked(example), said(example.response)) == ("Q?", "Here.")


def test_every_template_of_align_anything_has_a_file():
    told = "\n".join((CONF / f"{name}.yaml").read_text() for name in NAMES)
    lines = re.findall(r"^# align-anything: (.+)", told, flags=re.MULTILINE)
    names = {name.partition(" ")[0] for line in lines for name in line.split(", ")}
    assert names - {"Janus"} == set(TEMPLATES.split())


def test_what_could_not_be_checked_is_marked():
    hub = [
        name
        for name in NAMES
        if " # of the hub" in (CONF / f"{name}.yaml").read_text()
        and "path: ???" not in (CONF / f"{name}.yaml").read_text()
    ]
    unmarked = [
        name
        for name in hub
        if not re.search("not checked against the hub|columns are guessed", (CONF / f"{name}.yaml").read_text())
    ]
    assert len(hub) >= 40 and not unmarked


def test_an_input_stands_on_a_line_of_its_own():
    assert asked(example_of("alpaca", {"input": "in French"})) == "Say hi\nin French"


def test_every_answer_of_a_conversation_is_trained_on_request():
    examples = Template(options_of("swift_messages").template)(CASES["trl_messages"].row, "7")
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


def test_a_label_of_text_is_read_where_its_word_means_something_and_refused_where_not():
    assert example_of("trl_unpaired", {"label": "true"}).desirable
    with pytest.raises(BadRow, match="column 'label': True or false was expected, and 'desirable'"):
        example_of("trl_unpaired", {"label": "desirable"})


def test_more_markers_than_pictures_is_bad():
    turns = [{"from": "human", "value": "<image> and <image>"}]
    with pytest.raises(BadRow, match="2 placeholders such as <image> for 1 pictures"):
        example_of("sharegpt_preference", {"conversations": turns})


def test_pictures_without_markers_stand_before_the_first_question():
    turns = [{"from": "human", "value": "What?"}]
    two = [{"bytes": picture("red")}, {"bytes": picture("blue")}]
    assert asked(example_of("sharegpt_preference", {"conversations": turns, "images": two})) == "[red][blue]What?"


@pytest.mark.parametrize("name", TEMPLATES.split())
def test_the_name_of_a_template_there_leads_to_the_file_here(name):
    """Typed as it is written there, or in small letters, a name is unknown, and the answer is the right file."""
    theirs = re.compile(rf"^# align-anything: (.+, )?{name}(,|$| )", re.MULTILINE)
    ours = [one for one in NAMES if theirs.search((CONF / f"{one}.yaml").read_text())]
    for typed in {name, name.lower()} - set(NAMES):
        with pytest.raises(ConfigError) as refused:
            check_options([f"data={typed}"], "train", [CONF.parent])
        assert f"did you mean data={ours[0]}? " in str(refused.value)
