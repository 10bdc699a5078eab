"""How ranks end: every one well that has done everything; and one that dies is named, whatever the others say of it."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from aa_lightning.launch.job import _first_error
from aa_lightning.system.processes import WorkersFailed, run_workers
from tests.reliability.forked import Command
from tests.reliability.killing import ranks_of, rows_of
from tests.reliability.support import ROOT, TINY

TWO = ["modality=t2t", "algo=dpo", "trainer.devices=2", "trainer.accelerator=cpu"]
PAIRS = {"ddp": 100, "fsdp": 20, "deepspeed_zero2": 20, "deepspeed_zero3": 20}
GLOO = "RuntimeError: [gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"


# ---------------------------------------------------------------- a rank that has done everything


@pytest.mark.slow
@pytest.mark.parametrize("strategy", PAIRS)
def test_every_pair_of_ranks_that_has_done_everything_ends_well(strategy, tmp_path):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.reliability.exits",
        tmp_path,
        strategy,
        str(PAIRS[strategy]),
    ]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, cwd=ROOT)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    codes = [code for pair in found for code in pair["codes"]]
    print(strategy, f"{codes.count(0)} of {len(codes)} ranks ended with 0")
    assert done.returncode == 0, done.stderr
    assert codes == [0] * 2 * PAIRS[strategy]
    assert all(None not in pair["values"] for pair in found)


ABORTS = "import os, pathlib, sys; pathlib.Path(sys.argv[1], os.environ['RANK']).touch(); os.abort()"


def test_a_rank_that_has_done_everything_is_not_called_failed_for_the_way_it_ends(tmp_path):
    command = [sys.executable, "-c", ABORTS, str(tmp_path)]
    with pytest.raises(WorkersFailed, match="rank . of 2 was ended by SIGABRT"):
        run_workers(command, 2)
    run_workers(command, 2, done=lambda place: (tmp_path / str(place)).exists())


def test_the_others_go_on_when_a_rank_that_has_done_everything_aborts(tmp_path):
    slow = "import os, time; time.sleep(1.5 * (os.environ['RANK'] == '0')); " + ABORTS
    run_workers([sys.executable, "-c", slow, str(tmp_path)], 2, done=lambda place: (tmp_path / str(place)).exists())
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


LEAVES = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from aa_lightning.system.processes import leave
class Last:
    def __del__(self):
        print("finalized")
kept = Last()
pool = ThreadPoolExecutor()
pool.submit(lambda: print("in a thread"))
atexit.register(print, "registered")
sys.stdout.write("unflushed ")
leave(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_rank_leaves_with_all_said_and_done_but_without_finalization(code):
    done = subprocess.run([sys.executable, "-c", LEAVES, str(code)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert all(said in done.stdout for said in ("unflushed", "in a thread", "registered"))
    assert "finalized" not in done.stdout


# ---------------------------------------------------------------- a rank that dies


@pytest.mark.parametrize(
    ("strategy", "place"),
    [("ddp", 1)]
    + [
        pytest.param(strategy, place, marks=pytest.mark.slow)
        for strategy in PAIRS
        for place in (0, 1)
        if (strategy, place) != ("ddp", 1)
    ],
)
def test_a_rank_that_is_killed_is_named_on_every_strategy(strategy, place, tmp_path):
    typed = [*TINY, *TWO, "trainer.max_steps=2000", f"strategy={strategy}", f"hydra.run.dir={tmp_path}"]
    process = Command("aa_lightning.train", typed)
    while process.poll() is None and len(rows_of(tmp_path)) < 3:
        time.sleep(0.05)
    os.kill(sorted(ranks_of(process.pid))[place], signal.SIGKILL)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"error: rank {place} of 2 was ended by SIGKILL" in err
    assert "Traceback" not in err and "gloo" not in err
    assert time.monotonic() - began < 20


def named(tmp_path, codes, *told):
    for place, one in enumerate(told):
        if one is not None:
            own = {"rank": place, "time": place, "expected": True, "story": "", "lost": "gloo" in one, "message": one}
            (tmp_path / f"{place}.json").write_text(json.dumps(own))
    return str(_first_error(tmp_path, WorkersFailed(codes, "ended"), 2))


@pytest.mark.parametrize(
    "case",
    [
        SimpleNamespace(codes={1: -9}, told=(GLOO, None), expected="rank 1 of 2 was ended by SIGKILL"),
        SimpleNamespace(codes={0: 1, 1: -11}, told=("odd", None), expected="rank 1 of 2 was ended by SIGSEGV"),
        SimpleNamespace(codes={0: 1, 1: -6}, told=(GLOO, None), expected="rank 1 of 2 was ended by SIGABRT"),
        SimpleNamespace(codes={0: 1, 1: 7}, told=(GLOO, None), expected="rank 1 of 2 ended with exit code 7"),
        SimpleNamespace(codes={0: 1, 1: -6}, told=("a bad row", None), expected="rank 0 of 2: a bad row"),
        SimpleNamespace(codes={0: 1}, told=(GLOO, "a bad row"), expected="rank 1 of 2: a bad row"),
        SimpleNamespace(codes={0: 1}, told=("a bad row", "later"), expected="rank 0 of 2: a bad row"),
        SimpleNamespace(codes={0: 1}, told=(GLOO, GLOO), expected=f"rank 0 of 2: {GLOO}"),
    ],
    ids=lambda case: f"{case.codes}-{case.expected[:40]}",
)
def test_the_cause_is_told_and_not_what_follows_from_it(case, tmp_path):
    assert named(tmp_path, case.codes, *case.told).startswith(case.expected)


def test_a_data_worker_that_is_killed_is_told_in_a_sentence(tmp_path):
    typed = [*TINY, "modality=t2t", "algo=dpo", "trainer.max_steps=2000", "loader.workers=2"]
    process = Command("aa_lightning.train", [*typed, f"hydra.run.dir={tmp_path}"])
    while process.poll() is None and len(rows_of(tmp_path)) < 3:
        time.sleep(0.05)
    psutil.Process(process.pid).children(recursive=True)[-1].kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: a process that reads rows ahead was ended" in err and "loader.workers=0" in err
    assert "Traceback" not in err
