"""The tiny Emu3 learns to draw what is asked for (minutes)."""

import pytest

from aa_lightning.configuration.compose import compose
from aa_lightning.train import train

QUIET = [
    "trainer.enable_progress_bar=false",
    "logger.tensorboard=false",
    "evaluation.num_generations=100",
    "evaluation.samples=4",
]


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["t2ti", "ti2ti"])
def test_after_sft_and_dpo_four_of_five_pictures_have_the_colour_that_was_asked_for(modality, tmp_path):
    after = train(compose([f"modality={modality}", "algo=dpo", *QUIET]), tmp_path)["after"]
    assert after["heldout/preference_accuracy"] >= 0.9
    assert after["heldout/picture_accuracy"] >= 0.8
    if modality == "ti2ti":  # without the picture of the prompt nothing says which colour is meant
        assert abs(after["heldout/blank/preference_accuracy"] - 0.5) < 0.15
        assert after["heldout/blank/picture_accuracy"] < 0.4
    assert (tmp_path / "report.html").read_text().count("<img") >= 4
