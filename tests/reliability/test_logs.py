"""What a run says while it goes on: a bar in a terminal, lines in a file, and nothing that libraries say to themselves."""

import csv
import os
import pty
import re
import sys
import termios

import pytest

from tests.reliability import forked
from tests.reliability.support import SHAPES, SHORT, call

RUN = [sys.executable, "-m", "aa_lightning.train"]  # warnings and all
OTHERWISE = ("trainer.enable_progress_bar", "trainer.log_every", "loader.batch_size")
SHORT = [item for item in SHORT if not item.startswith(OTHERWISE)]
FOUR = [
    *SHORT,
    *SHAPES,
    "loader.batch_size=16",
    "modality=t2t",
    "algo=dpo",
    "trainer.max_steps=4",
    "trainer.log_every_n_steps=2",
]
LINE = re.compile(r"step \d+/4  loss [\d.]+  accuracy [\d.]+  margin [-\d.e]+  [\d.]+ prompts/s  \d\d:\d\d left")


def steps(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("step ")]


@pytest.fixture(scope="module")
def piped(tmp_path_factory):
    """The folder of a run of the real command, and (exit code, stdout, stderr)."""
    folder = tmp_path_factory.mktemp("piped")
    return folder, call(RUN, *FOUR, f"hydra.run.dir={folder}")


def check_piped(folder, code, out, err):
    assert code == 0, err
    assert err == ""
    said = steps(out)
    assert [line.split()[1] for line in said] == ["2/4", "4/4"]
    assert all(LINE.fullmatch(line) for line in said)
    assert said[-1].endswith("00:00 left")
    assert (folder / "train.log").read_text().splitlines() == said
    others = [line.split()[0] for line in out.splitlines() if line and line not in said and line[0] not in "┏┃┡│└"]
    assert others == ["tiny:qwen2:", "algo.nll=1.0", "run", "held", "report", "export", "next"]


def test_a_piped_run_says_a_line_per_logged_step_and_nothing_besides_its_own_words(piped):
    folder, said = piped
    check_piped(folder, *said)


def test_the_speed_that_is_told_is_that_of_the_rows_that_were_read(piped):
    """Between the two lines lie two steps of 16 rows, and by the log of metrics no more than twice the time of theirs."""
    folder, (_, out, _) = piped
    with (folder / "metrics.csv").open() as file:
        measured = [
            float(row["throughput/prompts_per_s"]) for row in csv.DictReader(file) if row["throughput/prompts_per_s"]
        ]
    told = float(re.search(r"([\d.]+) prompts/s", steps(out)[-1])[1])
    assert 0.4 < told / measured[-1] < 2.5


def test_a_piped_run_of_two_processes_says_what_one_does(tmp_path):
    check_piped(tmp_path, *call(RUN, *FOUR, "strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path}"))


def test_what_is_typed_next_says_nothing_on_the_side_either(piped, tmp_path):
    typed = [f"run={piped[0]}", f"output={tmp_path}"]
    code, _, err = forked.call("aa_lightning.generate", *typed, "prompt=What?", "max_new_tokens=4")
    assert (code, err) == (0, "")
    code, _, err = forked.call("aa_lightning.evaluate", *typed)
    assert (code, err) == (0, "")


def test_with_progress_off_the_lines_are_in_the_file_alone(tmp_path):
    typed = [*FOUR, "trainer.enable_progress_bar=false", f"hydra.run.dir={tmp_path}"]
    code, out, err = forked.call("aa_lightning.train", *typed)
    assert (code, err, steps(out)) == (0, "", [])
    assert len(steps((tmp_path / "train.log").read_text())) == 2


def test_a_terminal_gets_a_bar_and_the_file_its_lines(tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    run = forked.Command("aa_lightning.train", [*FOUR, f"hydra.run.dir={tmp_path}"], terminal=os.ttyname(theirs))
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    out, _ = run.communicate()
    assert run.returncode == 0
    assert b"training: 100%" in drawn and b"4/4" in drawn
    assert steps(out) == []
    assert len(steps((tmp_path / "train.log").read_text())) == 2


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_the_same_file(tmp_path):
    typed = [*FOUR, f"hydra.run.dir={tmp_path}"]
    assert call(RUN, *typed, "trainer.max_steps=2")[0] == 0
    code, _, err = call(RUN, f"resume={tmp_path}", "trainer.max_steps=4")
    assert code == 0, err
    told = [line.split()[1] for line in (tmp_path / "train.log").read_text().splitlines()]
    assert told == ["2/2", "4/4"]
