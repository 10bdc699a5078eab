"""Every recipe that learns from rewards: its settings are the paper's, its rows are judged rightly, it runs."""

import csv
import json
import math
import re

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.configuration.compose import compose
from aa_lightning.data.shapes.scenes import COLOURS
from aa_lightning.train import train
from aa_lightning.types import text
from tests.test_recipes import REWARDED, examples

FEW = ["data.limit=24", "loader.batch_size=4", "loader.eval_batch_size=8", "trainer.max_steps=2", "init=null"]
FEW += [
    "evaluation.before=false",
    "evaluation.num_examples=4",
    "evaluation.num_generations=2",
    "evaluation.max_new_tokens=8",
]
FEW += ["evaluation.blank_media_control=false", "evaluation.samples=0", "logger.tensorboard=false"]
FEW += ["trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1"]

SETTINGS = {  # as they were published
    "lmm_r1_text": {"algo.loss_kl.coefficient": 0.001, "rollout.responses": 16, "reward.format.weight": 0.5},
    "lmm_r1": {"algo.loss_kl.coefficient": 0.001, "rollout.responses": 16, "reward.answer.weight": 1.0},
    "vlm_r1": {"algo.loss_kl.coefficient": 0.04, "algo.loss_kl.estimator": "k3", "rollout.responses": 8},
    "easyr1_geometry": {"algo.loss_kl.coefficient": 0.01, "rollout.responses": 5, "reward.answer.weight": 0.5},
    "llava_rlhf": {"algo.reward_kl.coefficient": 0.1, "algo.advantage.smoothing": 1.0, "rollout.epochs": 2},
    "safe_rlhf_v": {"algo.advantage.threshold": -0.5, "algo.advantage.limit": 20.0, "algo.reward_kl.coefficient": 0.02},
    "prime": {"algo.critic.beta": 0.05, "rollout.responses": 4, "algo.advantage.name": "implicit_process"},
    "iterative_rpo": {"algo.objective.nll": 1.0, "algo.objective.ref_sync.mixup": 1.0, "rollout.responses": 30},
    "self_rewarding": {"reward.self_judge.times": 3, "reward.self_judge.range": [0, 5], "rollout.responses": 4},
    "oreal": {"algo.loss_kl.coefficient": 0.01, "algo.aggregation.negative": 0.5, "rollout.responses": 16},
}


def judged(name, *which):
    """(6, responses) of each reward of a recipe, for such responses to each of its first six rows."""
    cfg = compose([f"experiment={name}", "data.limit=6"])
    found = read_examples(data_options(cfg), "train", "preference")
    rewards = build_rewards(cfg)
    return rewards(found, [[response(one) for response in which] for one in found])


def in_the_form(one):
    return one.chosen


def wrong(one):
    return one.rejected


def bare(one):
    return [text(one.answer)]


@pytest.mark.parametrize("name", ["lmm_r1_text", "lmm_r1", "open_r1_video", "easyr1_geometry"])
def test_an_answer_is_judged_behind_its_thoughts_and_its_form_beside_it(name):
    found = judged(name, in_the_form, wrong, bare)
    assert found["answer"].tolist() == [[1.0, 0.0, 1.0]] * 6
    assert found["format"].tolist() == [[1.0, 1.0, 0.0]] * 6


def test_a_box_is_judged_by_its_overlap():
    """The wrong box is as large, in another column: they have no pixel in common."""
    found = judged("vlm_r1", in_the_form, wrong, bare)
    assert found["iou"].tolist() == [[1.0, 0.0, 1.0]] * 6 and found["format"].tolist() == [[1.0, 1.0, 0.0]] * 6


def test_boxes_are_around_what_is_asked_about():
    """Nothing but the figure is drawn within a pixel of its box, and it touches each side."""
    for one in [one for _, one in zip(range(12), examples("vlm_r1"), strict=False)]:
        colour = re.match(r"Where is the (\w+) ", one.messages[-1]["content"][-1]["text"])[1]
        pixels = np.asarray(one.messages[-1]["content"][0]["image"], dtype=int)
        near = np.abs(pixels - COLOURS[colour]).sum(-1) < 150
        left, top, right, bottom = json.loads(one.answer)
        rows, columns = np.nonzero(near[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1])
        assert abs(np.ptp(rows) + 1 - (bottom - top)) <= 2 and abs(np.ptp(columns) + 1 - (right - left)) <= 2


@pytest.mark.parametrize("name", SETTINGS)
def test_a_recipe_has_the_settings_that_were_published(name):
    cfg = compose([f"experiment={name}"])
    assert {key: OmegaConf.select(cfg, key) for key in SETTINGS[name]} == SETTINGS[name]
    assert instantiate(cfg.algo, _convert_="all").draws_responses


def test_rows_without_a_template_say_how_their_answers_are_compared(tmp_path):
    (tmp_path / "my.jsonl").write_text('{"prompt": "How many?", "answer": "3"}\n')
    typed = ["data=local", f"data.train.path={tmp_path / 'my.jsonl'}", "data.val_share=null", "algo=grpo"]
    for check, right in (("exact", 0.0), ("contains", 1.0), ("null", 0.0)):
        cfg = compose([*typed, f"data.check={check}"])
        found = read_examples(data_options(cfg), "train", "prompt")
        assert build_rewards(cfg)([found[0]], [[[text("There are 3 dots.")]]])["answer"].item() == right


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in ("vlm_r1", "safe_rlhf_v") else pytest.mark.slow) for one in REWARDED]
)
def test_a_recipe_learns_from_what_it_draws(name, tmp_path):
    cfg = compose([f"experiment={name}", *FEW])
    summary = train(cfg, tmp_path / "run", tell=False)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = [row for row in rows if row["train/loss"]]
    assert len(steps) == 2 and all(math.isfinite(float(row["train/loss"])) for row in steps)
    for reward in cfg.reward:
        assert all(0.0 <= float(row[f"rollout/reward/{reward}"]) <= 1.0 for row in steps)
    assert 0.0 <= summary["after"]["heldout/answer_accuracy"] <= 1.0
