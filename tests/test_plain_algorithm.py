"""The page's algorithm of one's own, word for word by the real command; and what is said where such a class is wrong."""

import csv
import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from aa_lightning.algos.plain import completed
from aa_lightning.algos.step import Step, computed
from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options
from aa_lightning.configuration.check import check_config
from aa_lightning.configuration.wording import ConfigError
from tests.contract.support import config
from tests.reliability import forked
from tests.reliability.support import ROOT, SHAPES, SHORT
from tests.vectors.support import GivenTerms, algorithm, empty_batch, leaves, padded

PAGE = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## An algorithm of your own\n")[1].split("\n## ")[0]
BLOCKS = dict(re.findall(r"^```(\w*)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL))
CODE, SETTINGS, COMMANDS = BLOCKS["python"], BLOCKS["yaml"], BLOCKS[""]
STEP = [*SHORT, *SHAPES, "trainer.max_steps=1", "loader.batch_size=1"]


def written(folder: Path, code: str = CODE, settings: str = SETTINGS) -> Path:
    (folder / "my_conf" / "algo").mkdir(parents=True, exist_ok=True)
    (folder / "my_conf" / "algo" / "my_loss.yaml").write_text(settings)
    (folder / "my_loss.py").write_text(code)
    return folder


def run(folder: Path, line: str, *more: str) -> tuple[int, str]:
    """A line of the page, typed in a folder; what it says of errors. Python itself does not look into that folder, as it
    does not for the console scripts."""
    _, _, module, *typed = shlex.split(line)
    process = forked.Command(module, [*typed, *more], cwd=folder)
    _, errors = process.communicate()
    return process.returncode, errors


def first_row(folder: Path) -> dict[str, float]:
    with (folder / "metrics.csv").open() as file:
        return {name: float(value) for name, value in next(csv.DictReader(file)).items() if value}


def test_it_has_ten_lines():
    assert len([line for line in CODE.splitlines() if line]) <= 10


@pytest.mark.parametrize("line", COMMANDS.strip().splitlines(), ids=["text", "pictures"])
def test_it_trains_as_typed_on_text_and_on_pictures(line, tmp_path):
    """With one row a step, the loss is max(0, 1 − gap)."""
    code, errors = run(written(tmp_path), line, *STEP, "hydra.run.dir=run")
    assert code == 0, errors
    row = first_row(tmp_path / "run")
    assert row["train/loss"] == pytest.approx(max(0.0, 1 - row["train/gap"]), abs=1e-5)
    assert row["train/gap"] != 0
    assert (tmp_path / "run" / "report.html").is_file()


REFERENCE = """
class MyLoss:
    def __call__(self, policy, batch):
        with policy.as_reference() as reference:
            return -reference.log_likelihood(batch).nats.mean(), {}
"""
TYPED = "python -m aa_lightning.train --config-dir my_conf algo=my_loss modality=t2t"
WRONG = {
    "reads a reference that it does not announce": (
        REFERENCE,
        "write uses_reference = True into the algorithm's class",
    ),
    "returns a bare loss": (
        "class MyLoss:\n    def __call__(self, policy, batch):\n        return policy.log_likelihood(batch).mean.mean()\n",
        "MyLoss returned a Tensor where a loss and its metrics are needed: end its __call__ with return loss, {}",
    ),
    "returns a loss per row": (
        "class MyLoss:\n    def __call__(self, policy, batch):\n        return policy.log_likelihood(batch).mean, {}\n",
        "MyLoss returned a loss of shape (1, 2) where one number is needed: take its mean()",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_class_that_is_wrong_hears_what_to_write(fault, tmp_path):
    text, words = WRONG[fault]
    code, errors = run(written(tmp_path, text, "_target_: my_loss.MyLoss\n"), TYPED, *STEP, "hydra.run.dir=run")
    assert code == 1
    assert words in errors and "Traceback" not in errors


class Bare:
    def __init__(self, beta: float = 0.1):
        self.beta = beta

    def __call__(self, policy, batch):
        return policy.log_likelihood(batch).mean.mean() * -self.beta, {}


class Told(Bare):
    supervision = "rating"
    uses_reference = True
    remembers = ("seen",)

    def __call__(self, policy, batch, step):
        return step.memory["seen"] * step.normalizer, {}


class Forgetful(Bare):
    remembers = ("seen",)


class Noisy(Bare):
    noise = 5.0


class NoisyReward(Noisy):
    trains = "reward_model"


class Misspelt(Bare):
    supervision = "pairs"


class Text(Bare):
    wants = "margin"


def a_function(policy, batch):
    return 0.0, {}


def test_what_a_class_does_not_say_is_taken_for_said_and_what_it_says_stays():
    bare, told = completed(Bare()), completed(Told())
    assert (bare.supervision, bare.accepts, bare.trains) == ("preference", ("exact", "elbo"), "policy")
    assert (bare.uses_reference, bare.wants, bare.remembers, bare.ref_sync) == (False, (), (), None)
    assert (told.supervision, told.uses_reference, told.remembers) == ("rating", True, ("seen",))
    assert type(bare).__name__ == "Bare" and isinstance(bare, Bare) and bare.beta == 0.1
    dpo = algorithm("dpo")
    assert completed(dpo) is dpo


def test_a_word_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match=r"Misspelt\.supervision = 'pairs' means nothing: write one of .*preference"):
        completed(Misspelt())
    with pytest.raises(
        ValueError, match=r"Text\.wants = 'margin' is a text where a tuple is needed: write \('margin',\)"
    ):
        completed(Text())
    with pytest.raises(ValueError, match=r"is no algorithm: name a class with __call__\(self, policy, batch\)"):
        completed(object())
    with pytest.raises(ValueError, match=r"Forgetful takes no step: write __call__\(self, policy, batch, step\)"):
        completed(Forgetful())


def test_what_a_step_adds_is_given_to_a_class_that_takes_it_and_to_no_other():
    """2 in memory, terms of 3: a loss of 6; the other one reads a likelihood of −0.5 with beta 0.1: 0.05."""
    step = Step(normalizer=torch.tensor(3.0), memory={"seen": torch.tensor(2.0)})
    assert computed(completed(Told()), None, empty_batch(1), step)[0].item() == 6.0
    policy = GivenTerms(padded(leaves([[-0.5]], torch.float64)))
    assert computed(completed(Bare()), policy, empty_batch(1), step)[0].item() == pytest.approx(0.05)


@pytest.mark.parametrize(("model", "algorithm"), [("tiny_sd", Noisy), ("tiny_qwen2", NoisyReward)])
def test_noise_on_embeddings_is_refused_where_nothing_would_add_it(model, algorithm):
    cfg = config(model, "dpo")
    with pytest.raises(
        ValueError, match=r"noise on embeddings of tokens \(5\), which only policies of token models add"
    ):
        check_compatible(cfg, completed(algorithm()), data_options(cfg))


def settings(**given):
    return OmegaConf.create({"algo": {"_target_": f"{__name__}.Bare", **given}})


def test_keys_and_types_of_a_plain_class_are_checked():
    check_config(settings(beta=0.3))
    with pytest.raises(ConfigError, match=r"algo\.betta(?s:.*)did you mean algo\.beta"):
        check_config(settings(betta=0.3))
    with pytest.raises(ConfigError, match=r"algo\.beta=large cannot be used"):
        check_config(settings(beta="large"))
    with pytest.raises(ConfigError, match="is a function, and a class is needed"):
        check_config(OmegaConf.create({"algo": {"_target_": f"{__name__}.a_function"}}))


def test_a_plain_class_is_a_part_of_a_mixture():
    part = {"_target_": f"{__name__}.Bare", "beta": 0.3}
    mixed = {
        "_target_": "aa_lightning.algos.weighted_sum.WeightedSum",
        "objectives": {"own": part},
        "weights": {"own": 1.0},
    }
    check_config(OmegaConf.create({"algo": mixed}))
    found = instantiate(OmegaConf.create(mixed), _convert_="all")
    assert found.supervision == "preference" and found.accepts == ("exact", "elbo")
    assert found.objectives["own"].beta == 0.3
