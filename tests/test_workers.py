"""loader.workers=auto: as many processes read ahead as the first steps say are needed, and the same rows come."""

import pytest

from aa_lightning.assembly.options import options_of
from aa_lightning.data.kept import Kept
from aa_lightning.training import loader, pace
from aa_lightning.training.datamodule import EncodedExamples
from aa_lightning.training.loader import TrainLoader
from aa_lightning.training.pace import Pace
from tests.contract.support import make


@pytest.fixture
def cores(monkeypatch):
    """Eight of them."""
    monkeypatch.setattr(pace, "cores", lambda: 8)


def measured(reading, training, unread=None, rows=4):
    """A pace that has seen a slow first window and three alike."""
    found, begun = Pace(lambda: unread, lambda workers: begun.append(workers)), []
    found.add(rows, 100.0, 0.1)
    for _ in range(3):
        assert found.workers(1) is None
        found.add(rows, reading, training)
    return found, begun


@pytest.mark.parametrize(
    ("reading", "training", "processes", "workers"),
    [
        (0.04, 1.0, 1, 0),  # less than a twentieth of a step
        (0.5, 1.0, 1, 1),
        (2.0, 1.0, 1, 3),  # 2 · 1.25, rounded up
        (90.0, 1.0, 1, 7),  # all cores but the one that trains
        (90.0, 1.0, 2, 3),  # of four cores each
        (90.0, 1.0, 8, 0),
    ],
)
def test_workers_read_as_fast_as_rows_are_trained_on_and_never_take_the_last_core(
    cores, reading, training, processes, workers
):
    found, begun = measured(reading, training)
    assert found.workers(processes) == workers
    assert begun == [workers] * (workers > 0)


@pytest.mark.parametrize(("unread", "workers"), [(200, 0), (300, 2)])
def test_rows_that_are_soon_in_memory_need_nobody(cores, unread, workers):
    """A row takes 0.5 / 4 s: 200 of them 25 s, 300 of them 37.5 s."""
    assert measured(0.5, 0.4, unread)[0].workers(1) == workers


def test_the_same_rows_come_before_and_after_workers_begin_and_after_a_resume(monkeypatch):
    class After:
        def __init__(self, windows):
            self.left = windows

        def add(self, rows, reading, training):
            assert (rows, training >= 0) == (4, True)
            self.left -= 1

        def workers(self, processes):
            return None if self.left else 1

    monkeypatch.setattr(loader, "rank_of_processes", lambda: (0, 1))
    options = {"batch_size": 4, "micro_batch_size": 2, "seed": 3, "count": len}
    plain = TrainLoader(range(23), list, **options)
    expected = [batch for _ in range(2) for batch, _ in plain]
    paced = TrainLoader(range(23), list, **options, pace=After(2))
    before = [batch for batch, _ in paced]
    state = paced.state_dict()
    assert before + [batch for batch, _ in paced] == expected
    resumed = TrainLoader(range(23), list, **options, pace=After(1))
    resumed.load_state_dict(state)
    assert [batch for batch, _ in resumed] == expected[len(before) :]


def test_data_workers_divide_the_room_that_is_left():
    _, _, cfg = make("tiny_llava", "dpo", "loader.cache_mib=8")
    assert options_of(cfg, "loader").workers == "auto"
    assert options_of(cfg, "loader").kept_bytes == 8 * 2**20
    kept = Kept(100)
    kept.offer(0, "row", 40)
    kept.share(3)
    assert kept.limit == 40 + 20


def test_examples_say_how_many_are_not_in_memory_yet_or_that_they_never_will_all_be():
    examples = EncodedExamples(range(10), None, keep=100)
    assert examples.unread is None
    examples.kept.offer(0, "row", 10)
    assert examples.unread == 9
    examples.kept.offer(1, "row", 20)
    assert examples.unread is None  # 15 bytes each, and 100 for ten of them
