"""A step is the same however it is divided: into micro-batches, with padding, and with companion rows."""

from itertools import islice

import pytest
import torch

from aa_lightning.algos.step import Step
from aa_lightning.assembly.data import build_data, data_options
from aa_lightning.assembly.options import options_of
from aa_lightning.data.kinds import weaken
from aa_lightning.losses.distributed import beta_dpo_beta
from aa_lightning.training.module import AlignmentModule
from aa_lightning.types import Batch, Preference, text
from tests.contract.support import borrow, make
from tests.vectors.support import algorithm as published
from tests.vectors.support import empty_batch

VARIED = ["data.train.kinds=null", "data.train.max_shapes=3", "data.train.size=64", "data.val.size=32"]
OVER_TERMS = ["cpo", "cpo_simpo", "mpo", "ha_dpo", "triple_po", "sft", "dft", "critique_sft"]
ROWS = 4


class OneProcess:
    """What a module asks of its trainer."""

    world_size = 1

    def __init__(self, accumulate: int):
        self.accumulate_grad_batches, self.strategy = accumulate, self

    def reduce(self, tensor, reduce_op):
        return tensor


def first_step(algorithm, policy, cfg, micro: int) -> tuple[float, torch.Tensor, list]:
    """The loss and the gradient of a run's first step, and what each forward pass counts."""
    cfg.loader.micro_batch_size = micro
    data = build_data(cfg, algorithm, policy.eval().encoder, data_options(cfg))
    module = AlignmentModule(policy, algorithm, options_of(cfg, "optimizer"), {})
    module.eval().trainer = OneProcess(data.accumulate)
    policy.zero_grad(set_to_none=True)
    batches = list(islice(data.train_dataloader(), data.accumulate))
    counted, whole = [algorithm.normalizer(batch) for batch, _ in batches], 0.0
    for batch, terms in batches:
        loss, _ = algorithm(policy, batch, Step(normalizer=module._normalizer(terms)))
        (loss / data.accumulate).backward()
        whole += loss.item() / data.accumulate
    found = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
    return whole, torch.cat(found), counted


@pytest.mark.parametrize("algo", OVER_TERMS)
def test_halves_and_single_rows_average_to_the_gradient_of_the_whole_batch(algo):
    _, policy, cfg = make("tiny_llava", "dpo", f"loader.batch_size={ROWS}", *VARIED)
    run = published(algo), policy, cfg
    loss, gradient, _ = first_step(*run, ROWS)
    for micro in (2, 1):
        theirs, other, counted = first_step(*run, micro)
        assert theirs == pytest.approx(loss, rel=1e-5)
        assert (other - gradient).norm() < 1e-4 * gradient.norm()
        assert len({str(count) for count in counted}) > 1  # else a mean of means would be right too


class GivenHeads:
    """A reward model whose numbers are given, one tensor for all rows."""

    def __init__(self, numbers: torch.Tensor, rows: slice):
        self.numbers = numbers[rows]

    def score_steps(self, batch: Batch, ends: torch.Tensor) -> torch.Tensor:
        return self.numbers

    def score_criteria(self, batch: Batch) -> torch.Tensor:
        return self.numbers


NAN = float("nan")
STEPS = [[[1, 0, 1]], [[0, NAN, NAN]], [[NAN, NAN, NAN]], [[1, 1, NAN]]]
RATINGS = [[[3, 1], [1, 2]], [[2, 2], [2, 2]], [[1, NAN], [2, NAN]], [[5, 1], [1, 1]]]
LABELLED = {  # by algorithm: the shape of what a model says of four rows, and labels of which rows have few or none
    "prm": ((4, 1, 3), {"steps": STEPS, "step_ends": [0] * 4}),
    "reward_multihead": ((4, 2, 2), {"ratings": RATINGS}),
}


def labelled_step(algo: str, micro: int) -> tuple[float, torch.Tensor]:
    """Loss and gradient in the numbers of a model, of four rows in forward passes of so many."""
    shape, labels = LABELLED[algo]
    objective = published(algo, **({"criteria": {"first": 1.0, "second": 0.5}} if algo == "reward_multihead" else {}))
    numbers = torch.linspace(-1, 1, torch.Size(shape).numel()).view(shape).requires_grad_()
    rows = [slice(first, first + micro) for first in range(0, 4, micro)]
    told = {name: torch.tensor(values, dtype=torch.float32) for name, values in labels.items()}
    batches = [empty_batch(micro, supervision={name: all[part] for name, all in told.items()}) for part in rows]
    whole = torch.tensor(sum(objective.normalizer(batch) for batch in batches)) / len(batches)
    policies = [GivenHeads(numbers, part) for part in rows]
    losses = [objective(p, b, Step(normalizer=whole))[0] for p, b in zip(policies, batches, strict=True)]
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss.item(), numbers.grad


@pytest.mark.parametrize("algo", LABELLED)
@pytest.mark.parametrize("micro", [2, 1])
def test_labels_that_few_rows_have_weigh_alike_in_every_division(algo, micro):
    (loss, gradient), (theirs, other) = labelled_step(algo, 4), labelled_step(algo, micro)
    assert theirs == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(other, gradient, rtol=1e-5, atol=0)
    assert gradient.abs().sum() > 0


def test_what_is_counted_leaves_out_padding_and_companion_rows():
    """Two text rows of a model that sees pictures, with a companion that shows one: the same number and the same loss."""
    _, policy, _ = borrow("tiny_llava")
    cpo = published("cpo")
    rows = [
        Preference(
            id=str(k),
            messages=[{"role": "user", "content": [text("What colour?")]}],
            chosen=[text(chosen)],
            rejected=[text("Blue.")],
        )
        for k, chosen in enumerate(["Red.", "The circle is red."])
    ]
    encoded = [policy.encoder.encode(row, row.responses) for row in rows]
    found = []
    for companions in (None, frozenset({"image"})):
        policy.encoder.companions = companions
        batch = policy.encoder.collate(encoded)
        counted = cpo.normalizer(batch)
        loss, _ = cpo(policy, batch, Step(normalizer=torch.tensor(counted)))
        found.append((len(batch.prompt["input_ids"]), counted, loss.item()))
    sizes = [len(one.responses[0]) for one in encoded]
    assert [rows for rows, *_ in found] == [2, 3]
    assert [counted for _, counted, _ in found] == [sum(sizes)] * 2
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-5)


@pytest.mark.parametrize(("pairs", "kept"), [(4, 3), (5, 4), (7, 5), (8, 6), (16, 12)])
def test_beta_dpo_keeps_the_integer_part_of_its_share_of_pairs(pairs, kept):
    """0.8 · 7 = 5.6 and 0.8 · 16 = 12.8: its authors keep 5 and 12."""
    memory = dict.fromkeys(("margin_mean", "margin_std", "margin_steps"), torch.zeros(()))
    margins, luck = torch.arange(float(pairs)), torch.linspace(0.1, 0.9, pairs)
    _, weights = beta_dpo_beta(0.1, margins, luck, 0.6, 0.8, 0.9, memory)
    assert (weights > 0).sum().item() == kept
    assert weights.mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("margin", "scores"), [(2.0, [2.0, 0.0]), (None, [1.0, 0.0]), (0.0, [0.0, 0.0]), (-3.0, [0.0, 0.0])]
)
def test_the_scores_of_a_pair_never_say_that_the_rejected_response_is_better(margin, scores):
    pair = Preference(id="0", messages=[], chosen=[text("good")], rejected=[text("bad")], margin=margin)
    (ranking,) = weaken(pair, "ranking")
    assert ranking.ranked == [pair.chosen, pair.rejected]
    assert ranking.scores == scores
