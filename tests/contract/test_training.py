"""Every algorithm on every family that it serves: it learns, and a resumed run is the uninterrupted one."""

import pytest
import torch
from hydra.utils import instantiate

from aa_lightning.train import train
from tests.contract.support import CORE, MODALITY, MOSTLY_SLOW, PAIRS, TRAINED, change, config, modality, why_refused
from tests.vectors.support import settings

FAST = [
    "trainer.log_every_n_steps=5",
    "evaluation.num_generations=0",
    "evaluation.num_examples=64",
    "evaluation.samples=0",
    "evaluation.blank_media_control=false",
    "logger.tensorboard=false",
    "trainer.enable_progress_bar=false",
]
FEW = ["loader.batch_size=8", "data.train.size=128"]  # rows, which are encoded once; enough for the core
LEARNS = {  # a few dozen steps on the easy world, and the held-out measure that must rise
    "dpo": (["algo.nll=0", "optimizer.lr=2e-3", "trainer.max_steps=50"], "heldout/preference_accuracy", 0.85),
    "sft": (["optimizer.lr=3e-3", "trainer.max_steps=60"], "heldout/likelihood_accuracy", 0.85),
    "reward_model": (["optimizer.lr=2e-3", "trainer.max_steps=50"], "heldout/reward_accuracy", 0.85),
}


def test_the_pairs_are_those_that_are_served():
    """What token models are served does not depend on the family, so those of the core speak for all."""
    looked_at = {(model, algo) for model in {*CORE, *MODALITY} for algo in TRAINED}
    algorithms = {algo: instantiate(settings(algo), _convert_="all") for algo in TRAINED}
    served = {pair for pair in looked_at if why_refused(pair[0], settings(pair[1]), algorithms[pair[1]]) is None}
    assert served == looked_at & set(PAIRS)
    assert set(LEARNS) == set(TRAINED)


@pytest.mark.parametrize(("model", "algo"), MOSTLY_SLOW)
def test_a_few_dozen_steps_improve_a_held_out_measure(model, algo, tmp_path):
    overrides, measure, expected = LEARNS[algo]
    if model == "tiny_sd":
        overrides, measure, expected = SD[algo], *SD_MEASURE[algo]
    cfg = config(model, algo)
    change(cfg, *FAST, *(FEW if model in CORE else ["loader.batch_size=16"]), *overrides)
    change(cfg, *LONGER.get(modality(model), []), *LONGEST.get(model, []))
    summary = train(cfg, tmp_path)
    assert summary["after"][measure] >= expected
    rising = RISES.get(measure, measure)
    assert summary["after"][rising] > summary["before"][rising]


RISES = {
    "heldout/likelihood_accuracy": "heldout/likelihood_margin"
}  # random weights may rank all pairs rightly by chance


# what moves, and one medium among three, take longer to see
LONGER = {"tv2t": ["trainer.max_steps=100"], "any2t": ["trainer.max_steps=150"]}
# a mixture of experts whose tower feeds several layers, towers that a language model never heard of, pictures of codes
LONGEST = {
    "tiny_compose": ["trainer.max_steps=800", "optimizer.lr=1e-3"],
    "tiny_emu3": ["trainer.max_steps=300", "optimizer.lr=2e-3"],
    "tiny_llava_next_video": ["trainer.max_steps=300", "optimizer.lr=1e-3"],
    "tiny_qwen2_5_omni": ["trainer.max_steps=500", "optimizer.lr=1e-3"],
    "tiny_qwen3_omni": ["trainer.max_steps=300", "optimizer.lr=1e-3"],
    "tiny_video_llava": ["trainer.max_steps=300", "optimizer.lr=1e-3"],
}
SD = {
    "dpo": ["optimizer.lr=1e-3", "trainer.max_steps=120", "loader.batch_size=16", "data.train.size=512"],
    "sft": [
        "optimizer.lr=3e-3",
        "trainer.max_steps=40",
        "evaluation.num_examples=32",
        "model.timesteps_per_example=2",
        "model.eval_timesteps_per_example=4",
    ],
}
SD_MEASURE = {"dpo": ("heldout/preference_accuracy", 0.65), "sft": ("heldout/logp_chosen", -1.0)}


@pytest.mark.parametrize(("model", "algo"), MOSTLY_SLOW)
def test_a_resumed_run_ends_with_the_same_bits(model, algo, tmp_path, capsys):
    cfg = config(model, algo)
    change(cfg, *FAST, "loader.batch_size=4", "evaluation.num_examples=8", "evaluation.before=false")
    change(cfg, "checkpoint.every_n_steps=2", "checkpoint.keep=3", "trainer.max_steps=5", "data.train.size=32")
    if model != "tiny_sd":
        change(cfg, "model.dropout=0.1")
    train(cfg, tmp_path)
    two, four, five = (tmp_path / "checkpoints" / f"step_0000000{step}.ckpt" for step in (2, 4, 5))
    whole = torch.load(five, weights_only=False)["state_dict"]
    for later in (four, five):
        later.unlink()
    change(cfg, f"resume={tmp_path}")
    train(cfg, tmp_path)
    assert "going on after step 2" in capsys.readouterr().out and two.is_file()
    resumed = torch.load(five, weights_only=False)["state_dict"]
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
