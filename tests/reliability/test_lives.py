"""Two hundred kills: of runs alone, in checkpoints, in exports, with data workers, on two processes, in stages, in the
index of a shard, in sweeps. Each goes on to the bit, and leaves nothing."""

import random
import shutil
import time
from collections import Counter

import pytest

from aa_lightning.system.cache import cache_root
from tests.reliability.lives import (
    SIGNALS,
    Place,
    cache_beside,
    check_code,
    check_equal,
    check_left,
    go_on,
    kill_in,
    typed,
    write_shard,
)

COUNTS = {"alone": 110, "checkpoint": 22, "export": 18, "workers": 8, "two": 8, "stage": 8, "shards": 14, "sweep": 12}
FEW = {"alone": 6, "checkpoint": 2, "export": 1, "shards": 2}


class Wholes:
    """Runs that nobody kills, one of each kind, and how long they take."""

    def __init__(self, root):
        self.root, self._made = root, {}
        self.shard = write_shard(root / "rows.tar")

    def of(self, kind):
        """(folder, seconds): what others are compared with, and what they take once all is in the cache that they have."""
        like = "alone" if kind in ("checkpoint", "export") else kind
        if like not in self._made:
            self._live(like, "first")  # fills the cache of tiny models
            self._made[like] = self._live(like, "whole")
        return self._made[like]

    def place(self, name):
        root = self.root / name
        root.mkdir()
        return Place(root, cache_beside(cache_root(), root / "cache"))

    def _live(self, kind, name):
        place, began = self.place(f"{kind}-{name}"), time.monotonic()
        process = place.start(typed(kind, place, self.shard))
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return place.run, time.monotonic() - began


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    return Wholes(tmp_path_factory.mktemp("wholes"))


def survive(kind, number, wholes):
    """One kill; the exit code. A command that had ended before is begun again and killed earlier."""
    whole, lasts = wholes.of(kind)
    draw, signal_number = random.Random(f"{kind} {number}"), SIGNALS[number % 3]
    code = 0
    while code == 0:
        place = wholes.place(f"{kind}-{number}-{lasts:.3f}")
        code, err, sent = kill_in(kind, place, wholes.shard, lasts, draw, signal_number)
        lasts *= 0.8
    print(f"{kind} {number}: {signal_number.name} after {sent:.2f} s, exit code {code}", flush=True)
    check_code(code, signal_number, err)
    go_on(kind, place, wholes.shard)
    if place.run.is_dir():
        check_left(place)
    jobs = sorted(path.parent for path in place.run.glob("*/export")) if kind == "sweep" else [place.run]
    for job in jobs:
        check_equal(job, whole / job.name if kind == "sweep" else whole)
    shutil.rmtree(place.root)
    return code


@pytest.mark.parametrize("kind", FEW)
def test_a_command_that_is_killed_anywhere_goes_on_to_the_bit_and_leaves_nothing(kind, wholes):
    for number in range(FEW[kind]):
        survive(kind, number, wholes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_two_hundred_kills(kind, wholes):
    codes = Counter(survive(kind, number, wholes) for number in range(COUNTS[kind]))
    print(f"{kind}: {COUNTS[kind]} kills, exit codes {dict(codes)}", flush=True)
