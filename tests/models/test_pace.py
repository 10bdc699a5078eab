"""How long the tiny model of three media trains: less than the others, unless an algorithm, a stage or a user says so."""

import pytest

from aa_lightning.configuration.compose import compose


@pytest.mark.parametrize(
    ("typed", "steps"),
    [
        (["algo=dpo", "modality=any2t"], 200),
        (["algo=simpo", "modality=any2t"], 200),
        (["algo=sft", "modality=any2t"], 600),
        (["algo=dpo", "modality=any2t", "trainer.max_steps=7"], 7),
        (["algo=dpo", "modality=any2t", "model=qwen2_5_omni_7b"], 1000),
        (["algo=dpo", "modality=ti2t"], 500),
    ],
)
def test_steps_of_a_run(typed, steps):
    assert compose(typed).trainer.max_steps == steps
