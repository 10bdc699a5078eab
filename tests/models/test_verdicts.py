"""Held-out verdicts of reward models on right and wrong answers, and on their steps."""

import pytest
import torch

from aa_lightning.evaluation import measures
from aa_lightning.types import Batch


class Given:
    """A reward model whose numbers are given."""

    def __init__(self, logits):
        self.logits = torch.tensor(logits)

    def prepare(self, batch):
        return batch

    def score(self, batch):
        return self.logits

    def score_steps(self, batch, ends):
        return self.logits


def batch(**supervision) -> Batch:
    return Batch(ids=["a", "b"], prompt={}, response={}, supervision=supervision)


def test_answers_are_told_by_the_sign_of_their_reward():
    given = batch(desirable=torch.tensor([[True], [False]]))
    measured = measures.verdicts(Given([[0.3], [0.1]]), [given], torch.device("cpu"))
    assert measured.measures == {"verdict_accuracy": 0.5}
    assert measured.examples == {"verdict_accuracy": 2}


def test_steps_of_an_answer_count_as_much_as_one_answer_and_padding_not_at_all():
    """Row a: 2 of 3 steps are told; row b: its only step is: (2/3 + 1) / 2."""
    nan = float("nan")
    given = batch(
        steps=torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, nan, nan]]]), step_ends=torch.zeros(2, 1, 3, dtype=torch.long)
    )
    logits = [[[2.0, 1.0, 0.5]], [[-1.0, 5.0, -5.0]]]
    measured = measures.verdicts(Given(logits), [given], torch.device("cpu"))
    assert measured.measures["verdict_accuracy"] == pytest.approx(5 / 6)
