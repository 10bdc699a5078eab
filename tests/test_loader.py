"""Loaders: a place in the data that is found again exactly, and a step that every division of it leaves the same."""

from dataclasses import dataclass
from itertools import chain

import pytest
import torch

from aa_lightning.configuration.check import split_batch
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.training import loader as loaders
from aa_lightning.training.loader import EvalLoader, TrainLoader


@dataclass
class Rows:
    """A batch of row numbers."""

    rows: list[int]


def train(size=23, batch_size=4, **options):
    return TrainLoader(list(range(size)), Rows, batch_size=batch_size, **options)


def rows(loader, epochs=1):
    return [batch.rows for _ in range(epochs) for batch, _ in loader]


@pytest.fixture
def place(monkeypatch):
    """Pretend to be one rank of several."""

    def set_place(rank, world):
        monkeypatch.setattr(loaders, "rank_of_processes", lambda: (rank, world))

    return set_place


def test_an_epoch_hands_out_every_row_once_but_for_the_tail_that_fills_no_step():
    seen = [row for batch in rows(train()) for row in batch]
    assert len(seen) == 20 == len(set(seen))


def test_epochs_differ_in_order_and_the_same_seed_repeats_them():
    first, second = rows(train(seed=5)), rows(train(seed=5), epochs=2)
    assert second[:5] == first
    assert second[5:] != first
    assert rows(train(seed=6)) != first


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", [1, 3, 5, 7])
def test_a_loader_resumed_after_any_batch_continues_with_the_next_one(cut, workers):
    """5 batches an epoch: 7 batches stand in the second epoch, 5 at the end of the first. With workers more batches
    were fetched than handed out."""
    expected = rows(train(seed=1), epochs=3)
    first = train(seed=1, workers=workers)
    handed_out = []
    while len(handed_out) < cut:
        for batch, _ in first:
            handed_out.append(batch.rows)
            if len(handed_out) == cut:
                break
    second = train(seed=1, workers=workers)
    second.load_state_dict(first.state_dict())
    rest = rows(second, epochs=2)
    assert handed_out + rest == expected[: cut + len(rest)]
    assert len(rest) == (5 - cut % 5) % 5 + (10 if cut % 5 == 0 else 5)


def test_starting_an_epoch_draws_nothing_from_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rows(train(workers=1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("world", "micro"), [(1, 8), (1, 2), (2, 4), (2, 1), (4, 2)])
def test_a_step_holds_the_same_rows_however_it_is_divided(place, world, micro):
    place(0, 1)
    whole = [set(batch) for batch in rows(train(batch_size=8, seed=2))]
    steps = [set() for _ in whole]
    for rank in range(world):
        place(rank, world)
        loader = train(batch_size=8, micro_batch_size=micro, seed=2)
        assert loader.accumulate == 8 // micro // world
        for k, batch in enumerate(rows(loader)):
            assert len(batch) == micro
            steps[k // loader.accumulate] |= set(batch)
    assert steps == whole


def test_a_run_continues_on_another_number_of_processes_at_the_same_prompt(place):
    place(1, 2)
    first = train(batch_size=8, micro_batch_size=2, seed=3)
    iterator = iter(first)
    next(iterator), next(iterator)  # 2 micro-batches of 2 prompts on 2 processes: one step of 8
    state = first.state_dict()
    assert state["prompts"] == 8
    place(0, 1)
    second = train(batch_size=8, seed=3)
    expected = rows(train(batch_size=8, seed=3))[1:]
    second.load_state_dict(state)
    assert rows(second) == expected


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("steps", [0, 2, 5, 7, 30])
def test_a_plan_of_reading_once_has_every_row_that_so_many_steps_visit_in_the_batches_that_bring_it_first(
    place, world, steps
):
    """Of 23 rows, 5 steps of 4 an epoch; in 30 steps every row is met, and the plan is not read to its end."""
    visited, planned, passes = set(), set(), set()
    for rank in range(world):
        place(rank, world)
        trained = rows(train(micro_batch_size=2, seed=2), epochs=6)[: steps * (2 // world)]
        plan = train(micro_batch_size=2, seed=2).once(steps)
        assert plan[: 10 // world] == trained[: 10 // world]
        assert all(batch in trained for batch in plan)
        visited.update(*trained)
        planned.update(*plan)
        passes.add(len(plan))
    assert planned == visited
    assert len(passes) == 1  # sharded ranks read together
    assert passes.pop() <= 15


def test_batches_of_a_plan_leave_the_place_in_the_data(place):
    expected, loader = rows(train(seed=2), epochs=2), train(seed=2)
    assert [batch.rows for batch in loader.fetch([[3, 1], [2]])] == [[3, 1], [2]]
    assert rows(loader, epochs=2) == expected


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_each_micro_batch_knows_the_supervised_terms_of_its_whole_window_even_after_a_cut(cut):
    """The count of a batch is the sum of its row numbers; a window is 2 micro-batches of 2 rows."""
    options = {"batch_size": 4, "micro_batch_size": 2, "seed": 4, "count": lambda batch: float(sum(batch.rows))}
    whole = list(train(**options))
    counts = [sum(batch.rows) for batch, _ in whole]
    expected = [counts[k - k % 2] + counts[k - k % 2 + 1] for k in range(len(whole))]
    assert [terms.item() for _, terms in whole] == expected
    resumed = train(**options)
    resumed.load_state_dict({**resumed.state_dict(), "prompts": 2 * cut})
    rest = list(resumed)
    assert [batch.rows for batch, _ in rest] == [batch.rows for batch, _ in whole[cut:]]
    assert [terms.item() for _, terms in rest] == expected[cut:]


def test_batches_of_similar_length_hold_the_same_rows_with_less_padding():
    """Row number = length. Padding of a batch = its longest row times its size, minus the rows."""

    def padding(batches):
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    mixed = rows(train(size=400, batch_size=8, seed=1))
    alike = rows(train(size=400, batch_size=8, seed=1, lengths=range(400)))
    assert sorted(chain(*alike)) == sorted(chain(*mixed))
    assert padding(alike) < 0.05 * padding(mixed)
    assert [max(batch) for batch in alike] != sorted(max(batch) for batch in alike)


def test_another_seed_or_data_set_or_batch_size_is_refused_on_resume():
    state = train(seed=1).state_dict()
    for other in (train(seed=2), train(size=30, seed=1), train(batch_size=2, seed=1)):
        with pytest.raises(ConfigError, match="cannot be continued exactly\ntype: the settings of the first run"):
            other.load_state_dict(state)


def test_data_smaller_than_one_step_says_what_to_type():
    with pytest.raises(ConfigError, match="has 3 examples, fewer .* loader.batch_size=8\ntype: loader.batch_size=3"):
        train(size=3, batch_size=8)


@pytest.mark.parametrize(
    ("batch_size", "micro", "processes", "expected"),
    [(8, None, 1, (8, 1)), (8, None, 2, (4, 1)), (8, 2, 2, (2, 2)), (12, 1, 4, (1, 3))],
)
def test_a_step_is_divided_into_micro_batches_and_passes(batch_size, micro, processes, expected):
    assert split_batch(batch_size, micro, processes) == expected


def test_a_batch_that_does_not_divide_names_the_nearest_one_that_does():
    with pytest.raises(ConfigError, match="type: loader.batch_size=9"):
        split_batch(10, 3, 1)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 4, 7, 16, 17])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_held_out_rows_come_once_and_all_ranks_keep_step(place, world, size, batch_size):
    batches = []
    for rank in range(world):
        place(rank, world)
        batches.append([b.rows for b in EvalLoader(list(range(size)), Rows, batch_size=batch_size)])
    assert sorted(row for own in batches for batch in own for row in batch) == list(range(size))
    assert len({len(own) for own in batches}) == 1
    assert all(len(batch) >= 1 for own in batches for batch in own)
    assert max(len(batch) for own in batches for batch in own) <= batch_size + (1 if world > 1 else 0)


def test_fewer_held_out_rows_than_processes_are_refused(place):
    place(0, 4)
    with pytest.raises(
        ConfigError, match="type: data.val_share=0.3 to hold out more rows, evaluation.num_examples=4 and"
    ):
        len(EvalLoader([1, 2], Rows, batch_size=2))
