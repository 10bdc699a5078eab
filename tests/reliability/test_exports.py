"""An export gives, in transformers, peft and diffusers alone, the numbers of the run that wrote it."""

import pytest

from tests.contract.support import MODELS, modality
from tests.reliability.support import TINY, ask_alone, fresh_policy, question, trained_policy

RATE = "optimizer.lr=3e-2"  # so that two steps move what is measured
FORMS = {
    "plain": ["algo=dpo", RATE],
    "lora": ["algo=dpo", "model.lora.rank=4", RATE],
    "reward": ["algo=reward_model", RATE],
    "reward_lora": ["algo=reward_model", "model.lora.rank=4", RATE],
}
ASKED = [model for model in MODELS if modality(model) in ("t2t", "ti2t", "t2i")]  # what alone.py can ask about
WRITTEN = [(model, form) for model in ASKED for form in FORMS if model != "tiny_sd" or not form.startswith("reward")]
FAST = {
    ("tiny_llava", "lora"),
    ("tiny_qwen2_5_vl", "plain"),
    ("tiny_qwen3", "reward"),
    ("tiny_llama", "reward_lora"),
    ("tiny_gemma3", "reward"),
    ("tiny_llava", "reward"),
    ("tiny_sd", "lora"),
}


def overrides(model, form):
    strong = ["algo.beta=10"] if model == "tiny_sd" else []
    return [f"modality={modality(model)}", f"model={model}", *FORMS[form], *strong, *TINY]


@pytest.fixture(scope="module")
def answered(request, trained, tmp_path_factory):
    """{(model, form): numbers} before training, after it, and by others; all exports are read in one other process."""
    folder = tmp_path_factory.mktemp("exports")
    asked, before, after = [], {}, {}
    ids = {item.callspec.id for item in request.session.items if "answered" in getattr(item, "fixturenames", ())}
    for model, form in [pair for pair in WRITTEN if "-".join(pair) in ids]:
        run, inputs = trained(overrides(model, form)), folder / f"{model}_{form}"
        _, before[model, form] = question(*fresh_policy(overrides(model, form)), run / "export", inputs)
        cfg, policy = trained_policy(overrides(model, form), run)
        one, after[model, form] = question(cfg, policy, run / "export", inputs)
        asked.append(one)
    return before, after, dict(zip(after, ask_alone(asked, folder / "alone"), strict=True))


@pytest.mark.parametrize(
    ("model", "form"),
    [pair if pair in FAST else pytest.param(*pair, marks=pytest.mark.slow) for pair in WRITTEN],
    ids=["-".join(pair) for pair in WRITTEN],
)
def test_an_export_gives_the_trained_models_numbers_without_this_package(answered, model, form):
    before, ours, theirs = (numbers[model, form] for numbers in answered)
    assert theirs == pytest.approx(ours, rel=1e-6, abs=1e-6)
    assert max(abs(one - other) for one, other in zip(ours, before, strict=True)) > 1e-3
