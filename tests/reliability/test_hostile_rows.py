"""Rows and media from strangers: each is served or named with a reason, in seconds and bounded memory, and ends nothing."""

from __future__ import annotations

import os
import resource
import time
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from aa_lightning.data.examples import load_examples
from aa_lightning.data.options import DataOptions
from aa_lightning.data.template.schema import TemplateOptions
from data.support import options_named

from .hostile import MAPPINGS, Hostile, bomb, draw
from .hostile_media import BOMBS

FEW, MANY = 100, 1000
SECONDS, MEGABYTES = 10.0, 500.0  # of computing for any one, the guarded process with it
PATIENCE = 60.0  # seconds on a machine that does other things too


@dataclass
class Reading:
    """What became of a data set: which rows are served and which are named, and what it took."""

    hostile: Hostile
    rows: int
    served: set[int]
    named: dict[int, str]
    seconds: float
    waited: float
    megabytes: float


def read(hostile: Hostile) -> Reading:
    """All rows of a data set, decoded; fails by whatever a row may not do."""
    template = (
        None if hostile.mapping is None else TypeAdapter(TemplateOptions).validate_python(MAPPINGS[hostile.mapping])
    )
    options = options_named(
        "local", f"train.path={hostile.path}", "val_share=null", "on_bad_row=skip", "verify_media=true"
    )
    options = replace(options, template=template, train=replace(options.train, **hostile.settings))
    before, start, used = peaks(), time.perf_counter(), computing()
    rows, served, named = accounted(options, hostile.wanted)
    waited, used, after = time.perf_counter() - start, computing() - used, peaks(reset=False)
    grown = sum(after[process] - before.get(process, 0) for process in after)
    return Reading(hostile, rows, served, named, used, waited, grown / 1e6)


def accounted(options: DataOptions, wanted: str) -> tuple[int, set[int], dict[int, str]]:
    """How many rows there are, which of them are served, and why the others are not."""
    try:
        examples = load_examples(options, "train", wanted)
    except ValueError as error:
        if "rows is left. Row 0" not in str(error):
            raise
        return 1, set(), {0: str(error)}
    named = {int(left_out.row): left_out.reason for left_out in examples.dropped}
    return len(examples.source), {*examples._row}, named


def children() -> list[int]:
    return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def computing() -> float:
    """Seconds that this process and its children have computed, those that ended with them."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split() for child in children()]
    alive = sum(int(ticks) for fields in told for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + ended.ru_utime + ended.ru_stime + alive


def peaks(reset: bool = True) -> dict[int, int]:
    """The most bytes that this process and each of its children had in memory since they were last asked."""
    found = {}
    for process in [os.getpid(), *children()]:
        folder = Path(f"/proc/{process}")
        if reset:
            (folder / "clear_refs").write_text("5")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        found[process] = int(status["VmHWM"].split()[0]) * 1024 if "VmHWM" in status else 0
    return found


def check(reading: Reading) -> None:
    told = reading.hostile.told
    assert reading.served | reading.named.keys() == set(range(reading.rows)), told
    assert not reading.served & reading.named.keys(), told
    assert not (reading.hostile.leads_out and 1 in reading.served), told
    assert all(len(reason) > 10 for reason in reading.named.values()), told
    assert reading.seconds <= SECONDS, told
    assert reading.waited <= PATIENCE, told
    assert reading.megabytes <= MEGABYTES, told


def read_all(seeds: range, folder: Path) -> list[Reading]:
    readings = []
    with warnings.catch_warnings(action="error", category=RuntimeWarning):
        for seed in seeds:
            readings.append(read(draw(seed, folder / str(seed))))
            check(readings[-1])
    return readings


def said(readings: list[Reading]) -> str:
    slowest, largest = (max(readings, key=key) for key in (lambda r: r.seconds, lambda r: r.megabytes))
    middle = Counter("served" if 1 in reading.served else "named" for reading in readings)
    return (
        f"{len(readings)} read: {dict(middle)}; slowest {slowest.seconds:.2f} s ({slowest.hostile.told}); "
        f"largest {largest.megabytes:.0f} MB ({largest.hostile.told})"
    )


def test_a_hundred_hostile_rows_are_served_or_named(tmp_path):
    print(said(read_all(range(FEW), tmp_path)))


@pytest.mark.slow
def test_a_thousand_hostile_rows_are_served_or_named(tmp_path):
    print(said(read_all(range(MANY), tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_is_large_once_it_is_decoded_stays_within_the_limits(name, tmp_path):
    reading = read(bomb(name, tmp_path / "bomb"))
    print(said([reading]), reading.named.get(1))
    check(reading)
