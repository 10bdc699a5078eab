"""Two commands at once: each has a folder of its own, or the second is refused or waits, and says for whom."""

import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool

import pytest

from aa_lightning.configuration.wording import ConfigError
from aa_lightning.runs.folders import hold, holding, new_folder, release
from aa_lightning.system.atomic import write_text, written
from aa_lightning.system.cache import cache_root, made_once
from aa_lightning.system.locks import Busy, Lock
from tests.reliability.forked import session_of
from tests.reliability.lives import RUN, Place, cache_beside, check_equal, check_left

# ---------------------------------------------------------------- folders and locks


def test_of_many_runs_of_one_second_each_gets_a_folder_of_its_own(tmp_path):
    made = ThreadPool(8).map(lambda _: new_folder(tmp_path / "day" / "12-00-00_dpo"), range(24))
    assert sorted(path.name for path in made) == sorted(["12-00-00_dpo", *(f"12-00-00_dpo_{n}" for n in range(2, 25))])


HOLDER = """
import sys, time
from pathlib import Path
from aa_lightning.system.locks import Lock
Lock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A lock that another process holds, and that process."""
    path = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_a_folder_that_another_process_writes_is_refused_and_that_process_is_named(held, tmp_path):
    _, process = held
    with pytest.raises(
        ConfigError, match=rf"(?s)written by another run \(process {process.pid} on .* since 20.*type: "
    ):
        hold(tmp_path)


def test_a_process_that_is_gone_holds_nothing_and_what_it_left_unfinished_goes(held, tmp_path):
    path, process = held
    (tmp_path / "checkpoints").mkdir()
    left = [".summary.json.1.part", "checkpoints/step_00000003.partial", ".export.partial"]
    for name in left:
        (tmp_path / name).write_text("half")
    (tmp_path / "checkpoints" / "step_00000002.ckpt").write_text("whole")
    process.kill()
    process.wait()
    assert path.is_file()
    with holding(tmp_path):
        assert [str(file.relative_to(tmp_path)) for file in sorted(tmp_path.rglob("*")) if file.is_file()] == [
            ".lock",
            "checkpoints/step_00000002.ckpt",
        ]
    assert not path.exists()


def test_a_folder_that_this_process_holds_can_be_held_again_inside(tmp_path):
    hold(tmp_path)
    with holding(tmp_path):
        pass
    assert (tmp_path / ".lock").is_file()
    release(tmp_path)
    assert not (tmp_path / ".lock").exists()


def test_a_lock_that_is_a_link_leads_nowhere(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        Lock(tmp_path / ".lock").take()
    assert (tmp_path / "precious").read_text() == "kept"


def test_who_waits_is_told_for_whom_and_takes_over_from_one_that_died(held):
    path, process = held
    told = []
    pool = ThreadPool(1)
    waiting = pool.apply_async(lambda: Lock(path).take(told.append))
    time.sleep(0.3)
    assert not waiting.ready()
    process.kill()
    waiting.get(timeout=10)
    assert re.match(rf"process {process.pid} on ", told[0])


def test_what_is_made_once_is_made_once(tmp_path):
    made, waited = [], []

    def make(workshop):
        made.append(workshop)
        time.sleep(0.2)
        (workshop / "content").write_text("whole")

    found = ThreadPool(6).map(lambda _: made_once(tmp_path / "thing", make, waited.append), range(6))
    assert {(path / "content").read_text() for path in found} == {"whole"}
    assert len(made) == 1
    assert waited
    assert sorted(path.name for path in tmp_path.iterdir()) == [".thing.json", "thing"]


def test_what_could_not_be_made_is_made_anew_and_abandoned_workshops_go(tmp_path):
    (tmp_path / ".other.partial").mkdir()
    with pytest.raises(ValueError, match="no"):
        made_once(tmp_path / "thing", lambda workshop: (_ for _ in ()).throw(ValueError("no")))
    assert not (tmp_path / "thing").exists()
    assert not (tmp_path / ".other.partial").exists()
    assert made_once(tmp_path / "thing", lambda workshop: (workshop / "content").touch()).is_dir()


def test_a_file_is_whole_or_what_it_was(tmp_path):
    target = tmp_path / "summary.json"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), written(target) as file:
        file.write(b"new")
        _ = 1 / 0
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    with written(tmp_path / "one") as file:
        file.write(b"first")
        code = (
            "from pathlib import Path; from aa_lightning.system.atomic import write_text; write_text(Path('two'), '2')"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "one").read_text() == "first"
    assert (tmp_path / "two").read_text() == "2"


def test_a_lock_that_is_held_is_refused_in_the_same_process_too(tmp_path):
    lock = Lock(tmp_path / "lock")
    lock.take()
    with pytest.raises(Busy, match=f"process {os.getpid()} on "):
        Lock(tmp_path / "lock").take()
    lock.release()


# ---------------------------------------------------------------- commands


@pytest.fixture
def place(tmp_path):
    root = tmp_path / "place"
    root.mkdir()
    return Place(root, cache_beside(cache_root(), root / "cache"))


def ended(*processes):
    """(exit code, stdout, stderr) of each."""
    told = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was alone."""
    root = tmp_path_factory.mktemp("whole")
    place = Place(root, cache_beside(cache_root(), root / "cache"))
    ((code, _, err),) = ended(place.start([*RUN, f"hydra.run.dir={place.run}"]))
    assert code == 0, err
    return place.run


def same_second(place, whole, sweep=False):
    """Two runs, or sweeps, of one command line at once."""
    more = ["-m", "seed=1,2"] if sweep else []
    typed = [*(item for item in RUN if "max_steps" not in item), "trainer.max_steps=3", f"output={place.run}", *more]
    for code, _, err in ended(*(place.start(typed) for _ in range(2))):
        assert code == 0, err
    whole = sorted(path.parent for path in place.run.rglob("summary.json"))
    assert len(whole) == (4 if sweep else 2)
    first, second = (whole[0], whole[2]) if sweep else whole
    check_equal(first, second)
    check_left(place)


def same_resume(place, whole, delay):
    """A run that was killed, gone on with by two at once."""
    first = place.start([*RUN, f"hydra.run.dir={place.run}"])
    while first.poll() is None and not any(place.run.glob("checkpoints/*.ckpt")):
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    one = place.start([f"resume={place.run}"])
    time.sleep(delay)
    results = ended(one, place.start([f"resume={place.run}"]))
    assert sorted(code for code, _, _ in results) == [0, 1]
    (refused,) = [err for code, _, err in results if code]
    assert re.search(r"written by another run \(process \d+ on .* since ", refused)
    assert "type: " in refused and "Traceback" not in refused
    assert not (place.run / "error.txt").exists()
    check_equal(place.run, whole)
    check_left(place)


def same_stage(place, whole, dies):
    """Two runs that start from a stage which the cache lacks; the one that trains it may die."""
    typed = [item for item in RUN if not item.startswith("init=")]
    both = [place.start([*typed, "init=stage:shapes", f"hydra.run.dir={place.run / name}"]) for name in ("a", "b")]
    if dies:
        stages = place.cache / "stages"
        while not list(stages.glob(".*.partial/stage.yaml")):
            time.sleep(0.02)
        (lock,) = stages.glob(".*.lock")
        time.sleep(0.5)
        holder = int(re.search(r'"pid": (\d+)', lock.read_text())[1])
        os.kill(holder, signal.SIGKILL)
        end = time.monotonic() + 5
        while session_of(holder) and time.monotonic() < end:
            time.sleep(0.05)
        assert not session_of(holder)
    results = ended(*both)
    out = "".join(out for _, out, _ in results)
    assert sorted(code for code, _, _ in results) == ([-9, 0] if dies else [0, 0]), results
    assert out.count("training this stage once") == (2 if dies else 1)
    assert re.search(r"process \d+ on .* is training this stage; this run waits for it", out)
    (stage,) = (path.name for path in (place.cache / "stages").iterdir() if path.is_dir())
    assert {path.name for path in (place.cache / "stages").iterdir()} == {stage, f".{stage}.json"}


def test_two_resumes_of_one_run_never_write_at_once(place, whole):
    same_resume(place, whole, 0.0)


PAIRS = [
    *(pytest.param(same_second, sweep, id=f"same-second-{n}") for n, sweep in enumerate([False] * 5 + [True] * 2)),
    *(
        pytest.param(same_resume, delay, id=f"same-resume-{delay}")
        for delay in (0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 1.0, 1.3)
    ),
    *(pytest.param(same_stage, dies, id=f"same-stage-{n}") for n, dies in enumerate([False, False, False, True, True])),
]


@pytest.mark.slow
@pytest.mark.parametrize(("pair", "how"), PAIRS)
def test_twenty_pairs_lose_nothing(pair, how, place, whole):
    pair(place, whole, how)
