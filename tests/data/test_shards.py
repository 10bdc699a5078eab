"""Tar shards: samples are found by an index, media are read when they are decoded, broken shards are named."""

import io
import json
import os
import tarfile
import tracemalloc

import huggingface_hub
import numpy as np
import pytest

import aa_lightning  # noqa: F401
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import load_examples
from aa_lightning.data.options import Table
from aa_lightning.data.sources import shards
from aa_lightning.data.sources.open import open_source
from aa_lightning.data.sources.shards import Shard
from aa_lightning.media.storage import Stretch

from .rows import clip, picture, sound
from .support import asked, options_named, said


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path, *files):
    """A shard of (name, content) in this order."""
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def captioned(number, colour="red"):
    return [(f"{number:03d}.jpg", picture(colour)), (f"{number:03d}.txt", f"caption {number}".encode())]


def count_reads(monkeypatch):
    sizes, read = [], Stretch.read
    monkeypatch.setattr(Stretch, "read", lambda stretch: sizes.append(stretch.size) or read(stretch))
    return sizes


# ---------------------------------------------------------------- rows


def test_files_of_one_name_are_one_row_whose_columns_are_their_endings(tmp_path):
    path = write(
        tmp_path / "a.tar",
        ("x/001.jpg", picture("red")),
        ("x/001.json", json.dumps({"label": 3}).encode()),
        ("x/002.seg.png", picture("blue")),
        ("x/001.txt", "späte Zeile".encode()),  # files of a sample need not stand together
        ("x/._002.jpg", b"of another system"),
        ("x/README", b"no ending"),
    )
    source = Shard(path)
    assert len(source) == 2 and source.columns == ["__key__", "jpg", "json", "seg.png", "txt"]
    first, second = source[0], source[1]
    assert (first["__key__"], first["json"], first["txt"]) == ("x/001", {"label": 3}, "späte Zeile")
    assert first["jpg"].read() == picture("red")
    assert list(second) == ["__key__", "seg.png"] and second["seg.png"].read() == picture("blue")


@pytest.mark.parametrize(
    ("name", "ending", "content", "seen"),
    [
        ("shards_t2i", "webp", picture("blue"), "[blue]"),
        ("shards_t2a", "wav", sound(8000), "[8000 Hz]"),
        ("shards_t2v", "mp4", clip("red"), "[red clip]"),
    ],
)
def test_every_medium_is_read_from_shards(tmp_path, name, ending, content, seen):
    write(tmp_path / "a.tar", *[(f"{i}.{e}", c) for i in range(3) for e, c in [(ending, content), ("txt", b"a cat")]])
    options = options_named(name, f"train.path={tmp_path / 'a.tar'}", "val_share=null")
    examples = load_examples(options, "train", "demonstration")
    assert [(asked(e), said(e.response), e.keep["key"]) for e in examples] == [
        ("a cat", seen, str(i)) for i in range(3)
    ]


def test_preferences_stand_in_json_beside_their_picture(tmp_path):
    row = {"question": "Q?", "chosen": "good", "rejected": "bad"}
    write(tmp_path / "a.tar", ("0.png", picture("red")), ("0.json", json.dumps(row).encode()))
    options = options_named("shards_ti2t", f"train.path={tmp_path / 'a.tar'}", "val_share=null")
    (example,) = load_examples(options, "train", "preference")
    assert (asked(example), said(example.chosen), said(example.rejected)) == ("[red]Q?", "good", "bad")


def test_several_shards_are_one_source_by_pattern_and_by_number(tmp_path):
    for shard in range(12):
        write(tmp_path / f"s-{shard:02d}.tar", *captioned(2 * shard), *captioned(2 * shard + 1))
    for path in ("s-*.tar", "s-{00..11}.tar"):
        source = open_source(Table(path=str(tmp_path / path)))
        assert [source[i]["__key__"] for i in range(len(source))] == [f"{i:03d}" for i in range(24)]
    assert len(open_source(Table(path=str(tmp_path / "s-{03..05}.tar")))) == 6
    with pytest.raises(FileNotFoundError, match=r"there is no .*s-12.tar; did you mean"):
        open_source(Table(path=str(tmp_path / "s-{10..13}.tar")))


def test_shards_of_the_hub_are_fetched_by_name_and_read_as_files(tmp_path, monkeypatch):
    """Offline: the hub's client is replaced by a folder that holds what it would have fetched."""
    asked_for = {}

    def fetched(repository, **options):
        asked_for.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-0.tar", *captioned(0))
    write(tmp_path / "data" / "train-1.tar", *captioned(1))
    source = open_source(Table(path="someone/pictures", files=["train-*.tar"], data_dir="data", revision="v1"))
    assert [source[i]["txt"] for i in range(len(source))] == ["caption 0", "caption 1"]
    assert asked_for == {
        "repository": "someone/pictures",
        "repo_type": "dataset",
        "revision": "v1",
        "allow_patterns": ["data/train-*.tar"],
    }
    with pytest.raises(ValueError, match=r"'someone/pictures' has no files val-\*.tar"):
        open_source(Table(path="someone/pictures", files=["val-*.tar"]))


# ---------------------------------------------------------------- reading


def test_media_are_read_when_they_are_decoded_and_not_before(tmp_path, monkeypatch):
    sizes = count_reads(monkeypatch)
    write(tmp_path / "a.tar", *captioned(0), *captioned(1))
    options = options_named("shards_t2i", f"train.path={tmp_path / 'a.tar'}", "val_share=null")
    examples = load_examples(options, "train", "demonstration")
    assert sizes and set(sizes) == {len("caption 0")}  # set-up reads texts alone
    assert said(examples[1].response) == "[red]" and sizes[-1] == len(picture("red"))


def test_a_shard_is_never_in_memory(tmp_path):
    """40 MB in 10 files; an index and one row cost less than one of them."""
    rng = np.random.default_rng(0)
    path = write(tmp_path / "a.tar", *[(f"{i}.bin", rng.bytes(4_000_000)) for i in range(10)])
    tracemalloc.start()
    source = Shard(path)
    row = source[7]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000 and len(row["bin"].read()) == 4_000_000


def test_the_index_is_made_once_and_again_for_another_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", *captioned(0))
    made = []
    monkeypatch.setattr(shards, "_members", lambda p, known=shards._members: made.append(p) or known(p))
    assert [len(Shard(path)), len(Shard(path)), made] == [1, 1, [path]]
    write(path, *captioned(0), *captioned(1))
    assert [len(Shard(path)), len(Shard(path)), made] == [2, 2, [path, path]]


def test_a_spoiled_index_and_a_cache_that_cannot_be_written_cost_only_time(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", *captioned(0))
    Shard(path)
    kept = shards._place(path)
    kept.write_bytes(kept.read_bytes()[:100])
    assert Shard(path)[0]["txt"] == "caption 0"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path / "file"))
    assert Shard(path)[0]["txt"] == "caption 0"


# ---------------------------------------------------------------- broken shards


def cut_inside(content):
    return content[: content.index(b"001.jpg") + 520], "inside 001.jpg"


def cut_between(content):
    return content[: content.index(b"001.jpg")], "there is no end mark"


def damaged(content):
    return content.replace(b"001.jpg", b"001.jpX", 1), "a header is damaged"


@pytest.mark.parametrize("spoil", [cut_inside, cut_between, damaged])
def test_a_broken_shard_is_a_bad_row_that_names_it(tmp_path, spoil):
    path = write(tmp_path / "a.tar", *captioned(0), *captioned(1))
    content, reason = spoil(path.read_bytes())
    path.write_bytes(content)
    given = [f"train.path={tmp_path / 'a.tar'}", "val_share=null"]
    with pytest.raises(BadRow, match=rf"row 1, column 'a.tar': The shard breaks off after 1 samples \({reason}\)"):
        load_examples(options_named("shards_t2i", *given), "train", "demonstration")
    examples = load_examples(options_named("shards_t2i", *given, "on_bad_row=skip"), "train", "demonstration")
    assert [asked(e) for e in examples] == ["caption 0"]
    assert [(d.row, d.column) for d in examples.dropped] == [("1", "a.tar")]


def test_what_is_no_archive_at_all_is_a_bad_row_too(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(BadRow, match="column 'a.tar': The shard breaks off after 0 samples"):
        Shard(tmp_path / "a.tar")[0]


def test_a_sample_with_a_file_twice_and_one_with_a_file_missing_are_bad_rows(tmp_path):
    write(tmp_path / "a.tar", *captioned(0), *captioned(1), *captioned(1), ("002.txt", b"alone"), *captioned(3))
    options = options_named("shards_t2i", f"train.path={tmp_path / 'a.tar'}", "val_share=null", "on_bad_row=skip")
    examples = load_examples(options, "train", "demonstration")
    assert [asked(e) for e in examples] == ["caption 0", "caption 3"]
    assert [(d.row, d.column) for d in examples.dropped] == [("1", "a.tar"), ("2", "jpg")]
    assert "a.tar has 001.txt twice" in examples.dropped[0].reason


@pytest.mark.parametrize(("ending", "said_of"), [("json", "JSON"), ("txt", "text in UTF-8")])
def test_texts_that_cannot_be_read_name_their_file(tmp_path, ending, said_of):
    path = write(tmp_path / "a.tar", (f"000.{ending}", b"\xff{"))
    with pytest.raises(BadRow, match=rf"column '{ending}': 000.{ending} in a.tar is no {said_of}"):
        Shard(path)[0]


def test_rows_travel_to_data_workers(tmp_path):
    import pickle

    row = Shard(write(tmp_path / "a.tar", *captioned(0)))[0]
    again = pickle.loads(pickle.dumps(row))
    assert isinstance(again["jpg"], Stretch) and again["jpg"].read() == picture("red")
    assert os.path.getsize(tmp_path / "a.tar") > len(pickle.dumps(row))
