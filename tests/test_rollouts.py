"""The loader of what a policy draws: which groups are learned from in which steps, on any number of processes, and after a
stop at any step. Responses here are made by hand; `tests/test_reinforcement.py` has those of policies."""

import os
import resource
from dataclasses import dataclass, field
from itertools import chain
from types import SimpleNamespace
from zlib import crc32

import pytest
import torch

from aa_lightning.configuration.schema import Rollouts
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.training import loader as loaders
from aa_lightning.training import rollouts
from aa_lightning.training.groups import Group, beside, divided, joined
from aa_lightning.training.rollout_statistics import statistics
from aa_lightning.types import Batch, Rollout

K = 4


@pytest.fixture
def place(monkeypatch):
    """Pretend to be one rank of several."""

    def set_place(rank, processes):
        for module in (loaders, rollouts):
            monkeypatch.setattr(module, "rank_of_processes", lambda: (rank, processes))

    return set_place


class Examples(list):
    """Rows that are their own number."""

    class encoder:
        @staticmethod
        def with_drawn(encoded, response):
            return Batch([str(one) for one in encoded], {}, response)


def row(index):
    return SimpleNamespace(encoded=index, branches={})


@dataclass
class ByHand:
    """Draws what depends on prompt and drawing alone; the reward of response k of prompt i is i + k, or 1 where `equal` says.

    In place of a gather, the groups of all ranks are drawn by each."""

    equal: set[int] = field(default_factory=set)
    faulty: set[int] = field(default_factory=set)
    drawn_to: list[list[int]] = field(default_factory=list)
    everyone: list[int] | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"draw": 1.0})
    shown: tuple = ()
    algorithm: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(reads_equal=False, rivals=0.0))
    rewards: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(weights={"points": 1.0}))

    def drawn(self, items, indices, number):
        self.drawn_to.append(indices)
        return [self._group(index, number) for index in (self.everyone or indices)]

    def _group(self, index, number):
        torch.manual_seed(crc32(f"{index} {number}".encode()))
        reward = torch.ones(1, K) if index in self.equal else index + torch.arange(K, dtype=torch.float32)[None]
        reward = reward * float("nan") if index in self.faulty else reward
        size = 1 + index % 3
        response = {"input_ids": torch.randint(9, (1, K, size)), "mask": torch.ones(1, K, size)}
        told = {
            "old_logprobs": -torch.rand(1, K, size),
            "chosen": torch.ones(1, K, size),
            "ended": torch.ones(1, K, dtype=torch.bool),
        }
        return Group(index, response, {"temperature": torch.tensor(1.0)}, told, {"points": reward})

    def total(self, group):
        return group.rewards["points"]

    def credited(self, groups):
        return [
            {"advantages": group.rewards["points"] - group.rewards["points"].mean(), "chosen": group.told["chosen"]}
            for group in groups
        ]


def options(**changed):
    known = {"responses": K, "prompts": 8, "batch_size": None, "epochs": 1, "max_new_tokens": 3, "temperature": 1.0}
    known |= {"skip_equal": False, "refill": 0, "engine": "own", "stop_on_alarm": False}
    known["endpoint"] = {"url": None, "model": None, "timeout": 1, "tries": 1, "parallel": 1, "key_env": None}
    return Rollouts(**{**known, **changed})


def loader(rows=23, batch_size=4, micro=None, drawing=None, seed=5, **changed):
    wanted, examples = options(**changed), Examples(row(index) for index in range(rows))
    prompts = rollouts.PromptLoader(examples, list, batch_size=wanted.prompts, seed=seed)
    count = lambda batch: batch.supervision["chosen"].sum().item()  # noqa: E731
    return rollouts.RolloutLoader(
        prompts,
        examples,
        drawing or ByHand(),
        wanted,
        batch_size=batch_size,
        micro_batch_size=micro,
        seed=seed,
        count=count,
    )


def steps_of(made, count):
    """The row numbers and terms of so many micro-batches."""
    found = []
    while len(found) < count:
        for batch, terms in made:
            found.append((batch.ids, terms.item()))
            if len(found) == count:
                break
    return found


def test_a_drawing_of_eight_prompts_is_two_steps_of_four_and_an_epoch_asks_each_prompt_once():
    """23 rows: two drawings of 8 fill an epoch of 4 steps, the tail that fills no drawing is left out."""
    made = loader()
    steps = steps_of(made, 4)
    assert len(made) == 4
    assert [len(drawn) for drawn in made.drawing.drawn_to] == [8, 8]
    asked = [str(index) for drawn in made.drawing.drawn_to for index in drawn]
    assert sorted(asked[:8]) == sorted(steps[0][0] + steps[1][0])
    assert sorted(asked[8:]) == sorted(steps[2][0] + steps[3][0])
    assert len({*asked}) == 16


def test_rows_that_a_data_worker_keeps_hold_no_file_open():
    """200 rows of two tensors each, where a process may have 64 files more than it has."""
    rows = [(torch.full((3,), index), torch.ones(2)) for index in range(200)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 64, before[1]))
    try:
        asked = rollouts.PromptLoader(rows, rollouts.prompts_of, batch_size=8, seed=0, workers=1).endless()
        seen = [(index, item[0][0].item()) for _ in range(25) for index, item in zip(*next(asked), strict=True)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert sorted(seen) == [(index, index) for index in range(200)]


def test_epochs_read_the_same_groups_in_another_order():
    steps = steps_of(loader(epochs=3), 6)
    epochs = [steps[k][0] + steps[k + 1][0] for k in (0, 2, 4)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_terms_of_a_step_are_those_of_its_groups():
    """Group i has K responses of 1 + i mod 3 actions."""
    for ids, terms in steps_of(loader(), 4):
        assert terms == sum(K * (1 + int(index) % 3) for index in ids)


def test_groups_that_are_not_read_count_in_the_terms_of_their_step():
    equal = {*range(0, 23, 2)}
    whole = steps_of(loader(drawing=ByHand(equal)), 4)
    fewer = steps_of(loader(drawing=ByHand(equal), skip_equal=True), 4)
    assert [terms for _, terms in fewer] == [terms for _, terms in whole]
    for (read, _), (every, _) in zip(fewer, whole, strict=True):
        odd = [index for index in every if int(index) % 2]
        assert read == (odd or every[:1])


def test_equal_groups_are_read_where_the_loss_has_more_than_advantages():
    drawing = ByHand({*range(23)}, algorithm=SimpleNamespace(reads_equal=True, rivals=0.0))
    assert [len(ids) for ids, _ in steps_of(loader(drawing=drawing, skip_equal=True), 4)] == [4] * 4


def test_equal_groups_are_read_where_they_have_advantages_among_all():
    """As of a mean over the whole rollout."""

    class OverAll(ByHand):
        def credited(self, groups):
            return [{"advantages": group.rewards["points"] - 5, "chosen": group.told["chosen"]} for group in groups]

    assert [len(ids) for ids, _ in steps_of(loader(drawing=OverAll({*range(23)}), skip_equal=True), 4)] == [4] * 4


@pytest.mark.parametrize(("processes", "micro"), [(1, 1), (2, 2), (2, 1), (4, 1)])
def test_a_step_has_the_same_groups_however_it_is_divided(place, processes, micro):
    """Each rank draws to its share of the prompts, and has all groups afterwards."""
    place(0, 1)
    equal = {*range(0, 23, 3)}
    whole = steps_of(loader(drawing=ByHand(equal), skip_equal=True), 4)
    asked, steps, terms = [], [[] for _ in whole], [0.0 for _ in whole]
    for rank in range(processes):
        place(rank, processes)
        drawing = ByHand(equal)
        made = loader(micro=micro, drawing=drawing, skip_equal=True)
        place(0, 1)
        drawing.everyone = made.prompts.indices()[0]
        place(rank, processes)
        parts = steps_of(made, 2 * made.accumulate)
        asked.append(drawing.drawn_to[0])
        for number, (ids, own) in enumerate(parts):
            steps[number // made.accumulate] += ids
            terms[number // made.accumulate] += own if number % made.accumulate == 0 else 0
    assert list(chain(*asked)) == drawing.everyone
    for number in range(2):
        read = {index for index in whole[number][0] if int(index) % 3}
        assert read <= {*steps[number]} and len(steps[number]) % (processes * made.accumulate) == 0
        assert terms[number] == whole[number][1]


def test_refilling_draws_until_there_are_prompts_enough_whose_responses_differ():
    """Of 23 rows every second one teaches: the first drawing of 8 has too few of them, the second one fills up."""
    drawing = ByHand({*range(0, 23, 2)})
    made = loader(drawing=drawing, refill=5)
    steps = steps_of(made, 2)
    assert 2 <= len(drawing.drawn_to) <= 3
    assert all(int(index) % 2 for ids, _ in steps for index in ids)
    assert made.told["rollout/drawings"] == len(drawing.drawn_to)


def test_refilling_has_a_bound_and_then_takes_what_there_is():
    drawing = ByHand({*range(23)})
    made = loader(drawing=drawing, refill=2)
    assert [len(ids) for ids, _ in steps_of(made, 2)] == [4, 4]
    assert len(drawing.drawn_to) == 3
    assert made.told["rollout/equal"] == 1.0


def test_groups_without_rewards_are_left_out_and_counted():
    """Two of eight prompts have none: a step of four, and one of two."""
    drawing = ByHand()
    asked = loader().prompts.indices()[0]
    drawing.faulty = {*asked[:2]}
    made = loader(drawing=drawing)
    steps = steps_of(made, 2)
    assert [len(ids) for ids, _ in steps] == [4, 2]
    assert not drawing.faulty & {int(index) for ids, _ in steps for index in ids}
    assert made.told["rollout/faults"] == 0.25


def test_a_rollout_without_any_reward_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="of 8 prompts 0 have a reward for each response"):
        steps_of(loader(drawing=ByHand(faulty={*range(23)})), 1)


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 8, 9])
def test_a_loader_that_goes_on_after_any_step_hands_out_the_next_one(cut):
    """Epochs of 8 steps: two drawings, each read twice. What was drawn is in the state, and is not drawn again."""
    changed = {"epochs": 2, "skip_equal": True}
    equal = {*range(0, 23, 3)}
    expected = steps_of(loader(drawing=ByHand(equal), **changed), 14)
    first = loader(drawing=ByHand(equal), **changed)
    begun = steps_of(first, cut)
    again = ByHand(equal)
    second = loader(drawing=again, **changed)
    second.load_state_dict(first.state_dict())
    assert begun + steps_of(second, 14 - cut) == expected
    assert len(again.drawn_to) == 4 - -(-cut // 4)


def test_what_a_checkpoint_holds_is_what_is_left_to_learn_from(tmp_path):
    """After the first of two steps half of the groups are kept, and a file of plain tensors holds them."""
    made = loader()
    steps_of(made, 1)
    state = made.state_dict()
    assert len(state["groups"]) == 4
    torch.save(state, tmp_path / "state")
    loaded = torch.load(tmp_path / "state", weights_only=True)
    again = loader(drawing=ByHand())
    again.load_state_dict(loaded)
    assert steps_of(again, 1) == steps_of(made, 1)
    steps_of(made, 2)
    assert made.state_dict()["groups"] == {}


def test_a_rollout_that_another_number_of_processes_cannot_share_is_refused(place):
    place(0, 1)
    made = loader(batch_size=4, drawing=ByHand({*range(23)}), skip_equal=True)
    steps_of(made, 1)
    place(0, 2)
    with pytest.raises(ConfigError, match="a step of 1 groups left, which 2 forward passes cannot share"):
        loader(micro=1, batch_size=2, drawing=ByHand()).load_state_dict(made.state_dict())


def test_groups_are_padded_to_each_other_and_lose_what_only_others_needed():
    """Two prompts with two responses of at most 2 and 3 tokens, drawn in 4 steps."""
    said = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0]], [[1, 1, 1, 0], [1, 1, 0, 0]]]).float()
    ids = torch.arange(16).view(2, 2, 4)
    batch = Batch(
        ["a", "b"],
        {},
        {"input_ids": ids, "mask": said},
        draws={"temperature": torch.tensor(0.7), "eta": torch.tensor([0.1, 0.2])},
    )
    rollout = Rollout(batch, [], -ids.float() * said, said, torch.ones(2, 2, dtype=torch.bool))
    first, second = divided(rollout, [7, 8])
    assert first.response["input_ids"].shape == (1, 2, 2) and second.told["chosen"].shape == (1, 2, 3)
    response = joined([first.response, second.response])
    assert torch.equal(response["input_ids"] * said[..., :3], ids[..., :3] * said[..., :3])
    assert torch.equal(response["mask"], said[..., :3])
    draws = joined([second.draws, first.draws])
    torch.testing.assert_close(draws["eta"], torch.tensor([0.2, 0.1]))
    assert draws["temperature"] == torch.tensor(0.7)


def test_statistics_are_over_all_responses_of_a_rollout():
    """Rewards (0, 1) and (1, 1) of weight 2 and lengths (2, 1), (3, 2): reward 1.5, deviation (√2 + 0)/2, length 2."""
    said = [torch.tensor([[[1.0, 1, 0], [1, 0, 0]]]), torch.tensor([[[1.0, 1, 1], [1, 1, 0]]])]
    ended = [torch.tensor([[True, False]]), torch.tensor([[True, True]])]
    rewards = [torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]])]
    groups = [
        Group(k, {}, {}, {"old_logprobs": -0.5 * said[k], "chosen": said[k], "ended": ended[k]}, {"points": rewards[k]})
        for k in range(2)
    ]
    for group in groups:
        group.told["reference_logprobs"] = group.told["old_logprobs"] - 0.25
    found = statistics(groups, {"points": 2.0})
    expected = {
        "reward/points": 0.75,
        "reward": 1.5,
        "reward_std": 2**0.5 / 2,
        "length": 2.0,
        "cut": 0.25,
        "equal": 0.5,
        "faults": 0.0,
        "entropy": 0.5,
        "kl": 0.5,
    }
    assert found == pytest.approx({f"rollout/{name}": value for name, value in expected.items()})
    against = statistics(groups, {"points": 2.0}, rivals=True)
    expected |= {"reward/points": 0.5, "reward": 1.0, "reward_std": 0.0, "equal": 1.0, "length": 2.5, "cut": 0.0}
    expected |= {"kl": 0.625, "won": 0.25}  # lengths 2 and 3; one lost, one tie
    assert against == pytest.approx({f"rollout/{name}": value for name, value in expected.items()})


def test_rivals_stand_behind_the_responses_that_they_are_compared_with():
    def rollout(start: int, width: int) -> Rollout:
        ids = start + torch.arange(2 * width).view(1, 2, width)
        batch = Batch(["a"], {}, {"input_ids": ids, "mask": torch.ones(1, 2, width)})
        ended = torch.tensor([[True, False]])
        return Rollout(batch, [[[f"{start}"], ["more"]]], -ids.float(), torch.ones(1, 2, width), ended)

    found = beside(rollout(1, 2), rollout(9, 3))
    assert found.batch.response["input_ids"].tolist() == [[[1, 2, 0], [3, 4, 0], [9, 10, 11], [12, 13, 14]]]
    assert found.mask.sum(-1).tolist() == [[2, 2, 3, 3]] and found.ended.tolist() == [[True, False] * 2]
    assert found.responses == [[["1"], ["more"], ["9"], ["more"]]]
