"""Rows that nobody can learn from are named by row and column: numbers that are none, broken texts, keys that stand twice,
names of files elsewhere."""

import csv
import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import Examples, load_examples
from aa_lightning.data.options import Table
from aa_lightning.data.sources.open import open_source
from aa_lightning.data.template.allowed import Allowed
from aa_lightning.data.template.template import Template
from aa_lightning.media.options import MediaOptions

from .media_files import sound_file, tone
from .rows import picture
from .support import Memory, options_named, template

NAN, INF = float("nan"), float("inf")
PAIR = {"prompt": "What?", "chosen": "A cup.", "rejected": "A cat."}
TURN = [{"role": "user", "content": "Q?"}]
RANKED = {"kind": "preference", "prompt": [{"text": "q"}], "answers": "answers", "preferred": {"ranks": "n"}}
SEEN = {"kind": "prompt", "prompt": [{"image": "image"}, {"text": "q"}]}


def named(row, **options):
    with pytest.raises(BadRow) as caught:
        template(**options)(row, "7")
    assert caught.value.row == "7"
    return caught.value.column, caught.value.reason


def read(path, *settings):
    options = options_named(
        "local", f"train.path={path}", "val_share=null", "on_bad_row=skip", "verify_media=true", *settings
    )
    return load_examples(options, "train", "preference")


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("odd", [NAN, INF, -INF, "nan", "inf", True, "x", None, [1]])
@pytest.mark.parametrize(
    ("column", "mapping"),
    [
        ("scores", {"answers": "answers", "preferred": {"ranks": "scores"}}),
        ("scores", {"answers": "answers", "preferred": {"onehot": "scores"}}),
        ("one", {"responses": ["a", "b"], "preferred": {"scores": ["one", "two"]}}),
        ("one", {"responses": ["a", "b"], "preferred": "first", "margin": ["one", "two"]}),
        ("one", {"responses": ["a", "b"], "preferred": "first", "margin": "one"}),
    ],
)
def test_scores_ranks_marks_and_margins_are_finite_numbers(odd, column, mapping):
    row = {"q": "Q?", "a": "x", "b": "y", "two": 1, "one": odd, "answers": ["x", "y"], "scores": [odd, 2]}
    if (odd is True and "onehot" in str(mapping)) or (odd is None and mapping.get("margin") == "one"):
        return  # a mark, and a margin that is not given
    where, reason = named(row, kind="preference", prompt=[{"text": "q"}], **mapping)
    assert column in where and "number was expected" in reason


def test_the_marks_of_a_list_may_be_true_and_false():
    row = {"q": "Q?", "answers": ["x", "y"], "marks": [False, True]}
    marked = template(kind="preference", prompt=[{"text": "q"}], answers="answers", preferred={"onehot": "marks"})
    (example,) = marked(row, "0")
    assert example.chosen[0]["text"] == "y"


@pytest.mark.parametrize("odd", [NAN, INF, "nan"])
def test_functions_work_on_finite_numbers(odd):
    """No comparison with NaN is true, so a mean of it would be undesirable in silence."""
    told = {"name": "mean_at_least", "columns": ["n", "n"], "arguments": {"least": 0.5}}
    row = {"q": "Q?", "a": "x", "n": odd}
    where, reason = named(row, kind="rating", prompt=[{"text": "q"}], completion="a", label="desirable", function=told)
    assert where == "n, n" and "NaN or infinity was found" in reason


def test_a_number_that_is_none_is_no_text():
    where, reason = named({"q": NAN}, kind="prompt", prompt=[{"text": "q"}])
    assert where == "q" and "finite number was expected" in reason


# ---------------------------------------------------------------- texts and forms


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("a\ud800b", r"holds '\ud800', which is no character: it is cut, or was no UTF-8"),
        ("caf\udce9", r"holds '\udce9', which is no character: it is cut, or was no UTF-8"),
        ("a\0b", "holds a null character"),
        ("a" * 1_000_001, "has 1000001 characters; the limit is 1000000 (data.max_characters)"),
    ],
)
def test_texts_that_no_tokenizer_takes_are_named(said, reason):
    assert named({"q": said}, kind="prompt", prompt=[{"text": "q"}]) == ("q", f"The text {reason}.")
    turns = [{"role": "user", "content": [{"type": "text", "text": said}]}]
    where, told = named({"turns": turns}, kind="prompt", prompt=[{"messages": "turns"}])
    assert where == "turns" and reason in told


def test_texts_may_be_as_long_as_the_user_says():
    Template(template(kind="prompt", prompt=[{"text": "q"}]).options, Allowed(characters=5))({"q": "12345"}, "0")
    with pytest.raises(BadRow, match="has 6 characters; the limit is 5"):
        Template(template(kind="prompt", prompt=[{"text": "q"}]).options, Allowed(characters=5))({"q": "123456"}, "0")


def test_what_is_nested_too_deep_is_named():
    deep = "x"
    for _ in range(101):
        deep = [deep]
    where, reason = named({"turns": deep}, kind="prompt", prompt=[{"messages": "turns"}])
    assert (where, reason) == ("turns", "It is nested more than 100 levels deep.")


@pytest.mark.parametrize("levels", [101, 900, 100_000])
def test_a_line_may_not_be_nested_too_deep(tmp_path, levels):
    path = tmp_path / "rows.jsonl"
    bad = '{"prompt": ' + "[" * levels + "]" * levels + ', "chosen": "x", "rejected": "y"}'
    path.write_text("\n".join([json.dumps(PAIR), bad]))
    examples = read(path)
    assert [example.id for example in examples] == ["0"]
    assert "nested more than 100 levels deep" in examples.dropped[0].reason


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('{"prompt": "a", "prompt": "b", "chosen": "x", "rejected": "y"}', "prompt"),
        (
            '{"prompt": [{"role": "user", "role": "assistant", "content": "b"}], "chosen": "x", "rejected": "y"}',
            "prompt",
        ),
        ('{"prompt": "a", "chosen": "[{\\"role\\": 1, \\"role\\": 2}]", "rejected": "y"}', "chosen"),
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_a_key_that_stands_twice_is_named(tmp_path, line, column, ending):
    path = tmp_path / f"rows.{ending}"
    lines = [json.dumps(PAIR), line]
    path.write_text("\n".join(lines) if ending == "jsonl" else f"[{','.join(lines)}]")
    examples = read(path)
    assert [example.id for example in examples] == ["0"]
    (left_out,) = examples.dropped
    assert left_out.column == column and "twice" in left_out.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({f"c{i}": 0 for i in range(1000)}, "an object with 1001 columns; 1000 are read at most"),
        ({"prompt": [0] * 2_000_002}, "it has more than 2000000 of ','"),
        ({"prompt": [{str(i): 0 for i in range(100_001)}]}, "it has more than 100000 of ':'"),
        ({"prompt": "x" * 2**26}, "67108864 are read at most"),
    ],
    ids=["columns", "elements", "keys", "letters"],
)
def test_a_line_that_would_take_more_memory_than_a_row_is_worth_is_named(tmp_path, row, reason):
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(PAIR)}\n{json.dumps({**row, 'chosen': 'x'})}")
    examples = read(tmp_path / "rows.jsonl")
    assert [example.id for example in examples] == ["0"] and reason in examples.dropped[0].reason


def test_a_long_beginning_that_two_answers_share_is_found_in_a_moment():
    """190,000 words; comparing every beginning with every other would take minutes."""
    start = time.monotonic()
    shared = template(kind="preference", split_common_prefix=["a", "b"], preferred="first")
    (example,) = shared({"a": "word " * 190_000 + "one", "b": "word " * 190_000 + "two"}, "0")
    assert len(example.messages[0]["content"][0]["text"]) == 5 * 190_000 - 1 and example.chosen[0]["text"] == "one"
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("row", "reason", "options"),
    [
        ({"image": ["x.png"] * 10_001}, "There are 10001 media; 10000", SEEN),
        (
            {"clip": ["x.png"] * 10_001},
            "There are 10001 media; 10000",
            {**SEEN, "prompt": [{"video": "clip"}, {"text": "q"}]},
        ),
        ({"turns": TURN * 2_001}, "There are 2001 turns; 2000", {**SEEN, "prompt": [{"messages": "turns"}]}),
        ({"answers": ["x"] * 513, "n": [1] * 513}, "There are 513 answers; 512", RANKED),
    ],
    ids=["pictures", "frames", "turns", "answers"],
)
def test_more_than_a_row_is_read_for_is_named(row, reason, options):
    assert reason in named({"q": "Q?", **row}, **options)[1]


def test_the_media_of_a_row_share_its_room():
    """A picture of 8 x 6 takes 192 bytes; of three that have 500 together, the third does not fit."""
    rows = [{"q": "Q?", "image": [picture()] * count} for count in (1, 2, 3)]
    room = MediaOptions(row_bytes=500)
    examples = Examples(Memory(rows), template(**SEEN), "prompt", "skip", media_options=room, verify_media=True)
    assert [example.id for example in examples] == ["0", "1"]
    assert examples.dropped[0].column == "image" and "data.media.row_bytes" in examples.dropped[0].reason
    sounds = [{"q": "Q?", "image": [sound_file(tone())] * count} for count in (1, 2)]
    heard = template(kind="prompt", prompt=[{"audio": "image"}, {"text": "q"}])
    room = MediaOptions(row_bytes=100_000)
    examples = Examples(Memory(sounds), heard, "prompt", "skip", media_options=room, verify_media=True)
    assert len(examples) == 1 and "take more than 100000 bytes decoded" in examples.dropped[0].reason


def test_an_empty_list_of_media_is_no_medium_where_one_must_be():
    assert named({"q": "Q?", "image": []}, **SEEN) == ("image", "The list of media is empty: there is no image.")
    optional = {**SEEN, "prompt": [{"image": {"column": "image", "optional": True}}, {"text": "q"}]}
    (example,) = template(**optional)({"q": "Q?", "image": []}, "0")
    assert [part["type"] for part in example.messages[0]["content"]] == ["text"]


@pytest.mark.parametrize("odd", [[], {}, 3, None, True, [3], "\ud800"])
@pytest.mark.parametrize("key", ["role", "content"])
def test_odd_speakers_and_contents_are_named(odd, key):
    turns = [{"role": "user", "content": "Q?", key: odd}]
    assert named({"turns": turns}, kind="prompt", prompt=[{"messages": "turns"}])[0] == "turns"


@pytest.mark.parametrize("odd", [[], {}, 3, True, "smell"])
def test_parts_of_an_odd_type_are_named(odd):
    turns = [{"role": "user", "content": [{"type": odd, "text": "x"}]}]
    assert named({"turns": turns}, kind="prompt", prompt=[{"messages": "turns"}])[0] == "turns"


def test_a_fault_that_no_terminal_can_write_is_spelled_out():
    assert str(BadRow("1", "a\ud800", "It is \udcff.")) == r"row 1, column 'a\\ud800': It is \udcff."


# ---------------------------------------------------------------- tables


def test_bytes_of_a_table_that_are_no_text_cost_one_row(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"prompt,chosen,rejected\none,x,y\ncaf\xe9,x,y\nthree,x,y\n")
    examples = read(tmp_path / "rows.csv")
    assert [example.id for example in examples] == ["0", "2"]
    assert examples.dropped[0].column == "prompt" and "was no UTF-8" in examples.dropped[0].reason


def test_a_quote_that_is_never_closed_names_all_lines_that_it_takes(tmp_path):
    (tmp_path / "rows.csv").write_text('prompt,chosen,rejected\none,x,y\n"two,x,y\nthree,x,y\n')
    examples = read(tmp_path / "rows.csv")
    assert [example.id for example in examples] == ["0"]
    assert "lines 3 to 4: unexpected end of data" in examples.dropped[0].reason


def test_quoted_cells_may_span_lines_and_be_long(tmp_path):
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(PAIR), ["one\ntwo", "x" * 200_000, "y"], ["three", "x", "y\nz"]])
    source = open_source(Table(path=str(tmp_path / "rows.csv")))
    assert source[0]["prompt"] == "one\ntwo" and len(source[0]["chosen"]) == 200_000 and source[1]["rejected"] == "y\nz"


def test_a_column_that_stands_twice_in_a_table_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,chosen,chosen\na,x,y\n")
    with pytest.raises(ValueError, match="has the column 'chosen' twice"):
        read(tmp_path / "rows.csv")


def test_bytes_of_a_parquet_file_that_are_no_text_cost_one_row(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    said = pa.array([b"one", b"caf\xe9", b"three"]).view(pa.utf8())
    others = {name: pa.array([name] * 3) for name in ("chosen", "rejected")}
    pq.write_table(pa.table({"prompt": said, **others}), tmp_path / "rows.parquet")
    examples = read(tmp_path / "rows.parquet")
    assert [example.id for example in examples] == ["0", "2"]
    assert examples.dropped[0].column == "prompt" and "cannot be read" in examples.dropped[0].reason


# ---------------------------------------------------------------- files below a folder


@pytest.fixture
def house(tmp_path):
    """A folder with a picture, and pictures beside it that a name, a link and a linked folder lead to."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "deeper", outside):
        folder.mkdir(parents=True)
    for path in (inside / "good.png", inside / "deeper" / "good.png", outside / "other.png"):
        path.write_bytes(picture())
    (inside / "link.png").symlink_to(outside / "other.png")
    (inside / "fine.png").symlink_to(inside / "good.png")
    (inside / "folder").symlink_to(outside)
    (inside / "frames").mkdir()
    (inside / "frames" / "0.png").symlink_to(outside / "other.png")
    return inside


LEADING_OUT = [
    "../outside/other.png",
    "deeper/../../outside/other.png",
    "link.png",
    "folder/other.png",
    "{out}",
    "file://{out}",
]
STAYING = ["good.png", "deeper/good.png", "deeper/../good.png", "fine.png", "./good.png"]


def rows_that_name(house, names):
    path = house.parent / "rows.jsonl"
    out = house.parent / "outside" / "other.png"
    rows = [{**PAIR, "image": name.replace("{out}", str(out))} for name in names]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_media_stay_below_a_root_that_is_given(house):
    path = rows_that_name(house, [*LEADING_OUT, *STAYING])
    examples = read(path, f"train.root={house}")
    assert [example.id for example in examples] == [
        str(i) for i in range(len(LEADING_OUT), len(LEADING_OUT) + len(STAYING))
    ]
    for left_out in examples.dropped:
        assert left_out.column == "image" and "type data.train.below_root=false" in left_out.reason


def test_media_may_lie_elsewhere_where_the_user_says_so_or_gives_no_root(house):
    path = rows_that_name(house, ["../outside/other.png", "link.png", "{out}"])
    assert len(read(path, f"train.root={house}", "train.below_root=false")) == 3
    assert len(read(rows_that_name(house, ["inside/link.png", "{out}"]))) == 2


def test_frames_of_a_clip_stay_below_the_root(house):
    out = str(house.parent / "outside" / "other.png")
    seen = Template(
        template(kind="prompt", prompt=[{"video": "clip"}, {"text": "q"}]).options, Allowed(str(house), True)
    )
    for clip in (["good.png", out], {"frames": ["good.png", "link.png"], "fps": 2}, "frames", "folder"):
        with pytest.raises(BadRow, match="leads out of"):
            seen({"q": "Q?", "clip": clip}, "0")
    assert len(Examples(Memory([{"q": "Q?", "clip": ["good.png", "fine.png"]}]), seen, "prompt")[0].messages) == 1


@pytest.mark.parametrize("name", ["../outside/other.png", "link.png", "folder/other.png", 5, ["good.png"], "a\0b"])
def test_names_in_the_metadata_of_a_folder_stay_in_it(house, name):
    lines = [{**PAIR, "file_name": said} for said in ("good.png", name, "fine.png")]
    (house / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    examples = read(house)
    assert [example.id for example in examples] == ["0", "2"]
    assert examples.dropped[0].column == "file_name"
    if isinstance(name, str) and "\0" not in name:
        assert len(read(house, "train.below_root=false")) == 3
