"""Two hundred kills: of runs alone, in checkpoints, in exports, with data workers, on two processes, in stages, in the
index of a shard, in sweeps. Each goes on to the bit, and leaves nothing."""

import random
import shutil
import signal
import time
from collections import Counter
from functools import partial

import pytest

from aa_lightning.system.cache import cache_root
from tests.reliability.lives import (
    SIGNALS,
    Place,
    cache_beside,
    check_code,
    check_equal,
    check_left,
    drawn_moment,
    go_on,
    kill_at,
    named_moment,
    typed,
    write_shard,
)

COUNTS = {"alone": 110, "checkpoint": 22, "export": 18, "workers": 8, "two": 8, "stage": 8, "shards": 14, "sweep": 12}
NAMED = {"alone": signal.SIGKILL, "checkpoint": signal.SIGTERM, "export": signal.SIGINT, "shards": signal.SIGKILL}


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


def survive(kind, number, wholes, signal_number, moment_of):
    """One kill; the exit code. A command that had ended before is begun again."""
    whole, lasts = wholes.of(kind)
    code = 0
    while code == 0:
        place = wholes.place(f"{kind}-{number}-{lasts:.3f}")
        code, err, sent = kill_at(moment_of(place, lasts), kind, place, wholes.shard, signal_number)
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


@pytest.mark.parametrize("kind", NAMED)
def test_a_command_that_is_killed_while_it_writes_goes_on_to_the_bit_and_leaves_nothing(kind, wholes):
    survive(kind, "named", wholes, NAMED[kind], lambda place, lasts: named_moment(kind, place))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_two_hundred_kills(kind, wholes):
    codes = Counter()
    for number in range(COUNTS[kind]):
        draw = random.Random(f"{kind} {number}")
        moment_of = partial(drawn_moment, kind, draw=draw)
        codes[survive(kind, number, wholes, SIGNALS[number % 3], moment_of)] += 1
    print(f"{kind}: {COUNTS[kind]} kills, exit codes {dict(codes)}", flush=True)
