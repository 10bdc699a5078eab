"""Adding an algorithm as docs/algorithms.md says: its file is written as it is printed there, its command typed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from aa_lightning.configuration.folders import conf_dir
from tests.vectors.support import GivenTerms, algorithm, assert_close, empty_batch, leaves, padded, vector

ROOT = Path(__file__).parents[1]
RECIPE = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8").split("\n## Adding one\n")[1].split("\n## ")[0]
(PRINTED,) = re.findall(r"^```yaml\n(.*?)^```$", RECIPE, re.MULTILINE | re.DOTALL)
(FILE,) = re.findall(r"a file `(\S+)`", RECIPE)
(COMMAND,) = re.findall(r"`(python -m aa_lightning\.train [^`]+)`", RECIPE)
QUICK = [
    *("trainer.max_steps=3", "init=null", "modality=t2t", "model=tiny_qwen2", "data.train.size=16", "data.val.size=8"),
    *(
        "evaluation.before=false",
        "evaluation.num_generations=0",
        "evaluation.num_examples=8",
        "trainer.enable_progress_bar=false",
    ),
]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the file that the page prints, where it says that it is."""
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    path.write_text(PRINTED, encoding="utf-8")
    return tmp_path


def test_the_printed_file_is_ipo_with_its_worked_value_and_gradient(workplace):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        own = (workplace / FILE).parents[1]
        cfg = compose("train", [f"hydra.searchpath=[file://{own}]", f"algo={Path(FILE).stem}"])
    made = instantiate(cfg.algo, _convert_="all")
    assert made == algorithm("ipo")
    case = vector("preference", "ipo", "avg_logps_trl")
    for objective in (made, algorithm("ipo")):
        given = {key: leaves(rows, torch.float64) for key, rows in case["inputs"].items()}
        ours, theirs = (
            padded(*(given[f"{of}_{k}_token_logps"] for k in ("chosen", "rejected"))) for of in ("policy", "ref")
        )
        loss, _ = objective(GivenTerms(ours, theirs), empty_batch(3))
        loss.backward()
        assert_close(loss, case["expected"]["loss"], torch.float64)
        for row, expected in zip(
            given["policy_chosen_token_logps"], case["gradients"]["policy_chosen_token_logps"], strict=True
        ):
            assert_close(row.grad, expected, torch.float64)


@pytest.mark.slow
def test_the_printed_command_trains_with_it(workplace):
    typed = [*COMMAND.replace("python", sys.executable, 1).split(), *QUICK, "hydra.run.dir=run"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(typed, cwd=workplace, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads((workplace / "run" / "summary.json").read_text())
    assert summary["steps"] == 3 and (summary["algo"], summary["algo_class"]) == ("my_ipo", "PreferenceOptimization")
    assert summary["train"]["train/loss"] == pytest.approx(25.0, abs=5.0)  # (margin − 5)², the margin near 0
    assert "algo: my_ipo" in (workplace / "run" / ".hydra" / "hydra.yaml").read_text()
