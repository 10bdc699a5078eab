"""Few calls of ours lie between a command line and its work."""

import os
import subprocess
import sys

import pytest

# in every process, `train` comes no further than to the lock of its run folder
SPY = """
import os, sys, time, traceback
from pathlib import Path
import aa_lightning
from aa_lightning.runs import folders

def holding(folder):
    ours = Path(aa_lightning.__file__).parent
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(ours)]
    told = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames]
    folder = Path(os.environ["FRAMES"])
    (folder / os.environ.get("RANK", "alone")).write_text(" ".join(told))
    while len(list(folder.iterdir())) < int(os.environ.get("WORLD_SIZE", 1)):
        time.sleep(0.1)  # the first rank that fails would end the others
    raise RuntimeError("seen")

folders.holding = holding
"""


@pytest.mark.parametrize(("devices", "ranks"), [(1, {"alone"}), (2, {"0", "1"})])
@pytest.mark.parametrize(
    "command",
    [["-m", "aa_lightning.train"], ["-c", "from aa_lightning.train import main; main()"]],
    ids=["m", "script"],
)
def test_four_frames_lead_to_the_first_line_of_train(tmp_path, command, devices, ranks):
    (tmp_path / "sitecustomize.py").write_text(SPY)
    frames = tmp_path / "frames"
    frames.mkdir()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    typed = [f"output={tmp_path}", f"trainer.devices={devices}", "trainer.accelerator=cpu"]
    ended = subprocess.run(
        [sys.executable, *command, *typed],
        env={**os.environ, "PYTHONPATH": path, "FRAMES": str(frames)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "RuntimeError: seen" in ended.stderr
    assert {path.name for path in frames.iterdir()} == ranks
    for told in frames.iterdir():
        *before, train = told.read_text().split()
        assert train == "train.py:train"
        assert len(before) <= 4, before
