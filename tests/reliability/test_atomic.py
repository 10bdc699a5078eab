"""Files that become whole in one piece, written by several processes in one folder at once."""

import subprocess
import sys

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
