"""Values on the disk: what is served is what was kept, whatever happened to the file."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest

from aa_lightning.system.store import Store

ROWS = 300


def key(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=16).digest()


def value(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=64).digest() * (1 + number % 7)


RIGHT = {key(n): value(n) for n in range(ROWS)}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    made.put(RIGHT)
    return made


def file_of(store: Store) -> Path:
    (file,) = store.folder.glob("*.sqlite")
    return file


def check_refills(store: Store) -> int:
    """Whatever is served is right, and what is missing can be kept again. Returns how many were missing."""
    found = store.get(RIGHT)
    assert all(RIGHT[one] == served for one, served in found.items())
    store.put(RIGHT)
    assert store.get(RIGHT) == RIGHT
    return ROWS - len(found)


def test_what_was_kept_is_found_and_a_key_keeps_its_first_value(store):
    assert Store(store.folder).get([*RIGHT, b"no such key"]) == RIGHT
    store.put({key(0): b"another"})
    assert store.get([key(0)]) == {key(0): value(0)}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_filled_again(store, share):
    file = file_of(store)
    os.truncate(file, int(share * file.stat().st_size))
    assert check_refills(store) > 0


def test_a_file_of_something_else_is_filled_again(store):
    file_of(store).write_bytes(random.Random(0).randbytes(20_000))
    assert check_refills(store) == ROWS
    assert sorted(path.name for path in store.folder.iterdir()) == ["0.damaged", "1.sqlite"]


def test_another_table_is_filled_again(store):
    file = file_of(store)
    file.unlink()
    with sqlite3.connect(file) as base:
        base.execute("CREATE TABLE kept (something INTEGER)")
    base.close()
    assert check_refills(store) == ROWS


def test_bytes_that_changed_are_never_served(store):
    """200 files with a few other bytes anywhere: in values, keys, sums, or what SQLite needs to find them."""
    whole, draw, missing = file_of(store).read_bytes(), random.Random(1), 0
    for number in range(200):
        spoiled = bytearray(whole)
        for _ in range(1 + number % 5):
            spoiled[draw.randrange(len(spoiled))] ^= 1 << draw.randrange(8)
        for path in store.folder.iterdir():
            path.unlink()
        (store.folder / "0.sqlite").write_bytes(spoiled)
        missing += check_refills(store)
    assert missing > 200


def test_a_row_whose_value_is_half_there_is_filled_again(store):
    with sqlite3.connect(file_of(store)) as base:
        base.execute("UPDATE kept SET value = substr(value, 1, 20) WHERE key = ?", (key(7),))
    base.close()
    assert check_refills(store) == 1


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path):
    (tmp_path / "store" / "0.sqlite").mkdir(parents=True)
    with pytest.raises(OSError, match=r"nothing can be kept in .*store .*AA_LIGHTNING_CACHE"):
        Store(tmp_path / "store").put(RIGHT)


WRITER = """
import sys
from pathlib import Path
from aa_lightning.system.store import Store
from tests.test_store import ROWS, key, value
store = Store(Path(sys.argv[1]))
for start in range(0, ROWS * int(sys.argv[2]), 5):
    store.put({key(n): value(n) for n in range(start, start + 5)})
    print(start + 5, flush=True)
"""


def writer(store: Store, times: int = 1) -> subprocess.Popen:
    code = [sys.executable, "-c", WRITER, str(store.folder), str(times)]
    return subprocess.Popen(code, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)


def test_several_processes_fill_it_at_once(tmp_path):
    store = Store(tmp_path / "store")
    started = [writer(store) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert store.get(RIGHT) == RIGHT


def test_killed_writers_leave_all_that_they_had_kept_and_nothing_wrong(tmp_path):
    store, draw = Store(tmp_path / "store"), random.Random(2)
    for _ in range(20):
        process, kept = writer(store, times=1000), 0
        for _ in range(draw.randrange(1, 60)):
            kept = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        wanted = {key(n): value(n) for n in range(kept + 100)}
        found = store.get(wanted)
        assert found.items() <= wanted.items()
        assert all(key(n) in found for n in range(kept))
