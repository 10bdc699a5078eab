"""Examples: every row accounted for, decoded on access, weakened to what is asked for."""

import json
import pickle

import numpy as np
import pytest

from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import Examples, load_examples
from aa_lightning.data.kinds import kind_of
from aa_lightning.data.template.template import Template
from aa_lightning.media.options import MediaOptions, VideoOptions

from .rows import picture
from .support import Memory, asked, options_named, said, template

PAIRS = {
    "kind": "preference",
    "prompt": [{"image": {"column": "image", "optional": True}}, {"text": "q"}],
    "responses": ["a", "b"],
    "preferred": {"column": "label", "first": 1, "second": 2, "other": "drop"},
    "drop": ["equal_responses"],
}
GOOD = {"q": "Q?", "a": "x", "b": "y", "label": 1, "image": picture()}

# ten ways of being bad, with the column and the beginning of the reason that must be named
FAULTS = [
    ({"q": None}, "q", "The text is null"),
    ({"q": "  "}, "q", "The text is empty"),
    ({"q": ["x"]}, "q", "A text was expected"),
    ({"a": "y"}, "a, b", "The two responses are equal"),
    ({"label": 0}, "label", "The label 0 is neither 1"),
    ({"label": None}, "label", "The label None is neither 1"),
    ({"image": b""}, "image", "The image has no bytes"),
    ({"image": "gone.png"}, "image", "There is no image file 'gone.png'"),
    ({"image": {"bytes": None, "path": None}}, "image", "The image's struct has neither"),
    ({"image": b"junk"}, "image", "The 4 bytes are no image"),
]


def broken_rows():
    """Fifty bad rows, each after a good one: ten faults five times."""
    return [row for i in range(50) for row in (GOOD, {**GOOD, **FAULTS[i % 10][0]})]


def test_fifty_broken_rows_give_fifty_named_reasons():
    examples = Examples(Memory(broken_rows()), template(**PAIRS), "preference", "skip", verify_media=True)
    assert len(examples) == 50 and len(examples.dropped) == 50
    for i, dropped in enumerate(examples.dropped):
        _, column, reason = FAULTS[i % 10]
        assert (dropped.row, dropped.column) == (str(2 * i + 1), column)
        assert dropped.reason.startswith(reason)
    assert [e.id for e in examples] == [str(2 * i) for i in range(50)]


def test_the_first_bad_row_stops_where_bad_rows_are_errors_and_declared_ones_do_not():
    """Of the ten faults, the template declares the equal responses and the two labels; null is the first other."""
    with pytest.raises(BadRow, match=r"row 1, column 'q': The text is null.*set data.on_bad_row=skip") as caught:
        Examples(Memory(broken_rows()), template(**PAIRS), "preference")
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    declared = [{**GOOD, **fault} for fault, *_ in FAULTS[3:6]]
    examples = Examples(Memory([GOOD, *declared]), template(**PAIRS), "preference")
    assert len(examples) == 1 and [d.row for d in examples.dropped] == ["1", "2", "3"]


def test_a_column_that_is_missing_everywhere_is_an_error_that_names_the_columns_present():
    with pytest.raises(BadRow, match="column 'label': There is no such column; the columns are q, a, b, image"):
        Examples(Memory([{k: v for k, v in GOOD.items() if k != "label"}]), template(**PAIRS), "preference")


def test_a_picture_that_turns_out_broken_when_it_is_used_names_the_row():
    examples = Examples(Memory([GOOD, {**GOOD, "image": b"junk"}]), template(**PAIRS), "preference", "skip")
    assert len(examples) == 2 and examples.dropped == []
    with pytest.raises(BadRow, match=r"row 1, column 'image': The 4 bytes are no image"):
        examples[1]


def test_nothing_left_says_why():
    with pytest.raises(ValueError, match=r"none of 7 rows is left\. Row 0, column 'label': .* And 2 more\."):
        Examples(Memory([{**GOOD, "label": 3}] * 7), template(**PAIRS), "preference")


@pytest.mark.parametrize(
    ("wanted", "count", "texts"),
    [
        ("preference", 2, ["x", "y"]),
        ("rating", 4, ["x"]),
        ("demonstration", 2, ["x"]),
        ("prompt", 2, []),
    ],
)
def test_pairs_serve_whoever_needs_less(wanted, count, texts):
    examples = Examples(Memory([GOOD, GOOD]), template(**PAIRS), wanted)
    assert len(examples) == count and {kind_of(e) for e in examples} == {wanted}
    assert [said(response) for response in examples[0].responses] == texts
    assert asked(examples[0]) == "[red]Q?"
    assert len({e.id for e in examples}) == count


def test_ratings_give_demonstrations_of_what_is_desirable_and_count_the_rest():
    ratings = template(kind="rating", prompt=[{"text": "q"}], completion="a", label="good")
    examples = Examples(Memory([{"q": "Q", "a": str(i), "good": i % 2} for i in range(6)]), ratings, "demonstration")
    assert [said(e.response) for e in examples] == ["1", "3", "5"]
    assert [d.row for d in examples.dropped] == ["0", "2", "4"]


def test_richer_than_there_is_cannot_be_asked_for():
    with pytest.raises(ValueError, match="rows of kind preference, and the algorithm needs feedback"):
        Examples(Memory([GOOD]), template(**PAIRS), "feedback")


def test_a_slice_is_fewer_examples_of_the_same_source():
    examples = Examples(Memory([{**GOOD, "q": str(i)} for i in range(10)]), template(**PAIRS), "preference")
    few = examples[2:6]
    assert isinstance(few, Examples) and [e.id for e in few] == ["2", "3", "4", "5"] and few[-1].id == "5"
    assert len(examples) == 10
    with pytest.raises(IndexError):
        few[4]


def test_examples_travel_to_data_workers():
    options = options_named("shapes_ti2t", "train.size=6")
    examples = load_examples(options, "train", "feedback")
    there = pickle.loads(pickle.dumps(examples))
    assert [asked_in_full(e) for e in there] == [asked_in_full(e) for e in examples]


def asked_in_full(example):
    image, text = example.messages[0]["content"]
    return image["image"].tobytes(), text["text"], example.id


@pytest.mark.parametrize("modality", ["t2t", "ti2t", "t2i"])
def test_shapes_give_feedback_through_their_template(modality):
    options = options_named(f"shapes_{modality}", "train.size=12", "val.size=4")
    train, val = (load_examples(options, split, "feedback") for split in ("train", "val"))
    assert (len(train), len(val)) == (12, 4)
    example, row = train[3], options.train[3]
    assert example.answer == row["answer"] and example.scores == {"correct": (1.0, 0.0)}
    assert example.critique == (row["critique_chosen"], row["critique_rejected"])
    assert json.loads(example.keep["scene"]) == json.loads(row["scene"])
    assert [part["type"] for part in example.messages[0]["content"]] == (["image"] * (modality == "ti2t") + ["text"])
    assert example.chosen[0]["type"] == ("image" if modality == "t2i" else "text")
    if modality == "t2i":
        assert example.chosen[0]["image"].size == (options.train.image_size,) * 2
        assert example.refinement[1][0]["image"].tobytes() == example.chosen[0]["image"].tobytes()
    else:
        assert said(example.refinement[1]) == said(example.chosen) == row["chosen"]


def test_options_of_the_training_set_reach_the_held_out_one():
    options = options_named("shapes_ti2t", "train.kinds=[colour]", "train.image_size=32", "limit=5")
    for split in ("train", "val"):
        examples = load_examples(options, split, "prompt")
        assert len(examples) == 5 and {e.keep["kind"] for e in examples} == {"colour"}
        assert examples[0].messages[0]["content"][0]["image"].size == (32, 32)


def local_rows(tmp_path, count, *overrides):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"Q{i}", "response": "A"}) for i in range(count)))
    return options_named("local", f"train.path={path}", *overrides)


def test_a_share_of_the_rows_is_held_out_and_rows_keep_their_side(tmp_path):
    """Of 1000 rows a share of 0.2 is held out: 200 with a standard deviation of 12.6."""
    options = local_rows(tmp_path, 1000, "val_share=0.2")
    train, val = ({e.id for e in load_examples(options, split, "prompt")} for split in ("train", "val"))
    assert not train & val and len(train | val) == 1000 and 150 < len(val) < 250
    longer = load_examples(local_rows(tmp_path, 1100, "val_share=0.2"), "val", "prompt")
    assert val == {e.id for e in longer if int(e.id) < 1000}


def test_a_data_set_without_held_out_rows_says_how_to_have_some(tmp_path):
    with pytest.raises(ValueError, match=r"no held-out rows: set data.val_share=0.05"):
        load_examples(local_rows(tmp_path, 3, "val_share=null"), "val", "prompt")


def test_corruption_of_prompts_without_pictures_is_refused():
    rows = Memory([{**GOOD, "image": None}])
    with pytest.raises(ValueError, match=r"corruption=blank spoils the image and audio and video parts of .*have none"):
        Examples(rows, template(**PAIRS), "preference", corruption=CorruptionOptions(name="blank"))


def test_rows_of_the_source_can_be_picked():
    source = Memory([{**GOOD, "q": str(i)} for i in range(10)])
    examples = Examples(source, template(**PAIRS), "preference", rows=lambda: [7, 2])
    assert [e.id for e in examples] == ["7", "2"]
    assert isinstance(examples.template, Template)


def test_the_limits_of_media_in_the_configuration_are_those_of_the_library():
    assert options_named("shapes_ti2t").media == MediaOptions()


def test_media_options_decide_what_is_read():
    rows = Memory([{"video": {"frames": [np.full((8, 8, 3), 9, np.uint8)] * 12, "fps": 4}, "q": "Q"}])
    mapping = template(kind="prompt", prompt=[{"video": "video"}, {"text": "q"}])
    for options, frames in ((VideoOptions(), 6), (VideoOptions(fps=None), 12), (VideoOptions(fps=4, max_frames=3), 3)):
        (example,) = Examples(rows, mapping, "prompt", media_options=MediaOptions(video=options))
        assert len(example.messages[0]["content"][0]["video"].frames) == frames
    with pytest.raises(BadRow, match=r"lasts 2\.8 s; the limit is 1\.0 s"):
        Examples(rows, mapping, "prompt", media_options=MediaOptions(video=VideoOptions(max_seconds=1.0)))[0]
