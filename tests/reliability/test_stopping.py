"""A run that is stopped has a report of the part that ran, and goes on as if nothing had been."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aa_lightning import train
from aa_lightning.assembly import results
from aa_lightning.configuration.compose import compose
from tests.reliability import forked
from tests.reliability.killing import RUN, check_same, finish, live_until
from tests.reliability.support import TINY, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stops."""
    folder = tmp_path_factory.mktemp("whole")
    code, _, err = forked.call("aa_lightning.train", *RUN, f"hydra.run.dir={folder}")
    assert code == 0, err
    return folder


SIGNALS = [pytest.param(signal.SIGINT, id="ctrl-c"), pytest.param(signal.SIGTERM, id="sigterm", marks=pytest.mark.slow)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stopped_run_has_a_report_of_its_part_and_resumes_to_the_bit(number, whole, tmp_path):
    life = live_until(tmp_path, [*RUN, f"hydra.run.dir={tmp_path}"], 9, 0.0, number)
    assert life.code == 128 + number
    assert "stopped. " in life.stderr and f"resume={tmp_path}" in life.stderr and "Traceback" not in life.stderr
    page = (tmp_path / "report.html").read_text()
    assert "unfinished" in page and "train/loss" in page
    assert f"{life.logged:,} steps" in page
    assert not (tmp_path / "summary.json").exists()
    finish(tmp_path)
    check_same(tmp_path, whole)
    assert "unfinished" not in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_two_processes_that_are_stopped_leave_a_report_too(tmp_path):
    typed = [*RUN, "strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path}"]
    life = live_until(tmp_path, typed, 5, 0.0, signal.SIGINT)
    assert life.code == 130
    assert "unfinished" in (tmp_path / "report.html").read_text()


@pytest.fixture
def stopped(monkeypatch):
    """Training that a Ctrl-C ends as Lightning ends it: deaf to a second one, with an exit."""

    def fit(*args, **settings):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)

    monkeypatch.setattr("lightning.Trainer.fit", fit)
    heard = signal.getsignal(signal.SIGINT)
    yield SimpleNamespace(cfg=compose([*TINY, "modality=t2t", "algo=dpo"]))
    signal.signal(signal.SIGINT, heard)


def test_a_second_ctrl_c_is_heard_while_the_report_is_written(stopped, monkeypatch, tmp_path):
    def interrupted(folder):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(results, "write_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.train(stopped.cfg, tmp_path)


def test_a_disk_that_is_full_hides_nothing(stopped, monkeypatch, tmp_path):
    def full(folder: Path):
        raise OSError("no space left")

    monkeypatch.setattr(results, "write_report", full)
    with pytest.raises(SystemExit):
        train.train(stopped.cfg, tmp_path)


def test_a_stage_that_is_stopped_on_the_way_writes_no_report(stopped, tmp_path):
    with pytest.raises(SystemExit):
        train.train(stopped.cfg, tmp_path, tell=False)
    assert not (tmp_path / "report.html").exists()


LISTENER = """
import sys, time, zipfile
from aa_lightning.system import signals

class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(0.5)

signals.listen()
if sys.argv[1] == "in a finalizer":
    Slow()
if sys.argv[1] == "in an archive":
    with open(sys.argv[2], "wb") as file:
        archive = zipfile.ZipFile(file, "w")  # is finalized after its file was closed
        archive.writestr("rows", b"1")
        print("ready", flush=True)
        time.sleep(30)
signals.keep(sys.argv[1] == "kept")
print("ready", flush=True)
time.sleep(30)
"""


def heard(where, *numbers, path=os.devnull):
    """Exit code, seconds and stderr of a process that is sent these signals, one by one."""
    process = start([sys.executable, "-c", LISTENER], where, path)
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for number in numbers:
        time.sleep(0.1)
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - began, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["anywhere", "in a finalizer", "in an archive"])
def test_a_signal_ends_a_process_by_its_exit_code_and_without_a_traceback(where, number, tmp_path):
    code, seconds, err = heard(where, number, path=str(tmp_path / "rows.zip"))
    assert (code, err) == (128 + number, "")
    assert seconds < 10


def test_a_second_ctrl_c_ends_at_once_what_a_first_one_shall_not_interrupt():
    code, seconds, err = heard("kept", signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
    assert code == 130 and seconds < 10
    assert "stopping after this step and its checkpoint; Ctrl-C again ends at once" in err
