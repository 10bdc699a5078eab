"""What a run changes in its algorithm is said on its first screen, in its summary and in its report, with its origin."""

import json

import pytest
from omegaconf import OmegaConf, open_dict

from aa_lightning.configuration.changes import told, with_changes
from aa_lightning.configuration.compose import compose, composed
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.report import write_report
from aa_lightning.train import train
from tests.reliability import forked
from tests.reliability.support import TINY


def changed(*typed: str) -> dict[str, tuple]:
    found = OmegaConf.to_container(compose([*typed]).changed)
    return {one["key"]: (one["value"], one["default"], one["from"]) for one in found}


def test_a_value_that_a_recipe_sets_names_the_recipe():
    assert changed("algo=dpo", "modality=ti2t") == {"algo.nll": (1.0, 0.0, "recipe/tiny_dpo.yaml")}
    assert changed("algo=tr_dpo", "modality=ti2t") == {
        "algo.ref_sync.every_n_steps": (100, 512, "recipe/tiny_tr_dpo.yaml")
    }


def test_an_algorithm_as_its_own_file_says_it_has_no_changes():
    for algo in ("simpo", "mdpo", "reward_model"):
        assert changed(f"algo={algo}", "modality=ti2t") == {}


def test_what_is_typed_wins_over_a_recipe_and_an_experiment_names_its_file():
    assert changed("algo=dpo", "modality=ti2t", "algo.nll=0.5") == {"algo.nll": (0.5, 0.0, "the command line")}
    assert changed("algo=dpo", "modality=ti2t", "algo.nll=0") == {}
    assert changed("experiment=mrdpo") == {
        "algo.objectives.language.branch": ("gold", "auxiliary", "experiment/mrdpo.yaml"),
        "algo.weights.language": (0.1, 0.5, "experiment/mrdpo.yaml"),
    }


def test_a_value_that_follows_another_has_the_origin_of_that_one():
    found = changed("algo=mdpo", "modality=ti2t", "algo.objectives.answers.beta=0.3")
    assert set(found) == {f"algo.objectives.{part}.beta" for part in ("answers", "images", "anchor")}
    assert set(found.values()) == {(0.3, 0.1, "the command line")}


def test_a_part_that_is_replaced_is_listed_value_by_value():
    found = changed("algo=ipo", "modality=ti2t", "++algo.target_margin={name: constant, gamma: 0.5}")
    assert found["algo.target_margin.gamma"] == (0.5, None, "the command line")


def test_a_file_may_refer_to_the_rest_of_the_configuration(tmp_path):
    (tmp_path / "algo").mkdir()
    lines = ["defaults: [options/preference@_here_, _self_]", "beta: ${optimizer.lr}", "loss: {name: ipo}"]
    (tmp_path / "algo" / "mine.yaml").write_text("\n".join(lines))
    folders = [conf_dir(), tmp_path]
    whole = composed("train", ["algo=mine", "modality=ti2t", "optimizer.lr=0.3", "algo.scale=2.0"], folders, True)
    with open_dict(whole):
        hydra = whole.pop("hydra")
    (only,) = with_changes(whole, hydra, folders).changed
    assert dict(only) == {"key": "algo.scale", "value": 2.0, "default": 1.0, "from": "the command line"}
    assert whole.algo.beta == 0.3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the command on the user's own experiment, and its first screen."""
    folder = tmp_path_factory.mktemp("changes")
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "soft.yaml").write_text("# @package _global_\nalgo: {beta: 0.05}\n")
    typed = ["--config-dir", folder / "conf", "algo=dpo", "experiment=soft", "modality=t2t", *TINY]
    code, out, err = forked.call("aa_lightning.train", *typed, f"hydra.run.dir={folder / 'run'}")
    assert code == 0, err
    return folder / "run", out


def test_the_first_screen_the_summary_and_the_report_of_a_run_say_it(run):
    folder, screen = run
    expected = {
        "algo.beta": (0.05, 0.1, "experiment/soft.yaml"),
        "algo.nll": (1.0, 0.0, "recipe/tiny_dpo.yaml"),
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert {one["key"]: (one["value"], one["default"], one["from"]) for one in summary["changed"]} == expected
    for one in summary["changed"]:
        assert told(one) in screen.replace("\n", " ")
    page = (folder / "report.html").read_text()
    assert "<td>algo.nll</td><td>1.0</td><td>0.0</td><td>recipe/tiny_dpo.yaml</td>" in page
    assert "<td>algo.beta</td><td>0.05</td><td>0.1</td><td>experiment/soft.yaml</td>" in page


def test_a_run_from_a_notebook_has_them_too_also_when_it_was_cut_off(tmp_path):
    summary = train(compose(["algo=dpo", "modality=t2t", "algo.beta=0.2", *TINY]), tmp_path)
    assert [one["key"] for one in summary["changed"]] == ["algo.beta", "algo.nll"]
    (tmp_path / "summary.json").unlink()
    assert "<td>algo.beta</td><td>0.2</td>" in write_report(tmp_path).read_text()
