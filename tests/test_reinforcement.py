"""Runs that learn from what their policy draws: steps of real policies, what a stop leaves, and what is refused."""

import json
import re

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from aa_lightning.assembly.build import build_run
from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options
from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.policy import build_algorithm
from aa_lightning.assembly.rollouts import rollouts_for
from aa_lightning.check import check
from aa_lightning.configuration.compose import compose
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.report import write_report
from aa_lightning.rewards.grading import SelfJudge
from aa_lightning.types import Response, Rollout
from tests.contract.support import modality
from tests.reliability.support import UNMEASURED

OWN = f"{__name__}"
SHORT = [
    *UNMEASURED,
    "logger.tensorboard=false",
    "data.train.size=32",
    "data.val.size=8",
    "loader.batch_size=4",
    "rollout.prompts=null",
    "rollout.skip_equal=false",
    "rollout.responses=4",
    "rollout.max_new_tokens=6",
    "reward=own",
    f"reward.own._target_={OWN}.variety",
]


def variety(prompt, response: Response) -> float:
    """How many different letters a text has, or how bright a picture is: something that random weights differ in."""
    part = response[0]
    if part["type"] == "image":
        return sum(part["image"].convert("L").resize((4, 4)).getdata()) / 16 / 255
    return float(len({*part["text"].lower()}))


def composed(*overrides: str) -> DictConfig:
    return compose([*SHORT, *overrides])


def fitted(cfg, folder, *callbacks, resume=None):
    folder.mkdir(parents=True, exist_ok=True)
    run = build_run(cfg, folder)
    run.trainer.callbacks += callbacks
    run.trainer.fit(run.module, run.data, ckpt_path=resume, weights_only=True)
    return run


class Batches(Callback):
    """Every batch that is learned from, and what the policy says of its actions before it learns from it."""

    def __init__(self):
        self.batches, self.read = [], []

    @torch.no_grad()
    def on_train_batch_start(self, trainer, module, counted, index):
        batch, policy = counted[0], module.policy
        given = batch.supervision
        policy.eval()
        rollout = Rollout(policy.prepare(batch), [], given["old_logprobs"], given["chosen"], given["chosen"])
        self.read.append(policy.action_logprobs(rollout))
        policy.train()
        self.batches.append(batch)


QUICK = ("tiny_llava", "tiny_sd", "tiny_chameleon")
OTHERS = ("tiny_llama", "tiny_qwen2_5_vl", "tiny_qwen2_audio", "tiny_qwen2_5_omni", "tiny_qwen2_5_omni_speech")


@pytest.mark.parametrize("model", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_what_is_learned_from_is_what_was_drawn(model, tmp_path):
    """A step's batch is made anew of prompts and drawn tensors: the policy that drew reads its log-probabilities in it."""
    own = ["model.sampling.steps=4"] if model == "tiny_sd" else []
    seen = Batches()
    cfg = composed("algo=grpo", f"modality={modality(model)}", f"model={model}", "trainer.max_steps=1", *own)
    fitted(cfg, tmp_path, seen)
    (batch,), (read,) = seen.batches, seen.read
    chosen = batch.supervision["chosen"]
    assert chosen.shape[:2] == (4, 4) and chosen.sum() > 16
    assert (read * chosen - batch.supervision["old_logprobs"] * chosen).abs().max() < 1e-4
    assert batch.supervision["rewards"].std(-1).amax() > 0
    row = run_row(tmp_path)
    assert row["train/ratio/mean"] == pytest.approx(1.0, abs=1e-3)
    assert row["rollout/length"] == pytest.approx(chosen.sum(-1).mean().item(), rel=1e-5)


def run_row(folder):
    header, first = (folder / "metrics.csv").read_text().splitlines()[:2]
    return {name: float(v) for name, v in zip(header.split(","), first.split(","), strict=True) if v}


class Keeps(Callback):
    """The weights after each step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, module, *given):
        self.weights.append({name: p.detach().clone() for name, p in module.policy.named_parameters()})


MIDST = [  # two drawings, each of two steps, each read twice; what is drawn goes on in the midst of one
    "algo=grpo",
    "modality=ti2t",
    "algo.loss_kl={coefficient:0.1,estimator:k3,corrected:false}",
    "model.dropout=0.1",
    "rollout.prompts=8",
    "rollout.epochs=2",
    "trainer.max_steps=7",
    "loader.micro_batch_size=2",
    "checkpoint.every_n_steps=1",
    "checkpoint.keep=99",
    "optimizer.lr=1e-3",
]


def test_a_run_that_goes_on_after_any_step_is_the_run_that_was_never_stopped(tmp_path):
    """What was drawn before step 3 is learned from after it, what is drawn after step 4 is drawn by the same weights."""
    cfg, whole = composed(*MIDST), Keeps()
    fitted(cfg, tmp_path / "whole", whole)
    assert len(whole.weights) == 14
    for step in (3, 4):
        again = Keeps()
        fitted(cfg, tmp_path / f"after{step}", again, resume=tmp_path / f"whole/checkpoints/step_{step:08d}.ckpt")
        assert len(again.weights) == 14 - 2 * step
        assert all(torch.equal(value, whole.weights[-1][name]) for name, value in again.weights[-1].items())


def test_how_many_prompts_are_drawn_to_at_a_time_changes_no_response(tmp_path):
    drawn = []
    for size in ("null", "3", "1"):
        seen = Batches()
        cfg = composed("algo=grpo", "modality=ti2t", "trainer.max_steps=1", f"rollout.batch_size={size}")
        fitted(cfg, tmp_path / size, seen)
        drawn.append(seen.batches[0].response["input_ids"])
    assert drawn[0].shape[:2] == (4, 4)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("algo", ["reinforce_moving", "ddpo_per_prompt"])
def test_what_is_remembered_of_earlier_rollouts_goes_on_with_the_run(algo, tmp_path):
    """Four prompts, asked in every one of four drawings; a run goes on after the second one."""
    tracked = ["algo.advantage.last=3", "algo.advantage.fewest=3"] if algo == "ddpo_per_prompt" else []
    cfg, whole, again = composed(f"algo={algo}", *REMEMBERS, *tracked), Keeps(), Keeps()
    one = fitted(cfg, tmp_path / "whole", whole).module.memory
    other = fitted(
        cfg, tmp_path / "more", again, resume=tmp_path / "whole/checkpoints/step_00000002.ckpt"
    ).module.memory
    assert all(torch.equal(value.nan_to_num(-1), other[name].nan_to_num(-1)) for name, value in one.items())
    assert all(torch.equal(value, whole.weights[-1][name]) for name, value in again.weights[-1].items())
    if algo == "ddpo_per_prompt":
        assert one["tracked_prompts"].sort()[0].tolist() == [0, 1, 2, 3]
        assert one["tracked_rewards"].shape == (4, 3) and one["tracked_rewards"].isfinite().all()


def test_a_policy_grades_what_it_drew_in_words_of_its_own(tmp_path, monkeypatch):
    """Each of four responses to four prompts twice, as it is when they were drawn: another run says the same of them."""
    asked = []
    monkeypatch.setattr(SelfJudge, "grade", lambda self, said, judge: asked.append(said) or len(said) / 100)
    typed = [
        "algo=online_dpo",
        "modality=ti2t",
        "trainer.max_steps=1",
        "reward=self_judge",
        "reward.self_judge.times=2",
    ]
    cfg = compose([*[one for one in SHORT if "reward" not in one], *typed, "reward.self_judge.max_tokens=5"])
    fitted(cfg, tmp_path / "one")
    said, rows = [*asked], run_row(tmp_path / "one")
    assert len(said) == 4 * 4 * 2 and len({*said}) > 4
    assert rows["rollout/reward/self_judge"] == pytest.approx(sum(map(len, said)) / 100 / len(said), rel=1e-5)
    asked.clear()
    fitted(cfg, tmp_path / "other")
    assert asked == said


ROUNDS = [
    *("algo=online_dpo", "modality=t2t", "trainer.max_steps=6", "rollout.prompts=8", "rollout.epochs=2"),
    *("checkpoint.every_n_steps=1", "checkpoint.keep=9", "optimizer.lr=1e-3", "loader.micro_batch_size=2"),
    "algo.objective.ref_sync={every_n_steps:null,mixup:1.0}",
]


class Moves(Keeps):
    """The policy after each step, and the reference."""

    def __init__(self):
        super().__init__()
        self.references = []

    def on_train_batch_end(self, trainer, module, *given):
        if not self.weights or trainer.global_step > len(self.references):
            super().on_train_batch_end(trainer, module, *given)
            (reference,) = module.policy.reference_modules()
            self.references.append({f"network.{name}": p.clone() for name, p in reference.named_parameters()})


def test_the_reference_of_a_round_is_the_policy_that_drew_it(tmp_path):
    """Eight prompts in steps of four, learned from twice: four steps are a round. A run goes on after its first step, and
    after the one whose end is that of the round."""
    cfg, whole = composed(*ROUNDS), Moves()
    start = fitted(cfg, tmp_path / "whole", whole)
    assert len(whole.references) == 6 and start.module.global_step == 6
    moved = [not same(*pair) for pair in zip(whole.references, whole.references[1:], strict=False)]
    assert moved == [False, False, True, False, False]
    assert same(whole.references[3], {name: whole.weights[3][name] for name in whole.references[3]})
    for step in (1, 4):
        again = Moves()
        fitted(cfg, tmp_path / f"{step}", again, resume=tmp_path / f"whole/checkpoints/step_{step:08d}.ckpt")
        assert same(again.references[-1], whole.references[-1]) and same(again.weights[-1], whole.weights[-1])


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


REMEMBERS = [
    "modality=t2t",
    "data.train.size=4",
    "rollout.responses=2",
    "trainer.max_steps=4",
    "checkpoint.every_n_steps=1",
    "checkpoint.keep=9",
    "optimizer.lr=1e-3",
]


def test_a_step_without_its_equal_groups_is_the_step_with_them(tmp_path):
    """Rewards that most groups get alike; AdamW divides by gradients, of which some are rounding alone, hence eps."""
    shared = ["algo=grpo", "modality=ti2t", "optimizer.eps=1e-4", "trainer.max_steps=2", "loader.batch_size=8"]
    kept, batches = [], []
    for skip in ("false", "true"):
        own, seen = Keeps(), Batches()
        cfg = composed(*shared, f"rollout.skip_equal={skip}", f"reward.own._target_={OWN}.rarely")
        fitted(cfg, tmp_path / skip, own, seen)
        kept.append(own.weights[-1])
        batches.append([len(batch) for batch in seen.batches])
    assert batches[0] == [8, 8] and max(batches[1]) < 8
    for name, value in kept[0].items():
        torch.testing.assert_close(kept[1][name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("algo", "share", "learned"), [("xpo", 1.0, 4), ("nash_md", 0.125, 2)])
def test_half_of_a_group_is_drawn_with_a_share_of_the_reference(algo, share, learned, tmp_path, monkeypatch):
    """Of four responses two are the policy's own. XPO learns from all of them, Nash-MD from these two."""
    asked, sample, seen = [], AutoregressivePolicy.sample, Batches()

    def spied(policy, batch, n, sampling):
        asked.append((n, sampling.reference))
        return sample(policy, batch, n, sampling)

    monkeypatch.setattr(AutoregressivePolicy, "sample", spied)
    monkeypatch.setattr(Batches, "on_train_batch_start", lambda self, *given: self.batches.append(given[2][0]))
    cfg = composed(f"algo={algo}", "modality=ti2t", "trainer.max_steps=2", "optimizer.lr=1e-2")
    run = fitted(cfg, tmp_path, seen)
    assert asked == [(2, 0.0), (2, share)] * 2
    assert {batch.response["input_ids"].shape[:2] for batch in seen.batches} == {(4, learned)}
    row = run_row(tmp_path)
    assert 0 <= row["rollout/won"] <= 1 and row["train/loss"] == row["train/loss"]
    assert len(json.loads((tmp_path / "samples/drawn_latest.json").read_text())[0]["responses"]) == 4
    assert run.policy.reference.form == "frozen"


def rarely(prompt, response: Response) -> float:
    return float(len(response[0]["text"]) % 5 == 0)


def test_rewards_rise_where_they_can(tmp_path):
    """An own function, on random weights: in 25 steps responses get a letter more of which there was none before."""
    cfg = composed("algo=grpo", "modality=t2t", "trainer.max_steps=25", "optimizer.lr=1e-2", "rollout.responses=8")
    fitted(cfg, tmp_path)
    rows = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    rewards = [float(row[rows[0].index("rollout/reward")]) for row in rows[1:26]]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 1


def test_what_was_drawn_stands_in_samples_and_on_the_page(tmp_path):
    fitted(composed("algo=grpo", "modality=ti2t", "trainer.max_steps=2"), tmp_path)
    (tmp_path / "config.yaml").write_text("{}")
    for moment, step in (("first", 1), ("latest", 2)):
        drawn = json.loads((tmp_path / f"samples/drawn_{moment}.json").read_text())
        assert [group["step"] for group in drawn] == [step] * 4
        for group in drawn:
            assert len(group["responses"]) == 4
            scored = [variety(None, response) for response in group["responses"]]
            assert group["rewards"]["own"] == scored
    page = write_report(tmp_path).read_text()
    assert "Drawn in training (8 prompts)" in page and "Reward of what was drawn" in page


def test_check_rehearses_a_step_with_the_longest_responses(capsys):
    """It names the memory of learning, and says that drawing is not in it."""
    cfg = compose(["algo=grpo", "modality=ti2t", "init=null", "data.train.size=16", "data.val.size=8"], "check")
    check(cfg)
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "activations and more" in told and "the memory and time of drawing and scoring them come on top" in told


REFUSED = {
    "one response": (["algo=grpo", "rollout.responses=1"], "rollout.responses=1 leaves nothing to compare"),
    "one response without groups": (
        ["algo=reinforce_pp", "rollout.responses=1", "rollout.refill=2"],
        "every group is one: type rollout.refill=0",
    ),
    "a kept reference": (
        ["algo=grpo", "model.reference=kept", "algo.loss_kl={coefficient:0.1,estimator:k3,corrected:false}"],
        "draws responses anew, and model.reference=kept",
    ),
    "rivals of three": (["algo=xpo", "rollout.responses=3"], "is odd: type rollout.responses=4"),
    "rivals of another program": (
        ["algo=nash_md", "rollout.engine=continuous"],
        "has no reference: type rollout.engine=own",
    ),
    "rivals that speak": (["algo=xpo", "modality=t2a", "model=tiny_qwen2_5_omni_speech"], "whose sounds are not mixed"),
    "rivals of a sharded reference": (["algo=nash_md", "strategy=fsdp"], "this strategy shards it: type strategy=ddp"),
    "rivals in pictures": (["algo=nash_md", "modality=t2i", "model=tiny_sd"], "is defined on exact log-likelihoods"),
    "a round of nothing": (["algo=tr_dpo", "algo.ref_sync.every_n_steps=null"], "and tr_dpo draws nothing"),
    "a judge in shards": (["algo=grpo", "reward=self_judge", "strategy=fsdp"], "type strategy=ddp, or reward=judge"),
    "no chance": (["algo=grpo", "modality=t2i", "model=tiny_sd", "model.sampling.eta=0"], "type model.sampling.eta=1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_weights_load(name):
    typed, words = REFUSED[name]
    defaults = ["modality=ti2t"] if not any(item.startswith("modality") for item in typed) else []
    cfg = compose([*defaults, "init=null", *typed])
    algorithm = build_algorithm(cfg)
    with pytest.raises(ValueError, match=re.escape(words)):
        check_compatible(cfg, algorithm, data_options(cfg).serving(algorithm))


@pytest.mark.parametrize(
    ("prompts", "batch", "rows", "found", "words"),
    [
        (64, 16, 4000, 64, ""),
        ("null", 16, 4000, 16, ""),
        (64, 24, 4000, 72, "a drawing takes 72 prompts and not 64: it is learned from in whole steps of 24"),
        (64, 8, 50, 48, "a drawing takes 48 prompts and not 64: the data has no more"),
        (4, 8, 50, 8, "a drawing takes 8 prompts and not 4: it is learned from in whole steps of 8"),
    ],
)
def test_a_drawing_takes_whole_steps_of_the_prompts_that_there_are(prompts, batch, rows, found, words, capsys):
    options = options_of(compose([f"rollout.prompts={prompts}", "init=null"]), "rollout")
    assert rollouts_for(options, batch, rows).prompts == found
    assert capsys.readouterr().out.strip() == words
