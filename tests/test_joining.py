"""Metrics of micro-batches and of processes, joined as if all rows had been one batch."""

import pytest
import torch

from aa_lightning.algos import metrics
from aa_lightning.algos.joining import Tally


def whole_and_parts(of, rows: int, sizes: list[int]) -> tuple[dict, dict]:
    """Metrics of all rows at once, and of parts of these sizes, joined."""
    joined = Tally()
    first = 0
    for size in sizes:
        joined.add({"loss": torch.zeros(()), **of(slice(first, first + size))}, size)
        first += size
    assert first == rows
    return of(slice(0, rows)), joined.taken(lambda sums: sums)


def check(whole: dict, parts: dict) -> None:
    for name, value in whole.items():
        if name not in metrics.MOMENTS:
            assert parts[name].item() == pytest.approx(float(value), rel=1e-5, abs=1e-6), name


SIZES = ([8], [4, 4], [2, 2, 2, 2], [1] * 8, [3, 5])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_pairs_have_the_means_and_the_correlation_of_all_rows(sizes):
    draw = torch.Generator().manual_seed(0)
    rewards = torch.randn(8, 2, generator=draw)
    lengths = torch.randint(1, 20, (8, 2), generator=draw).float()
    whole, parts = whole_and_parts(lambda rows: metrics.of_rewards(rewards[rows], lengths[rows]), 8, sizes)
    assert abs(whole["length/correlation"]) > 0.05
    check(whole, parts)
    assert not set(metrics.MOMENTS) & set(parts)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rated_responses_have_means_over_those_of_a_kind(sizes):
    """The mean of right ones is over five rows, of wrong ones over three, whatever parts have of them."""
    rewards = torch.tensor([[3.0], [1.0], [-1.0], [2.0], [0.5], [-2.0], [0.25], [4.0]])
    right = torch.tensor([[True], [True], [False], [True], [False], [False], [True], [True]])
    whole, parts = whole_and_parts(lambda rows: metrics.of_ratings(rewards[rows], right[rows]), 8, sizes)
    assert whole["reward/chosen"].item() == pytest.approx(10.25 / 5)
    assert (parts["count/chosen"].item(), parts["count/rejected"].item()) == (5, 3)
    check(whole, parts)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_pairs_that_tie_are_left_out_of_what_is_no_tie_s_business(sizes):
    rewards = torch.tensor([[3.0, 1], [1, 2], [0, 0.5], [2, 1], [5, 1], [1, 1.5], [0.2, 0.1], [4, 1]])
    apart = torch.tensor([True, False, False, True, True, False, True, True])
    lengths = torch.arange(16.0).view(8, 2).flip(0) ** 2
    of = lambda rows: metrics.of_rewards(rewards[rows], lengths[rows], apart[rows])  # noqa: E731
    whole, parts = whole_and_parts(of, 8, sizes)
    assert whole["reward/accuracy"].item() == 1.0
    check(whole, parts)


def test_a_correlation_of_fewer_than_four_rows_is_not_told():
    rewards, lengths = torch.tensor([[1.0, 0], [2, 0], [3, 0]]), torch.tensor([[1.0, 0], [2, 0], [3, 0]])
    _, parts = whole_and_parts(lambda rows: metrics.of_rewards(rewards[rows], lengths[rows]), 3, [1, 2])
    assert parts["length/correlation"].item() == 0.0


def test_processes_are_added_up_once_and_the_next_step_begins_anew():
    """Losses 1 of one row here and, the sums doubled, of one row elsewhere; afterwards 3 alone."""
    tally, asked = Tally(), []

    def of_two_processes(sums):
        asked.append(sums.shape)
        return 2 * sums

    tally.add({"loss": torch.tensor(1.0), "count/chosen": torch.tensor(4)}, 1)
    found = tally.taken(of_two_processes)
    assert (found["loss"].item(), found["count/chosen"].item()) == (1.0, 8.0)
    assert asked == [(2, 2)] and tally.parts == 0
    tally.add({"loss": torch.tensor(3.0)}, 1)
    assert {name: value.item() for name, value in tally.taken(lambda sums: sums).items()} == {"loss": 3.0}


def test_a_number_that_is_no_tensor_is_a_metric_too():
    tally = Tally()
    tally.add({"loss": torch.tensor(1.0), "mine": 0.25}, 2)
    tally.add({"loss": torch.tensor(1.0), "mine": 1.0}, 1)
    assert tally.taken(lambda sums: sums)["mine"].item() == pytest.approx(0.5)
