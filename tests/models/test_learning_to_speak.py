"""The tiny Qwen-Omni learn to play what they are asked for (a minute each, two the one whose steps have three tokens)."""

import pytest

from aa_lightning.assembly.chat import Chat
from aa_lightning.configuration.compose import compose
from aa_lightning.data.shapes import Shapes, check_sound
from aa_lightning.train import train
from tests.models.test_speech import TALKERS

QUIET = ["trainer.enable_progress_bar=false", "logger.tensorboard=false", "evaluation.samples=4"]


@pytest.mark.slow
@pytest.mark.parametrize("model", TALKERS)
def test_after_sft_nine_of_ten_tunes_never_heard_before_are_played_as_asked(model, tmp_path):
    summary = train(compose(["modality=t2a", f"model={model}", "algo=sft", *QUIET]), tmp_path)
    assert summary["before"]["heldout/sound_accuracy"] == 0.0
    assert summary["after"]["heldout/sound_accuracy"] >= 0.9
    assert (tmp_path / "report.html").read_text().count("<audio") >= 4
    source = Shapes(modality="t2a", split="val", size=40, kinds=["pitch", "order"], max_tones=4)
    rows = [source[i] for i in range(40)]
    chat = Chat.of(compose(["modality=t2a", f"model={model}", f"run={tmp_path}", "temperature=0"], "generate"))
    played = []
    for row in rows:
        chat.messages = []
        played.append(chat.ask(row["prompt"])[0][-1]["audio"])
    right = [check_sound(row["answer"], sound) for row, sound in zip(rows, played, strict=True)]
    # the control: the sounds as answers to the prompts behind theirs, of which some ask for the same tune
    others = [check_sound(row["answer"], sound) for row, sound in zip(rows[1:], played, strict=False)]
    assert sum(right) >= 36
    assert sum(others) <= 10
