"""Decoders die, hang and devour in a process of their own: the row is named, and the next one is decoded."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

import aa_lightning  # noqa: F401
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import Examples
from aa_lightning.media import MediaError, audio, guard
from aa_lightning.media.options import GuardOptions

from . import stand_ins
from .media_files import sound_file, tone
from .support import Memory, template

LIMITS = GuardOptions(seconds=0.2, bytes=2**28)
HEARD = {"kind": "prompt", "prompt": [{"audio": "sound"}, {"text": "q"}]}
ROW = {"q": "What?", "sound": sound_file(tone(), kind="OGG")}


def asked(function, *arguments):
    return guard.call(function, *arguments, what="audio of 'a.ogg'", limits=LIMITS)


def own():
    return int(asked(stand_ins.chatters)["own"][0])


def is_alive(process):
    return Path(f"/proc/{process}").exists() and "Z (zombie)" not in Path(f"/proc/{process}/status").read_text()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (stand_ins.dies, r"The audio of 'a.ogg' ended the process that decoded it \(exit code 7\)"),
        (stand_ins.spins, r"takes more than 0.2 s \(data.media.guard.seconds\)"),
        (stand_ins.sleeps, r"takes more than 0.2 s \(data.media.guard.seconds\)"),
        (stand_ins.devours, r"takes more than 268435456 bytes of memory \(data.media.guard.bytes\)"),
        (stand_ins.refuses, "There is nothing in it."),
        (stand_ins.stumbles, r"cannot be decoded \(ZeroDivisionError: of the decoder\)"),
    ],
)
def test_what_a_decoder_does_at_its_worst_is_said_and_the_next_call_is_answered(function, reason):
    start = time.monotonic()
    with pytest.raises(MediaError, match=reason):
        asked(function)
    assert time.monotonic() - start < 3
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = asked(stand_ins.echoes, array)
    assert np.array_equal(found["array"], array) and np.array_equal(found["twice"], 2 * array)


def test_one_process_serves_until_it_dies_and_what_it_prints_is_no_answer(capfd):
    first = own()
    assert own() == first and first != os.getpid()
    with pytest.raises(MediaError):
        asked(stand_ins.dies)
    assert own() != first and capfd.readouterr() == ("", "")


def test_nothing_can_be_written_in_the_guarded_process(tmp_path):
    with pytest.raises(MediaError, match="cannot be decoded|ended the process"):
        asked(stand_ins.writes, str(tmp_path / "marker"))
    assert not (tmp_path / "marker").exists() or (tmp_path / "marker").read_text() == ""


def test_threads_have_processes_of_their_own_which_end_with_them():
    ready = threading.Barrier(4)

    def both(_):
        ready.wait()
        return own(), own()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(both, range(4)))
    assert all(one == other for one, other in found) and len({one for one, _ in found}) == 4
    deadline = time.monotonic() + 5
    while any(is_alive(one) for one, _ in found):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("busy", ["stand_ins.chatters", "stand_ins.sleeps"])
def test_the_guarded_process_does_not_outlive_a_killed_one(busy):
    """It is killed between two calls, and in the middle of one."""
    code = (
        "import sys; from aa_lightning.media import guard; from aa_lightning.media.options import GuardOptions\n"
        "from data import stand_ins\n"
        "ask = lambda f: guard.call(f, what='clip', limits=GuardOptions(seconds=60))\n"
        f"print(ask(stand_ins.chatters)['own'][0], flush=True); ask({busy}); sys.stdin.read()"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    guarded = int(process.stdout.readline())
    time.sleep(0.2)
    assert is_alive(guarded)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 2
    while is_alive(guarded):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_row_whose_decoder_dies_is_named_and_skipped(monkeypatch):
    """The decoder of every sound that is no WAV or FLAC file dies; the rows beside it are read."""
    rows = [{**ROW, "sound": sound_file(tone())}, ROW, {**ROW, "sound": sound_file(tone(), kind="FLAC")}]
    monkeypatch.setattr(audio, "arrays_of_file", stand_ins.dies)
    examples = Examples(Memory(rows), template(**HEARD), "prompt", "skip", verify_media=True)
    assert [example.id for example in examples] == ["0", "2"]
    (left_out,) = examples.dropped
    assert (left_out.row, left_out.column) == ("1", "sound") and "ended the process" in left_out.reason
    with pytest.raises(BadRow, match="row 1, column 'sound': The audio ended the process that decoded it"):
        Examples(Memory(rows), template(**HEARD), "prompt", verify_media=True)


def test_data_workers_have_guarded_processes_and_survive_their_death(monkeypatch):
    """Every other row ends its decoder, in workers that were forked from a process with a guarded one."""
    mine = own()
    items = DataLoader(Rows(), num_workers=2, batch_size=None)
    found = list(items)
    assert [said for said, _ in found] == ["died", "lives"] * 4
    assert mine not in {number for _, number in found} and own() == mine


class Rows:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index >= 8:
            raise IndexError
        try:
            return "lives", asked(stand_ins.dies if index % 2 == 0 else stand_ins.chatters)["own"].item()
        except MediaError:
            return "died", 0
