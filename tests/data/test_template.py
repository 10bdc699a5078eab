"""The mapping language: each operator, each form of label, and what is said of a bad row."""

import pytest
from pydantic import ValidationError

from aa_lightning.data.errors import BadRow, LeftOut
from aa_lightning.types import Rating

from .support import asked, said, template


def prompt_of(row, part, **options):
    (example,) = template(kind="prompt", prompt=part if isinstance(part, list) else [part], **options)(row, "0")
    return asked(example)


def preference(row, **options):
    return template(kind="preference", prompt=[{"text": "q"}], **options)({"q": "Q?", **row}, "0")


def pair(row, **options):
    (example,) = preference(row, **options)
    return said(example.chosen), said(example.rejected)


ROW = {
    "q": "What?",
    "empty": "",
    "null": None,
    "n": 4,
    "list": ["a", "b"],
    "turns": [{"from": "human", "value": "H1"}, {"from": "gpt", "value": "G1"}, {"from": "human", "value": "H2"}],
    "nested": {"video": {"path": "p.mp4"}},
    "structs": [{"x": "1"}, {"x": "2"}],
    "columns": {"x": ["1", "2"]},
    "json": '{"a": {"b": "deep"}}',
    "with.dot": "dotted",
}


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("q", "What?"),
        ("n", "4"),
        ("turns[0].value", "H1"),
        ("turns[-1].value", "H2"),
        ("nested.video.path", "p.mp4"),
        ("with.dot", "dotted"),
        ({"join": ["q", "n"]}, "What? 4"),
        ({"join": ["q", "empty"], "with": "\n"}, "What?\n"),
        ({"join": ["q", "empty"], "with": "\n", "skip_empty": True}, "What?"),
        ({"join": "list", "with": ", "}, "a, b"),
        ({"join": "structs.x", "with": "+"}, "1+2"),
        ({"join": "columns.x", "with": "+"}, "1+2"),
        ({"join": "turns[:-1].value", "with": "+"}, "H1+G1"),
        ({"join": "turns[1:].value", "with": "+"}, "G1+H2"),
        ({"format": "##Q: {a} ##N: {b}", "a": "q", "b": "n"}, "##Q: What? ##N: 4"),
        ({"format": "{c}.", "c": {"join": "list", "with": ", "}}, "a, b."),
        ({"first_of": ["question", "q", "n"]}, "What?"),
        ({"one_of": ["only"], "then": "q"}, "onlyWhat?"),
        ({"column": "json", "json": True, "get": "a.b"}, "deep"),
        ({"column": "q", "remove": ["?"], "lower": True}, "what"),
        ({"column": "q", "replace": {"What": " Why"}, "strip": True}, "Why?"),
        ({"column": "q", "after": "Wh"}, "at?"),
    ],
)
def test_a_selector_gives_the_text(selector, text):
    assert prompt_of(ROW, {"text": selector}) == text


def test_one_of_is_drawn_by_the_row_and_not_by_the_run():
    shout = template(kind="prompt", prompt=[{"text": {"one_of": list("abcdefgh")}}])
    drawn = [asked(shout({}, str(i))[0]) for i in range(40)]
    assert drawn == [asked(shout({}, str(i))[0]) for i in range(40)]
    assert len(set(drawn)) == 8


def test_optional_and_empty_parts_are_left_out():
    parts = [
        {"image": {"column": "null", "optional": True}},
        {"image": {"column": "absent", "optional": True}},
        {"text": {"column": "empty", "skip_empty": True}},
        {"text": "q"},
    ]
    assert prompt_of(ROW, parts) == "What?"


@pytest.mark.parametrize(
    ("selector", "column", "reason"),
    [
        ("question", "question", "There is no such column; the columns are q, empty, null"),
        ("nested.audio", "nested.audio", "There is no 'audio'; there is video"),
        ("list[2]", "list[2]", "There is no element 2 in a list of 2"),
        ("q[0]", "q[0]", "A list was expected, and a value of type str found"),
        ("list", "list", r"A text was expected, and \['a', 'b'\] \(of type list\) found"),
        ("null", "null", "The text is null. Add `empty` to `drop`"),
        ("empty", "empty", "The text is empty. Add `empty` to `drop`"),
        ({"column": "q", "json": True}, "q", "JSON was expected, and 'What\\?'"),
        ({"column": "json", "json": True, "get": "c"}, "json", "There is no 'c'; there is a"),
        ({"column": "q", "after": "####"}, "q", "The text has no '####': 'What\\?'"),
        ({"first_of": ["x", "y"]}, "x", "There is no such column"),
    ],
)
def test_a_bad_row_names_the_row_the_column_and_what_was_found(selector, column, reason):
    with pytest.raises(BadRow, match=reason) as caught:
        prompt_of(ROW, {"text": selector})
    assert (caught.value.row, caught.value.column) == ("0", column)
    assert str(caught.value).startswith(f"row 0, column {column!r}: ")


def test_a_drop_rule_makes_an_empty_row_wanted():
    with pytest.raises(LeftOut):
        prompt_of(ROW, {"text": "empty"}, drop=["empty"])


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("preferred", "row", "chosen"),
    [
        ("first", {}, "x"),
        ("second", {}, "y"),
        ({"column": "l", "first": 1, "second": 2}, {"l": "2"}, "y"),
        ({"column": "l", "first": 0, "second": 1}, {"l": False}, "x"),
        ({"column": "l", "first": "video_0", "second": "video_1"}, {"l": "video_1"}, "y"),
        ({"scores": ["s", "t"]}, {"s": "0.6", "t": 0.4}, "x"),
        ({"onehot": "l"}, {"l": [0, 1]}, "y"),
        ({"ranks": "l"}, {"l": [1.0, 2.0]}, "x"),
        ({"ranks": "l", "lower": "worse"}, {"l": [1, 2]}, "y"),
    ],
)
def test_a_label_says_which_response_is_chosen(preferred, row, chosen):
    made = pair({"a": "x", "b": "y", **row}, responses=["a", "b"], preferred=preferred)
    assert made == (chosen, {"x": "y", "y": "x"}[chosen])


@pytest.mark.parametrize(
    ("preferred", "row", "reason"),
    [
        ({"column": "l", "first": 1, "second": 2, "other": "drop"}, {"l": 0}, "The label 0 is neither 1"),
        ({"column": "l", "first": "video_0", "second": "video_1", "other": "drop"}, {"l": "both"}, "'both' is neither"),
        ({"scores": ["s", "t"], "tie": "drop"}, {"s": 0.5, "t": 0.5}, "both responses have 0.5"),
        ({"ranks": "l", "tie": "drop"}, {"l": [2, 2]}, "both responses have 2"),
    ],
)
def test_no_decision_is_left_out_where_the_label_says_so_and_an_error_where_not(preferred, row, reason):
    rest = {"a": "x", "b": "y", **row}
    with pytest.raises(LeftOut, match=reason):
        preference(rest, responses=["a", "b"], preferred=preferred)
    strict = {key: value for key, value in preferred.items() if value != "drop"}
    with pytest.raises(BadRow, match=r"Add `(other_label|tie)` to `drop`") as caught:
        preference(rest, responses=["a", "b"], preferred=strict)
    assert not isinstance(caught.value, LeftOut)


def test_equal_responses_are_an_error_until_they_are_declared():
    row = {"a": "same", "b": "same "}
    with pytest.raises(BadRow, match=r"The two responses are equal. Add `equal_responses`"):
        preference(row, responses=["a", "b"], preferred="first")
    with pytest.raises(LeftOut):
        preference(row, responses=["a", "b"], preferred="first", drop=["equal_responses"])


def test_ratings_decide_by_their_mean_and_margins_follow_the_order():
    """Means: a = (1 + 3) / 2 = 2, b = (4 + 2) / 2 = 3, so b is chosen; its margin is 7 - 4 = 3."""
    (example,) = template(
        kind="feedback",
        prompt=[{"text": "q"}],
        responses=["a", "b"],
        ratings={"help": ["ha", "hb"], "truth": ["ta", "tb"]},
        margin=["ma", "mb"],
        feedback={"critique": ["ca", None], "refinement": [None, "rb"]},
    )(
        {"q": "Q?", "a": "x", "b": "y", "ha": "1", "hb": "4", "ta": 3, "tb": 2, "ma": 4, "mb": 7, "ca": "c", "rb": "r"},
        "0",
    )
    assert said(example.chosen) == "y" and example.margin == 3.0
    assert example.scores == {"help": (4.0, 1.0), "truth": (2.0, 3.0)}
    assert example.critique == (None, "c")
    assert said(example.refinement[0]) == "r" and example.refinement[1] is None


@pytest.mark.parametrize(
    ("policy", "pairs"),
    [
        ("all", [("c", "a"), ("c", "d"), ("c", "b"), ("a", "b"), ("d", "b")]),
        ("adjacent", [("c", "a"), ("d", "b")]),
        ("best_vs_worst", [("c", "b")]),
    ],
)
def test_n_answers_give_pairs_of_unequal_scores(policy, pairs):
    """Scores a 2, b 1, c 3, d 2: the ranking is c, a, d, b, and a ties with d."""
    examples = preference(
        {"answers": list("abcd"), "r": {"x": [2, 1, 3, 2]}}, answers="answers", ratings={"x": "r.x"}, pairs=policy
    )
    assert [(said(e.chosen), said(e.rejected)) for e in examples] == pairs
    assert len({e.id for e in examples}) == len(examples)


def test_best_vs_random_draws_the_worse_one_by_the_row():
    rows = [preference({"answers": list("abcd"), "r": [4, 1, 3, 2]}, answers="answers", ratings={"x": "r"})]
    assert len(rows[0]) == 6
    mapping = template(
        kind="preference", prompt=[{"text": "q"}], answers="answers", ratings={"x": "r"}, pairs="best_vs_random"
    )
    row = {"q": "Q?", "answers": list("abcd"), "r": [4, 1, 3, 2]}
    drawn = [said(mapping(row, str(i))[0].rejected) for i in range(60)]
    assert set(drawn) == {"b", "c", "d"}
    assert drawn == [said(mapping(row, str(i))[0].rejected) for i in range(60)]


def test_ranks_of_n_pictures_give_pairs():
    examples = preference(
        {"images": [b"1", b"2", b"3"], "rank": [2, 1, 3]}, answers={"image": "images"}, preferred={"ranks": "rank"}
    )
    assert [(e.chosen[0]["image"], e.rejected[0]["image"]) for e in examples] == [
        (b"2", b"1"),
        (b"2", b"3"),
        (b"1", b"3"),
    ]


@pytest.mark.parametrize(
    ("label", "value", "desirable"),
    [("l", True, True), ("l", 0, False), ({"column": "l", "true_values": ["yes"]}, "yes", True)],
)
def test_a_rating_says_whether_its_response_is_desirable(label, value, desirable):
    (example,) = template(kind="rating", prompt=[{"text": "q"}], completion="a", label=label)(
        {"q": "Q?", "a": "x", "l": value}, "0"
    )
    assert isinstance(example, Rating) and example.desirable is desirable


# ---------------------------------------------------------------- conversations


def test_names_of_speakers_and_keys_are_options():
    sharegpt = {"column": "turns", "role": "from", "content": "value", "user": "human", "assistant": "gpt"}
    assert prompt_of(ROW, {"messages": sharegpt}) == "H1|G1|H2"
    assert prompt_of(ROW, {"messages": "turns"}) == "H1|G1|H2"  # the usual ones need none
    with pytest.raises(BadRow, match="Turn 0 has no 'speaker'; its keys are from, value"):
        prompt_of(ROW, {"messages": {**sharegpt, "role": "speaker"}})
    narrated = {"turns": [{"from": "narrator", "value": "Once."}]}
    with pytest.raises(BadRow, match="Turn 0 is said by 'narrator'; known are human, gpt, system"):
        prompt_of({**ROW, **narrated}, {"messages": sharegpt})


def test_a_prompt_that_ends_with_the_answer_is_bad_and_the_message_shows_the_slice():
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    with pytest.raises(BadRow, match=r"ends with a turn of the assistant.*messages\[:-1\]"):
        prompt_of({"messages": turns}, {"messages": "messages"})
    assert prompt_of({"messages": turns}, {"messages": "messages[:-1]"}) == "Q"


def test_a_system_message_is_a_literal_or_a_column_and_yields_to_the_rows_own():
    assert prompt_of({"q": "Q?"}, {"text": "q"}, system="Be brief.") == "Be brief.|Q?"
    assert prompt_of({"q": "Q?", "s": "Hm."}, {"text": "q"}, system={"column": "s"}) == "Hm.|Q?"
    turns = [{"role": "system", "content": "Own."}, {"role": "user", "content": "Q?"}]
    assert prompt_of({"m": turns}, {"messages": "m"}, system="Be brief.") == "Own.|Q?"


def split(chosen, rejected):
    options = {"kind": "preference", "split_common_prefix": ["c", "r"], "preferred": "first"}
    (example,) = template(**options)({"c": chosen, "r": rejected}, "0")
    return asked(example), said(example.chosen), said(example.rejected)


def test_the_shared_start_of_two_texts_is_the_prompt_and_words_stay_whole():
    assert split("Q: a pet? A: the cat", "Q: a pet? A: the car") == ("Q: a pet? A: the", "cat", "car")
    assert split("Hi. Yes", "Hi. Yes indeed") == ("Hi.", "Yes", "Yes indeed")
    with pytest.raises(BadRow, match="shares no beginning with 'r'"):
        split("one", "two")


def test_the_shared_turns_of_two_conversations_are_the_prompt():
    def turns(*texts):
        return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]

    assert split(turns("q", "x", "r", "good"), turns("q", "x", "r", "bad")) == ("q|x|r", "good", "bad")
    with pytest.raises(BadRow, match="One assistant turn was expected as the answer, and assistant, user, assistant"):
        split(turns("q", "x", "r", "good"), turns("q", "y", "r", "bad"))


# ---------------------------------------------------------------- placeholders


RED, BLUE = b"red", b"blue"


@pytest.mark.parametrize(
    ("text", "images", "order"),
    [
        ("What?", [RED], [RED, "What?"]),
        ("<image>\nWhat?", [RED], [RED, "What?"]),
        ("See <image> and\n<image>\nWhat?", [RED, BLUE], ["See ", RED, " and", BLUE, "What?"]),
    ],
)
def test_pictures_take_the_places_of_their_markers(text, images, order):
    mapping = template(kind="prompt", prompt=[{"image": "i"}, {"text": "q"}])
    (example,) = mapping({"i": images, "q": text}, "0")
    assert [part[part["type"]] for part in example.messages[0]["content"]] == order


def test_a_marker_without_a_picture_is_bad_where_the_data_set_has_pictures():
    mapping = template(kind="prompt", prompt=[{"image": {"column": "i", "optional": True}}, {"text": "q"}])
    with pytest.raises(BadRow, match=r"1 placeholders such as <image> for 0 pictures.*write `remove: ..<image>..`"):
        mapping({"i": None, "q": "What is <image>?"}, "0")


def test_a_marker_is_plain_text_where_the_data_set_has_no_pictures():
    assert prompt_of({"q": "What does <image> mean in HTML?"}, {"text": "q"}) == "What does <image> mean in HTML?"


def test_relative_paths_start_from_the_root(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"...")
    monkeypatch.setenv("PICTURES", str(tmp_path))
    for root in (str(tmp_path), "$PICTURES"):
        mapping = template(kind="prompt", prompt=[{"image": {"column": "i", "as": "path", "root": root}}])
        assert mapping({"i": "a/b.png"}, "0")[0].messages[0]["content"][0]["image"] == str(tmp_path / "a" / "b.png")
    with pytest.raises(BadRow, match="names an environment variable that is not set"):
        template(kind="prompt", prompt=[{"image": {"column": "i", "root": "$NO_SUCH"}}])({"i": "x.png"}, "0")


# ---------------------------------------------------------------- functions


def test_row_functions_make_columns():
    majority = template(
        kind="demonstration",
        prompt=[{"text": "q"}],
        completion="majority",
        function={"name": "majority", "columns": ["answers"]},
    )
    assert said(majority({"q": "Q?", "answers": ["a", "b", "b"]}, "0")[0].response) == "b"
    thoughts = template(
        kind="demonstration",
        prompt=[{"text": "q"}],
        completion="thoughts",
        function={
            "name": "thoughts",
            "columns": ["thoughts", "answer"],
            "arguments": {"tokens": ["<a>", "<b>", "<c>"]},
        },
    )
    row = {"q": "Q?", "thoughts": [{"title": "T", "content": "X"}, {"title": None, "content": "Y"}], "answer": "Z"}
    assert said(thoughts(row, "0")[0].response) == "<a>**T**\nX\n<b>\nY\n<b>\n<c>Z"


def test_a_function_of_ones_own_is_found_by_its_dotted_path():
    own = template(
        kind="prompt",
        prompt=[{"text": "title"}],
        function={"name": f"{__name__}.titled", "columns": ["q"], "arguments": {"mark": "!"}},
    )
    assert asked(own({"q": "hello"}, "0")[0]) == "Hello!"
    with pytest.raises(ValueError, match=r"template.function.name=titeld is neither one of hh_transcript"):
        template(kind="prompt", prompt=[{"text": "q"}], function={"name": "titeld", "columns": ["q"]})


def titled(text, mark):
    return {"title": text.title() + mark}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "preference", "prompt": [{"text": "q"}]}, "exactly one of `responses`, `answers`"),
        ({"kind": "preference", "prompt": [{"text": "q"}], "responses": ["a", "b"]}, "needs `preferred`"),
        ({"kind": "preference", "prompt": [{"text": "q"}], "responses": ["a"], "preferred": "first"}, "at least 2"),
        ({"kind": "rating", "prompt": [{"text": "q"}], "completion": "a"}, "`completion` and `label`"),
        ({"kind": "demonstration", "prompt": [{"text": "q"}]}, "needs `completion`"),
        ({"kind": "prompt"}, "`prompt` is missing"),
        ({"kind": "prompt", "prompt": [{"txt": "q"}]}, "txt"),
        (
            {"kind": "prompt", "prompt": [{"text": "q", "image": "i"}]},
            "exactly one of text, image, audio, video, messages",
        ),
        ({"kind": "prompt", "prompt": [{"text": {"column": "q", "stripp": True}}]}, "stripp"),
        ({"kind": "prompt", "prompt": [{"text": {"strip": True}}]}, "exactly one of column, first_of"),
        ({"kind": "prompt", "prompt": [{"text": {"format": "{a}"}}]}, "format names a"),
        ({"kind": "prompt", "prompt": [{"text": "q"}], "sistem": "x"}, "sistem"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_before_any_row_is_read(options, reason):
    with pytest.raises(ValidationError, match=reason):
        template(**options)
