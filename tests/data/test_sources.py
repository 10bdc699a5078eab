"""Sources are sequences of rows; what is not there is named with what is."""

import json
import subprocess
import sys

import pytest
from PIL import Image

import aa_lightning  # noqa: F401
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import load_examples
from aa_lightning.data.options import Table
from aa_lightning.data.sources.files import JsonLines
from aa_lightning.data.sources.open import is_local, open_source
from aa_lightning.data.template.infer import recognise

from .rows import picture, stored
from .support import Memory, asked, options_named, said

PAIR = {"prompt": "Q?", "chosen": "good", "rejected": "bad"}


def lines(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_json_lines_are_read_one_by_one_and_empty_lines_do_not_count(tmp_path):
    source = open_source(Table(path=lines(tmp_path / "a.jsonl", {"x": "é"}, "", "  ", {"x": 2, "y": 3})))
    assert len(source) == 2 and source.columns == ["x", "y"]
    assert [source[1], source[0]] == [{"x": 2, "y": 3}, {"x": "é"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [('{"x": 1', "The line is not JSON"), ("[1]", "holds a list"), ("3", "holds a int"), ("\x00", "not JSON")],
)
def test_a_broken_line_is_a_bad_row_with_its_line_number(tmp_path, line, reason):
    source = open_source(Table(path=lines(tmp_path / "a.jsonl", {"x": 1}, "", line, {"x": 3})))
    assert (len(source), source[0], source[2]) == (3, {"x": 1}, {"x": 3})
    with pytest.raises(BadRow, match=rf"row 1, column 'a.jsonl, line 3': .*{reason}"):
        source[1]


def test_a_json_file_is_a_list_of_rows_or_lines(tmp_path):
    (tmp_path / "list.json").write_text(json.dumps([{"x": 1}, {"x": 2}]))
    lines(tmp_path / "lines.json", {"x": 1}, {"x": 2})
    for name in ("list.json", "lines.json"):
        source = open_source(Table(path=str(tmp_path / name)))
        assert [source[i] for i in range(len(source))] == [{"x": 1}, {"x": 2}]
    (tmp_path / "broken.json").write_text('[{"x": 1},')
    with pytest.raises(ValueError, match=r"broken.json is not JSON .*belongs in a .jsonl file"):
        open_source(Table(path=str(tmp_path / "broken.json")))


def test_a_csv_has_a_header_and_short_lines_are_bad_rows(tmp_path):
    (tmp_path / "a.csv").write_text('prompt,chosen\n"Q, really?",A\nshort\nQ,A,more\n')
    source = open_source(Table(path=str(tmp_path / "a.csv")))
    assert source[0] == {"prompt": "Q, really?", "chosen": "A"} and source.columns == ["prompt", "chosen"]
    for index in (1, 2):
        with pytest.raises(BadRow, match="another number of cells"):
            source[index]


def test_several_files_are_one_source_in_the_order_of_their_names(tmp_path):
    for name, xs in (("b", [2, 3]), ("a", [0, 1]), ("c", [4])):
        lines(tmp_path / f"{name}.jsonl", *({"x": x} for x in xs))
    source = open_source(Table(path=str(tmp_path / "*.jsonl")))
    assert [source[i]["x"] for i in range(len(source))] == [0, 1, 2, 3, 4]
    named = open_source(Table(path=str(tmp_path), files=["c.jsonl", "a.jsonl"]))
    assert [named[i]["x"] for i in range(len(named))] == [4, 0, 1]


@pytest.mark.parametrize("metadata", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_of_pictures_is_read_by_its_metadata(tmp_path, metadata):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "r.png")
    text = '{"file_name": "r.png", "prompt": "Q?", "response": "A"}'
    (tmp_path / metadata).write_text(text if metadata.endswith("l") else "file_name,prompt,response\nr.png,Q?,A\n")
    examples = load_examples(
        options_named("local", f"train.path={tmp_path}", "val_share=null"), "train", "demonstration"
    )
    assert asked(examples[0]) == "[red]Q?" and said(examples[0].response) == "A"


def test_a_folder_of_sounds_and_videos_names_them_by_their_endings(tmp_path):
    lines = [{"file_name": "a.wav"}, {"file_name": "b.mp4"}, {"file_name": "c.flac"}, {"file_name": "d.webp"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = open_source(Table(path=str(tmp_path)))
    found = [{kind: row[kind] for kind in ("image", "audio", "video") if kind in row} for row in rows]
    assert found == [
        {"audio": tmp_path / "a.wav"},
        {"video": tmp_path / "b.mp4"},
        {"audio": tmp_path / "c.flac"},
        {"image": tmp_path / "d.webp"},
    ]
    lines = [{"image_file_name": "x.png", "audio_file_name": None}]
    (tmp_path / "metadata.jsonl").write_text(json.dumps(lines[0]))
    row = open_source(Table(path=str(tmp_path)))[0]
    assert row["image"] == tmp_path / "x.png" and row["audio"] is None


def test_parquet_and_saved_data_sets_give_pictures_as_they_are_stored(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"question": "Q?", "image": stored("red"), "chosen": "good", "rejected": "bad"}]
    features = datasets.Features(
        {"question": datasets.Value("string"), "image": datasets.Image()}
        | {name: datasets.Value("string") for name in ("chosen", "rejected")}
    )
    table = datasets.Dataset.from_list(rows, features=features)
    table.to_parquet(str(tmp_path / "a.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    for name in ("a.parquet", "saved"):
        source = open_source(Table(path=str(tmp_path / name)))
        assert source.columns == ["question", "image", "chosen", "rejected"]
        assert source[0]["image"] == {"bytes": picture("red"), "path": None}
        options = options_named("rlaif_v", f"train.path={tmp_path / name}", "val_share=null")
        example = load_examples(options, "train", "preference")[0]
        assert asked(example) == "[red]Q?" and said(example.chosen) == "good"


def test_a_missing_file_is_named_with_what_stands_beside_it(tmp_path):
    lines(tmp_path / "train.jsonl", PAIR)
    with pytest.raises(FileNotFoundError, match=r"there is no .*trian.jsonl; did you mean train.jsonl\?"):
        open_source(Table(path=str(tmp_path / "trian.jsonl")))
    with pytest.raises(FileNotFoundError, match=r"in .*: train.jsonl"):
        open_source(Table(path=str(tmp_path / "x.csv")))
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        open_source(Table(path=str(tmp_path / "nowhere" / "x.csv")))
    with pytest.raises(FileNotFoundError, match=r"\*.parquet"):
        open_source(Table(path=str(tmp_path / "*.parquet")))


def test_a_folder_or_a_file_of_another_kind_says_what_can_be_read(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"ends with '.txt'; rows are read from .jsonl, .json, .csv"):
        open_source(Table(path=str(tmp_path / "notes.txt")))
    with pytest.raises(ValueError, match=r"without metadata.jsonl.*in it: notes.txt"):
        open_source(Table(path=str(tmp_path)))


def test_an_id_of_the_hub_is_no_path():
    assert not is_local(Table(path="openbmb/RLAIF-V-Dataset"))
    assert all(is_local(Table(path=path)) for path in ("my.jsonl", "./rows", "/data/x", "rows/*.json", "conf"))


def test_json_lines_work_without_the_datasets_package(tmp_path):
    """And neither torch nor datasets is imported on the way to a decoded example."""
    path = lines(tmp_path / "a.jsonl", PAIR)
    program = f"""
import sys
sys.modules["datasets"] = None
import aa_lightning
from aa_lightning.data.options import Table
from aa_lightning.data.examples import Examples
from aa_lightning.data.template.infer import recognise
from aa_lightning.data.sources.open import open_source
from aa_lightning.data.template.template import Template
source = open_source(Table(path={path!r}))
assert Examples(source, Template(recognise(source)), "preference")[0].chosen[0]["text"] == "good"
assert "torch" not in sys.modules
try:
    open_source(Table(path="nobody/nothing"))
except ImportError as error:
    assert "pip install datasets" in str(error), error
else:
    raise AssertionError("the hub needs datasets")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# ---------------------------------------------------------------- without a template


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (PAIR, "preference"),
        ({**PAIR, "image": "a.png", "margin": 2}, "preference"),
        ({"prompt": "Q?", "response": "A"}, "demonstration"),
        ({"prompt": "Q?", "completion": "A"}, "demonstration"),
        ({"prompt": "Q?", "response": "A", "label": True}, "rating"),
        ({"prompt": "Q?", "answer": "4"}, "prompt"),
        ({"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A"}]}, "demonstration"),
        ({"chosen": "Q? good", "rejected": "Q? bad"}, "preference"),
    ],
)
def test_the_kind_of_rows_is_recognised_from_the_columns(row, kind):
    assert recognise(Memory([row])).kind == kind


def test_unknown_columns_are_named_with_those_that_would_be_known():
    with pytest.raises(ValueError, match=r"the columns foo, bar are not recognised.*prompt, \[image \| images\]"):
        recognise(Memory([{"foo": 1, "bar": 2}]))


def test_a_file_of_ones_own_needs_nothing_but_its_path(tmp_path):
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "b.png")
    turns = [{"role": "user", "content": "Q?"}]
    path = lines(
        tmp_path / "my.jsonl",
        '{"broken": ',
        {**PAIR, "prompt": turns, "image": "b.png", "system": "Hm.", "margin": 1.5},
        {**PAIR, "prompt": turns, "image": None, "system": "Hm.", "margin": 2},
    )
    options = options_named("local", f"train.path={path}", "val_share=null", "on_bad_row=skip")
    examples = load_examples(options, "train", "preference")
    assert [asked(e) for e in examples] == ["Hm.|[blue]Q?", "Hm.|Q?"]
    assert [(e.margin, e.id) for e in examples] == [(1.5, "1"), (2.0, "2")]
    assert [(d.row, d.column) for d in examples.dropped] == [("0", "my.jsonl, line 1")]


def test_labels_of_a_csv_are_texts_that_mean_truth(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,response,label\nQ,A,true\nQ,B,False\n")
    options = options_named("local", f"train.path={tmp_path / 'a.csv'}", "val_share=null")
    assert [e.desirable for e in load_examples(options, "train", "rating")] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there are no rows in the data"),
        ('{"prompt": "a", "chosen": "b"\n', "The first one: row 0.*line 1.*is not JSON"),
    ],
)
def test_a_file_without_a_row_that_can_be_read_is_no_question_of_columns(tmp_path, text, said):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(ValueError, match=f"(?s){said}"):
        recognise(JsonLines(tmp_path / "rows.jsonl"))
