"""`run=<folder>`: the commands that come after a training find its trained weights."""

import pytest
import torch

from aa_lightning.assembly.chat import Chat
from aa_lightning.configuration.compose import compose
from aa_lightning.evaluate import evaluate
from aa_lightning.train import train
from aa_lightning.types import Sampling
from tests.reliability.support import TINY, trained_policy

LLAVA, PICTURES = ["modality=ti2t", "model=tiny_llava"], ["modality=t2i", "model=tiny_sd", "algo.beta=10"]
RATE, LORA = "optimizer.lr=3e-2", "model.lora.rank=4"
KINDS = {
    "plain": [*LLAVA, "algo=dpo", RATE],
    "lora": [*LLAVA, "algo=dpo", RATE, LORA],
    "reward": [*LLAVA, "algo=reward_model", RATE],
    "reward_lora": [*LLAVA, "algo=reward_model", RATE, LORA],
    "pictures": [*PICTURES, "algo=dpo", RATE],
    "pictures_lora": [*PICTURES, "algo=dpo", RATE, LORA],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def run(kind):
        if kind not in made:
            made[kind] = train(compose([*KINDS[kind], *TINY, "evaluation.before=true"]), folder / kind)
        return folder / kind, made[kind]

    return run


@pytest.mark.parametrize(
    "kind",
    [
        "lora",
        "reward",
        "pictures_lora",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("plain", "pictures", "reward_lora")),
    ],
)
def test_evaluate_measures_what_the_run_measured_at_its_end(ran, kind, tmp_path):
    """Against the same reference: the margin too."""
    folder, summary = ran(kind)
    found = evaluate(compose([*KINDS[kind], *TINY, f"run={folder}"], "evaluate"), tmp_path)
    assert found == pytest.approx(summary["after"], rel=1e-4, abs=1e-4)
    assert max(abs(value - summary["before"][name]) for name, value in found.items()) > 1e-2


@pytest.mark.parametrize("kind", ["lora", pytest.param("plain", marks=pytest.mark.slow)])
def test_generate_answers_with_the_trained_weights(ran, kind):
    folder, _ = ran(kind)
    chat = Chat.of(compose([*KINDS[kind], *TINY, f"run={folder}", "max_new_tokens=8"], "generate"))
    _, policy = trained_policy([*KINDS[kind], *TINY], folder)
    trained = Chat(policy, sampling=Sampling(max_new_tokens=8, temperature=0.0))
    assert chat.ask("What colour is the circle?") == trained.ask("What colour is the circle?")
    own = dict(chat.policy.network.model.named_parameters())["model.language_model.layers.0.mlp.up_proj.weight"]
    cfg = compose([*KINDS["plain"], *TINY], "generate")
    start = dict(Chat.of(cfg).policy.network.model.named_parameters())
    assert (own - start["model.language_model.layers.0.mlp.up_proj.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["pictures_lora", pytest.param("pictures", marks=pytest.mark.slow)])
def test_generate_draws_with_the_trained_weights(ran, kind):
    folder, _ = ran(kind)
    chat = Chat.of(compose([*KINDS[kind], *TINY, f"run={folder}"], "generate"))
    _, policy = trained_policy([*KINDS[kind], *TINY], folder)
    noisy, context = torch.randn(1, 4, 8, 8), torch.randn(1, 32, 64)
    with torch.no_grad():
        found, trained = (p.network.predict(noisy, torch.tensor([500]), context) for p in (chat.policy, policy))
    assert torch.allclose(found, trained, atol=1e-5)
    assert chat.ask("a red circle")[0][0]["image"].size == (32, 32)


def test_a_reward_model_is_not_asked_to_write(ran):
    folder, _ = ran("reward")
    with pytest.raises(ValueError, match=r"trained a reward model, which scores .* aa_lightning.evaluate run="):
        Chat.of(compose([*KINDS["reward"], *TINY, f"run={folder}"], "generate"))


@pytest.mark.parametrize("command", [Chat.of, lambda cfg: evaluate(cfg, None)])
def test_a_run_that_did_not_end_is_named_with_what_ends_it(tmp_path, command):
    name = "generate" if command == Chat.of else "evaluate"
    with pytest.raises(ValueError, match=r"has no export, since it did not end: .* resume="):
        command(compose([*KINDS["plain"], *TINY, f"run={tmp_path}"], name))
