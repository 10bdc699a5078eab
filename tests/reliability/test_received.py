"""A run folder from a stranger is data: through every command that reads one, nothing of it runs and nothing is written
elsewhere, and what asks for more is refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from pathlib import Path

import pytest

from aa_lightning import check, evaluate, generate, report, train
from aa_lightning.report.__main__ import main as report_main
from aa_lightning.report.sweep import write_sweep
from aa_lightning.runs.reader import differences, find_runs, frame
from tests.reliability.strangers import PLANTED, SECRET, STRANGERS, Place, Stranger
from tests.reliability.support import TINY

MODEL = ["modality=t2t", "model=tiny_llama"]
ALL = ("evaluate", "generate", "resume", "init", "check", "report", "notebook")


def called(main, *argv: str) -> tuple[int, str]:
    """Exit code and everything printed of a command."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", ["command", *argv])
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), said.getvalue()


def notebook(run: Path) -> int:
    """What a notebook does with runs, one after another; an error of ours is told like that of a command."""
    try:
        runs = find_runs(run)
        frame(runs), differences([*runs, *runs]), report.write_report(run), write_sweep(run.parent)
    except ValueError as error:
        print(f"error: {error}")
        return 1
    return 0


def answer(command: str, run: Path) -> tuple[int, str]:
    """What a command says of a run folder."""
    short = [item for item in TINY if item != "init=null"]
    commands = {
        "evaluate": lambda: called(evaluate.main, f"run={run}"),
        "generate": lambda: called(generate.main, f"run={run}", "prompt=Which shapes are there?", "max_new_tokens=2"),
        "resume": lambda: called(train.main, f"resume={run}", "trainer.max_steps=3"),
        "init": lambda: called(train.main, *MODEL, *short, "trainer.max_steps=1", f"init={run}"),
        "check": lambda: called(check.main, *MODEL, *short, f"init={run}"),
        "report": lambda: called(report_main, str(run)),
        "notebook": lambda: called(lambda: notebook(run)),
    }
    return commands[command]()


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """A run folder as the command leaves it."""
    folder = tmp_path_factory.mktemp("honest") / "run"
    code, said = called(train.main, *MODEL, *TINY, "checkpoint.every_n_steps=1", f"hydra.run.dir={folder}")
    assert code == 0, said
    (folder / "metrics.csv").write_text("step,epoch,train/loss\n1,0,0.7\n2,0,0.6\n")  # curves take their time
    return folder


@pytest.fixture
def place(honest, tmp_path, monkeypatch) -> Place:
    """A copy of it, a module in the folder where commands are typed, which leaves a marker, and a secret."""
    found = Place(tmp_path / "received" / "run", tmp_path / "outside", tmp_path / "marker")
    shutil.copytree(honest, found.run)
    found.outside.mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "planted.py").write_text(PLANTED.format(marker=str(found.marker)))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "work")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv(SECRET, "1234567")
    return found


def files(*folders: Path) -> dict[Path, tuple[float, int]]:
    """What lies in folders, links not followed."""
    there = [path for folder in folders for path in folder.rglob("*")]
    return {path: (path.lstat().st_mtime, path.lstat().st_size) for path in there if not path.is_dir()}


def walk(place: Place, stranger: Stranger, command: str) -> None:
    """Run a command over a folder, and look at what it did."""
    sys.modules.pop("planted", None)
    writes = command in ("resume", "report", "notebook")  # into the folder that is named
    watched = [place.outside, *([] if writes else [place.run])]
    before = files(*watched)
    code, said = answer(command, place.run)
    about = f"{stranger.name}, {command}: {said[-700:]}"
    assert not place.marker.exists(), about
    assert files(*watched) == before, about
    assert "1234567" not in said and "Traceback" not in said, about
    assert {path.name for path in Path.cwd().iterdir()} <= {"planted.py", "outputs"}, about
    if command in stranger.commands:
        assert code == int(stranger.refused), about
    if code:
        told = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(told) == 1, about


NAMES = [stranger.name for stranger in STRANGERS]
LONG = [one.name for one in STRANGERS if not one.refused or one.name.startswith("export")]  # by whole runs
SHORTEST = [
    "typed: where it writes",
    "export: another model",
    "export: pickled weights",
    "export: an adapter of a module",
]
QUICK = [
    pytest.param(one, marks=pytest.mark.slow if one.name in {*LONG} - {*SHORTEST} else [], id=one.name)
    for one in STRANGERS
]


def test_there_are_sixty_strangers():
    assert len(set(NAMES)) == len(NAMES) >= 60


@pytest.mark.parametrize("stranger", QUICK)
def test_a_stranger_s_folder_runs_nothing_and_writes_nowhere_else(place, stranger):
    """By the commands that it is about."""
    stranger.spoil(place)
    for command in stranger.commands:
        walk(place, stranger, command)


@pytest.mark.slow
@pytest.mark.parametrize("stranger", STRANGERS, ids=NAMES)
def test_a_stranger_s_folder_runs_nothing_in_any_command(honest, place, stranger):
    """Each time anew, as a run that goes on writes its export and settings again."""
    for command in ALL:
        for folder in (place.run, place.outside):
            shutil.rmtree(folder)
        shutil.copytree(honest, place.run)
        place.outside.mkdir()
        stranger.spoil(place)
        walk(place, stranger, command)


@pytest.mark.slow
@pytest.mark.parametrize("command", ALL)
def test_an_honest_folder_serves_every_command(place, command):
    code, said = answer(command, place.run)
    assert code == 0, said
