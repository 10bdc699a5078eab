"""An export gives, in transformers, peft and diffusers alone, the numbers of the run that wrote it."""

import pytest

from aa_lightning.compose import compose
from aa_lightning.train import train
from tests.contract.support import MODELS, modality
from tests.reliability.support import TINY, ask_alone, question, trained_policy

RATE = "optimizer.lr=1e-2"  # so that two steps move what is measured
FORMS = {
    "plain": ["algo=dpo", RATE],
    "lora": ["algo=dpo", "model.lora.rank=4", RATE],
    "reward": ["algo=reward_model", RATE],
    "reward_lora": ["algo=reward_model", "model.lora.rank=4", RATE],
}
WRITTEN = [(model, form) for model in MODELS for form in FORMS if model != "tiny_sd" or not form.startswith("reward")]


def overrides(model, form):
    return [f"modality={modality(model)}", f"model={model}", *FORMS[form], *TINY]


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """{(model, form): (before training, ours, theirs)}; all folders are read in one other process."""
    folder = tmp_path_factory.mktemp("exports")
    asked, ours = [], {}
    for model, form in WRITTEN:
        run = folder / f"{model}_{form}"
        train(compose(overrides(model, form)), run)
        cfg, policy = trained_policy(overrides(model, form), run)
        one, answer = question(cfg, policy, run / "export", run / "asked")
        asked.append(one)
        ours[model, form] = answer
    return ours, dict(zip(ours, ask_alone(asked, folder / "alone"), strict=True))


@pytest.mark.parametrize(("model", "form"), WRITTEN, ids="-".join)
def test_an_export_gives_the_trained_models_numbers_without_this_package(answered, model, form):
    ours, theirs = answered
    assert theirs[model, form] == pytest.approx(ours[model, form], rel=1e-6, abs=1e-6)
