"""Files that become whole in one piece, written by several processes in one folder at once."""

import subprocess
import sys

from aa_lightning.system import atomic

WRITES = """
import sys
from pathlib import Path
from aa_lightning.system.atomic import write_text
for i in range(400):
    write_text(Path(sys.argv[1]) / f"{sys.argv[2]}.json", str(i))
"""


def test_processes_that_write_into_one_folder_take_no_part_of_each_other_for_abandoned(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path), str(place)], stderr=subprocess.PIPE, text=True)
        for place in range(3)
    ]
    said = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {f"{i}.json": "399" for i in range(3)}


def test_a_part_that_was_begun_anew_while_somebody_looked_at_the_last_one_stays(tmp_path, monkeypatch):
    """The owner gives its file a name between the opening and the locking of it by another, and begins the next one."""
    part, lock = tmp_path / ".a.json.1.part", atomic._try_lock
    part.write_text("first")

    def slowly(descriptor):
        part.rename(tmp_path / "a.json")
        part.write_text("second")
        return lock(descriptor)

    monkeypatch.setattr(atomic, "_try_lock", slowly)
    atomic.remove_parts(tmp_path)
    assert part.read_text() == "second"
    monkeypatch.undo()
    atomic.remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
