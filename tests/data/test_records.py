"""Scans of large files are kept: a later start reads few rows, finds the same, and sees every change."""

import json
import os
from array import array
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest

from aa_lightning.data import examples as examples_module
from aa_lightning.data import records
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import load_examples
from aa_lightning.data.records import Record, recorded
from aa_lightning.data.scan import Dropped, Scan
from aa_lightning.data.sources import files
from aa_lightning.data.sources.open import _opened_once
from aa_lightning.data.template.template import Template
from aa_lightning.system.cache import cache_root

from .rows import picture
from .support import options_named

ROWS = 400


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch, tmp_path):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(examples_module, "WORTH_KEEPING", 1)
    monkeypatch.setattr(files, "_LARGE", 1)


@pytest.fixture
def templated(monkeypatch) -> Counter:
    """How often each row was templated."""
    counts, apply = Counter(), Template.__call__
    monkeypatch.setattr(Template, "__call__", lambda self, row, name: counts.update([name]) or apply(self, row, name))
    return counts


def rows(count: int = ROWS) -> list[dict]:
    return [
        {"prompt": f"Q{i}", "image": f"{i % 4}.png", "chosen": f"yes {i}", "rejected": "no", "label": i % 2}
        for i in range(count)
    ]


def written(folder: Path, given: list) -> Path:
    for name in range(4):
        (folder / f"{name}.png").write_bytes(picture())
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in given))
    return path


def read(path: Path, *overrides: str, wanted: str = "preference"):
    """What is trained on and what is held out, opened as by a process of its own."""
    _opened_once.cache_clear()
    options = options_named("local", f"train.path={path}", "val_share=0.2", *overrides)
    return [load_examples(options, split, wanted) for split in ("train", "val")]


def told(split) -> tuple:
    return [e.id for e in split], split.dropped, split.showing, split.labels, split.media


def test_a_later_start_templates_few_rows_and_knows_the_same(tmp_path, templated):
    path = written(tmp_path, [*rows(), {"prompt": "", "chosen": "a", "rejected": "b", "image": None}])
    first = [told(split) for split in read(path, "on_bad_row=skip")]
    assert len(templated) == ROWS + 1 and len(first[0][0]) + len(first[1][0]) == ROWS
    templated.clear()
    train, val = read(path, "on_bad_row=skip")
    assert 0 < sum(templated.values()) <= 2 * 32 + 1  # some of each split, and the row that was left out
    assert [told(train), told(val)] == first
    assert first[0][2]["image"] == len(first[0][0])


def test_labels_and_several_examples_of_a_row_are_kept(tmp_path, templated):
    path = written(tmp_path, rows())
    first = [told(split) for split in read(path, wanted="rating")]
    templated.clear()
    later = read(path, wanted="rating")
    assert sum(templated.values()) <= 2 * 32
    assert [told(split) for split in later] == first
    train_ids, _, _, labels, _ = first[0]
    assert len(set(train_ids)) == len(train_ids) and labels == {True: len(train_ids) / 2, False: len(train_ids) / 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text(path.read_text().replace("yes 7", "yes!7")),
        lambda path: path.write_text(path.read_text() + json.dumps(rows(1)[0]) + "\n"),
        lambda path: os.utime(path, ns=(1, 1)),
    ],
    ids=["other bytes", "another row", "another time"],
)
def test_a_file_that_changed_is_read_anew(tmp_path, templated, change):
    path = written(tmp_path, rows())
    read(path)
    change(path)
    templated.clear()
    assert sum(len(split) for split in read(path)) == len(path.read_text().splitlines()) == len(templated)


def test_bytes_that_change_without_size_and_time_are_seen(tmp_path):
    """A few places of a file are compared: in one of 250 KB, 64 blocks of 4 KiB are all of it."""
    path = written(tmp_path, rows(2000))
    known, before = path.stat(), records.state_of(path)
    path.write_text(path.read_text().replace("yes 1234", "yes!1234"))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert path.stat().st_size == known.st_size and records.state_of(path) != before


@pytest.mark.parametrize(
    "asked", ["on_bad_row=skip", "val_share=0.3", "limit=50", "max_characters=1000", "train.root=/tmp/."]
)
def test_other_options_are_read_anew(tmp_path, templated, asked):
    path = written(tmp_path, rows())
    read(path)
    templated.clear()
    overrides = [f"train.root={tmp_path}/../{tmp_path.name}" if asked.startswith("train.root") else asked]
    read(path, *overrides)
    assert len(templated) >= min(ROWS, 2 * 50)


def test_another_version_of_the_code_reads_anew(tmp_path, templated, monkeypatch):
    path = written(tmp_path, rows())
    read(path)
    templated.clear()
    monkeypatch.setattr("aa_lightning.data.split.code_that_reads", lambda: "another")
    read(path)
    assert len(templated) == ROWS


def test_media_that_vanish_are_found_by_the_rows_that_are_looked_at(tmp_path):
    path = written(tmp_path, rows())
    read(path)
    (tmp_path / "1.png").unlink()
    with pytest.raises(BadRow, match=r"row 1, column 'image': There is no image file"):
        read(path)
    assert sum(len(split) for split in read(path, "on_bad_row=skip")) == ROWS * 3 / 4


def test_a_row_that_was_mended_counts_again(tmp_path):
    path = written(tmp_path, [*rows(), {**rows(1)[0], "image": "late.png"}])
    assert sum(len(split) for split in read(path, "on_bad_row=skip")) == ROWS
    (tmp_path / "late.png").write_bytes(picture())
    assert sum(len(split) for split in read(path, "on_bad_row=skip")) == ROWS + 1


def test_what_needs_every_row_is_never_taken_from_a_scan(tmp_path, templated):
    path = written(tmp_path, rows())
    for _ in range(2):
        templated.clear()
        read(path, "verify_media=true")
        assert len(templated) == ROWS


@pytest.mark.parametrize("spoil", ["cut", "flipped", "no JSON", "gone"])
def test_a_spoiled_record_is_made_anew(tmp_path, spoil):
    path = written(tmp_path, rows())
    first = [told(split) for split in read(path)]
    kept = sorted((cache_root() / "rows").glob("[!.]*/rows.numbers"))
    assert len(kept) == 2
    for file in kept:
        content = file.read_bytes()
        if spoil == "cut":
            file.write_bytes(content[:-3])
        elif spoil == "flipped":
            file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        elif spoil == "gone":
            file.unlink()
        else:
            size = (file.parent / "told.json").stat().st_size
            (file.parent / "told.json").write_text("{" * size)
    assert [told(split) for split in read(path)] == first
    read(path)
    assert sorted((cache_root() / "rows").glob("[!.]*/rows.numbers")) == kept


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path, templated):
    (tmp_path / "cache").write_text("a file where a folder belongs")
    path = written(tmp_path, rows())
    for _ in range(2):
        templated.clear()
        assert sum(len(split) for split in read(path)) == ROWS == len(templated)


def test_a_fault_of_making_is_not_taken_for_one_of_the_cache():
    made = []

    def make():
        made.append(1)
        raise ValueError("a row is bad")

    with pytest.raises(ValueError, match="a row is bad"):
        recorded("key", make)
    assert made == [1]


def _make_slowly(folder: str, number: int) -> list:
    def make():
        with open(f"{folder}/made", "a") as file:
            file.write(f"{number}\n")
        return Record({"rows": array("q", range(1000))}, {"by": "one of them"})

    os.environ["AA_LIGHTNING_CACHE"] = folder
    record = recorded("the same", make)
    return [sum(record.numbers["rows"]), record.told]


def test_of_processes_that_want_a_record_at_once_one_makes_it(tmp_path):
    with get_context("fork").Pool(4) as pool:
        found = pool.starmap(_make_slowly, [(str(tmp_path), number) for number in range(4)])
    assert found == [[499500, {"by": "one of them"}]] * 4
    assert len((tmp_path / "made").read_text().splitlines()) == 1


def test_only_the_records_that_were_used_last_stay(monkeypatch):
    monkeypatch.setattr(records, "_MOST", 2)
    for key in ("a", "b"):
        recorded(key, lambda: Record(told=1))
    root = cache_root() / "rows"
    older, newer = sorted(root.glob("[!.]*"), key=lambda folder: folder.stat().st_mtime_ns)
    for time, folder in enumerate((older, newer), start=1):
        os.utime(folder, ns=(time, time))
    recorded("a", lambda: Record(told=2))  # is used again, and becomes the newest
    recorded("c", lambda: Record(told=3))
    left = sorted(path.name for path in root.iterdir())
    assert older.name in left and newer.name not in left and len(left) == 4  # with the list of each one's files


def test_one_opening_serves_all_splits(tmp_path, monkeypatch):
    opened, first = [], files.JsonLines.__init__
    monkeypatch.setattr(files.JsonLines, "__init__", lambda self, path: opened.append(path) or first(self, path))
    for name in range(12):
        (tmp_path / f"part{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows(4)))
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(picture())
    train, val = read(tmp_path / "part*.jsonl")
    assert len(train) + len(val) == 48 and len(opened) == 12


def test_lines_behind_empty_ones_are_found(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\n{"prompt": "a"}\n\n \x0c\n{"prompt": "b"}\n\n{"prompt": "c"}')
    for _ in range(2):
        source = files.JsonLines(path)
        assert [source[i]["prompt"] for i in range(len(source))] == ["a", "b", "c"]
        assert list(source.lines) == [2, 5, 7] and source.filled() == {"prompt": 3}


def test_rows_are_looked_at_with_the_number_of_their_examples_and_faults_with_none():
    scan = Scan(array("q", [1, 1, 4]), array("q", [0, 1, 0]), [Dropped("2", "a", "b"), Dropped("3", "a", "b", True)])
    assert scan.looked_at() == {1: 2, 4: 1, 2: 0}
