"""A run starts from another run, its export or its checkpoint, whatever was trained there."""

import json

import pytest
import torch

from aa_lightning.assembly import stages
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.assembly.stages import starting_point
from aa_lightning.configuration.compose import compose
from aa_lightning.runs.checkpoints import newest
from aa_lightning.system.cache import cache_root
from aa_lightning.train import train
from tests.reliability.support import SHORT, TINY, ask_alone, fresh_policy, question, trained_policy

LLAVA, PICTURES = ["modality=ti2t", "model=tiny_llava"], ["modality=t2i", "model=tiny_sd"]
LLAMA = ["modality=t2t", "model=tiny_llama"]  # whose reward models are classifiers of the library
RATE, LORA = "optimizer.lr=3e-2", "model.lora.rank=4"
FIRST = {
    "plain": [*LLAVA, "algo=dpo", RATE],
    "lora": [*LLAVA, "algo=dpo", RATE, LORA],
    "reward": [*LLAVA, "algo=reward_model", RATE],
    "reward_lora": [*LLAVA, "algo=reward_model", RATE, LORA],
    "classifier": [*LLAMA, "algo=reward_model", RATE],
    "classifier_lora": [*LLAMA, "algo=reward_model", RATE, LORA],
    "pictures": [*PICTURES, "algo=dpo", "algo.beta=10", RATE],
    "pictures_lora": [*PICTURES, "algo=dpo", "algo.beta=10", RATE, LORA],
}


@pytest.fixture
def ran(trained):
    """Makes a run of a kind, once."""
    return lambda kind: trained([*FIRST[kind], *TINY])


def built(overrides, init):
    """A policy of another run that starts from there, and its configuration."""
    return fresh_policy([*overrides, *TINY, f"init={init}"])


@torch.no_grad()
def says(cfg, policy):
    """What a policy, and its reference, make of the first held-out pairs."""
    rows = read_examples(data_options(cfg), "val", "preference")[:3]
    batch = policy.prepare(policy.encoder.collate([policy.encoder.encode(row, row.responses) for row in rows]))
    if cfg.algo._target_.endswith("RewardModelling"):
        return policy.score(batch), None
    total = policy.log_likelihood(batch).total
    with policy.as_reference() as reference:
        return total, reference.log_likelihood(batch).total


def forms(run):
    return {"run": run, "export": run / "export", "checkpoint": newest(run)}


STARTS = [(kind, form, again) for kind in FIRST for form in ("run", "export", "checkpoint") for again in ("", LORA)]
FAST = [
    ("lora", "run", LORA),
    ("lora", "checkpoint", ""),
    ("reward", "checkpoint", ""),
    ("classifier", "run", LORA),
    ("classifier_lora", "export", ""),
    ("pictures_lora", "export", ""),
]


@pytest.mark.parametrize(
    ("kind", "form", "again"),
    [start if start in FAST else pytest.param(*start, marks=pytest.mark.slow) for start in STARTS],
)
def test_policy_and_reference_start_from_the_trained_weights(ran, kind, form, again):
    """Also where the first run trained an adapter: it is merged, and the next run gets a new one."""
    run = ran(kind)
    expected, first_reference = says(*trained_policy([*FIRST[kind], *TINY], run))
    plain = [item for item in FIRST[kind] if item != LORA]
    found, reference = says(*built([*plain, *filter(None, [again])], forms(run)[form]))
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    if reference is not None:
        assert torch.allclose(reference, expected, rtol=1e-5, atol=1e-5)
        assert (first_reference - expected).abs().max() > 1e-3


def test_a_reward_model_may_start_from_a_policy_and_a_policy_from_a_reward_model(ran):
    """The backbone goes along, through export and checkpoint alike; a policy's head does not exist."""
    for start in (ran("plain") / "export", newest(ran("plain"))):
        _, scorer = built(FIRST["reward"], start)
        _, policy = built(FIRST["plain"], start)
        for name, weight in policy.network.model.state_dict().items():
            assert torch.equal(scorer.network.network.model.state_dict()[name], weight)
    _, from_scorer = built(FIRST["plain"], newest(ran("reward")))
    _, scorer = trained_policy([*FIRST["reward"], *TINY], ran("reward"))
    assert torch.equal(from_scorer.network.model.lm_head.weight, scorer.network.network.model.lm_head.weight)


ON_OTHERS = [("lora", "run"), ("lora", "checkpoint"), ("plain", "checkpoint"), ("classifier_lora", "run")]
ON_OTHERS += [("pictures_lora", "run"), ("pictures_lora", "checkpoint")]
QUICK = [("lora", "run"), ("plain", "checkpoint")]


@pytest.mark.parametrize(
    ("kind", "form"), [pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow) for pair in ON_OTHERS]
)
def test_the_export_of_an_adapter_on_a_base_that_stands_nowhere_is_the_whole_model(ran, kind, form, tmp_path):
    """The adapter beside it names the weights that it was trained on, which lie there too: peft gives the same numbers."""
    overrides = [*FIRST[kind], *TINY, LORA, f"init={forms(ran(kind))[form]}"]
    export = tmp_path / "second" / "export"
    train(compose(overrides), tmp_path / "second")
    cfg, policy = trained_policy(overrides, tmp_path / "second")
    asked, ours = question(cfg, policy, export, tmp_path / "asked")
    folders = [export] if kind == "pictures_lora" or asked["kind"] == "scores" else [export, export / "adapter"]
    said = [file.read_text() for file in (export / "adapter").glob("*") if file.suffix in (".json", ".md")]
    assert all(
        str(cache_root()) not in one and ".partial" not in one for one in said
    )  # the first run's base, or one half written
    for theirs in ask_alone([{**asked, "folder": str(folder)} for folder in folders], tmp_path / "alone"):
        assert theirs == pytest.approx(ours, rel=2e-6, abs=2e-6)
    _, restored = built([*FIRST[kind], LORA], forms(ran(kind))[form])
    assert (says(cfg, restored)[0] - says(cfg, policy)[0]).abs().max() > 1e-3
    restored.restore(export)
    assert torch.allclose(says(cfg, restored)[0], says(cfg, policy)[0], atol=1e-5)


@pytest.mark.slow
def test_an_adapter_on_a_stage_names_the_stage_and_gives_its_numbers_in_peft_alone(tmp_path):
    """A stage is whole, so the export is the adapter alone."""
    overrides = [*LLAMA, "algo=dpo", RATE, LORA, *SHORT, "init=stage:shapes", "data.train.size=64", "data.val.size=8"]
    train(compose(overrides), tmp_path / "run")
    asked, ours = question(
        *trained_policy(overrides, tmp_path / "run"), tmp_path / "run" / "export", tmp_path / "asked"
    )
    said = json.loads((tmp_path / "run" / "export" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == starting_point(compose(overrides))
    assert ask_alone([asked], tmp_path / "alone")[0] == pytest.approx(ours, rel=2e-6, abs=2e-6)


def test_a_run_that_was_stopped_gives_its_newest_checkpoint(ran, tmp_path):
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    for step in (1, 2):
        (folder / "checkpoints" / f"step_{step:08d}.ckpt").write_bytes(newest(ran("plain")).read_bytes())
    cfg = compose([*FIRST["plain"], *TINY, f"init={folder}"])
    assert starting_point(cfg) == str(folder / "checkpoints" / "step_00000002.ckpt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: None,
            r"init=.*nowhere does not exist.*type init=<run folder>.*stage:<name> with one of shapes",
        ),
        (lambda folder: folder.mkdir(), r"holds no export and no checkpoint"),
        (lambda folder: (folder / "checkpoints" / "step_00000002.ckpt").mkdir(parents=True), r"in shards .*resume="),
    ],
)
def test_what_nothing_can_start_from_is_refused(tmp_path, make, message):
    make(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=message):
        starting_point(compose([*FIRST["plain"], *TINY, f"init={tmp_path / 'nowhere'}"]))


def test_a_checkpoint_of_another_model_is_refused_before_it_is_half_loaded(ran):
    start = newest(ran("plain"))
    other = ["modality=ti2t", "model=tiny_qwen2_5_vl", "algo=dpo"]
    with pytest.raises(ValueError, match="holds weights of family llava, and this run has model.family=qwen2_5_vl"):
        built(other, start)
    wide = [*FIRST["plain"], "model.tiny={mlp: 96}"]
    with pytest.raises(ValueError, match=r"does not fit this model: model.*mlp.* is \(.*\) there and \(.*\) here"):
        built(wide, start)


def test_a_foreign_file_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="was not written by a run of aa_lightning"):
        built(FIRST["plain"], tmp_path / "other.ckpt")


def test_a_stage_is_trained_in_a_process_of_its_own_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))
    cfg = compose(["modality=t2t", "data.train.size=32", "data.val.size=8", "init=stage:shapes"])
    stage = stages._stage_config(cfg)
    stage.trainer.max_steps, stage.trainer.enable_progress_bar, stage.evaluation.num_examples = 2, False, 4
    stages.made_once(tmp_path / "kept", lambda workshop: stages._train(stage, workshop))
    assert (tmp_path / "kept" / "export" / "config.json").is_file()


@pytest.mark.parametrize(("modality", "steps"), [("ti2t", 250), ("ta2t", 150), ("any2t", 200), ("t2a", 100)])
def test_learning_from_rewards_starts_where_there_is_something_left_to_learn(modality, steps):
    cfg = compose(["algo=grpo", f"modality={modality}"])
    assert cfg.init == "stage:shapes_begun"
    assert stages._stage_config(cfg).trainer.max_steps == steps
    assert compose(["algo=dpo", f"modality={modality}"]).init == "stage:shapes"


def test_a_stage_that_cannot_be_trained_says_why_in_a_line(tmp_path, capfd):
    stage = stages._stage_config(compose(["modality=t2t", "init=stage:shapes", "data.train.size=32"]))
    stage.model.path = "/no/such/folder"
    with pytest.raises(ValueError, match=r"could not be trained, in .*: model.path=/no/such/folder is a folder that"):
        stages.made_once(tmp_path / "kept", lambda workshop: stages._train(stage, workshop))
    assert "Traceback" not in capfd.readouterr().err
